"""A batch of facts, sorted by what each is about: orders, disputes, payments, checkouts, products, coupons."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TypeVar, assert_never
from uuid import UUID

from scorer import facts
from scorer.checkouts import Checkout
from scorer.facts import OrderStep
from shared.events import (
    Automation,
    CheckoutAttemptFact,
    CouponFact,
    DeclineFact,
    DisputeFact,
    Fact,
    OrderDeletedFact,
    OrderFact,
    PaymentFact,
    ProductFact,
    RefundFact,
    ReportedRefund,
)

OrderKey = tuple[UUID, int]
DisputeKey = tuple[UUID, str]

Told = TypeVar("Told", ProductFact, CouponFact)

Hash = Callable[[UUID, str], str]
"""(store id, normalised e-mail) → email_hash"""


@dataclass(slots=True)
class Batch:
    steps: dict[OrderKey, list[OrderStep]] = field(default_factory=lambda: defaultdict(list))
    disputes: dict[DisputeKey, list[DisputeFact]] = field(default_factory=lambda: defaultdict(list))
    payments: list[PaymentFact] = field(default_factory=list)
    checkouts: list[Checkout] = field(default_factory=list)
    of_nobody: list[UUID] = field(default_factory=list)
    """Facts of the checkout without an e-mail: the gate keeps them, no customer is made of them."""
    products: list[ProductFact] = field(default_factory=list)
    coupons: list[CouponFact] = field(default_factory=list)
    automations: list[Automation] = field(default_factory=list)

    def note_order(self, fact: OrderFact | OrderDeletedFact, hash_of: Hash) -> None:
        steps = self.steps[fact.store_id, fact.data.id]
        if isinstance(fact, OrderDeletedFact):
            steps.append(fact)
        else:
            steps.append(facts.incoming(fact, hash_of(fact.store_id, fact.data.email) if fact.data.email else None))

    def note_checkout(self, fact: DeclineFact | CheckoutAttemptFact, hash_of: Hash) -> None:
        if fact.data.email:
            self.checkouts.append(Checkout(fact, hash_of(fact.store_id, fact.data.email)))
        else:
            self.of_nobody.append(fact.id)

    @property
    def deletions(self) -> list[tuple[UUID, int, datetime]]:
        """(store id, order id, when): of each order the latest."""
        told = {
            key: [step.occurred_at for step in steps if isinstance(step, OrderDeletedFact)]
            for key, steps in self.steps.items()
        }
        return [(*key, max(times)) for key, times in told.items() if times]

    @property
    def refunds(self) -> list[tuple[UUID, ReportedRefund, datetime]]:
        """(store id, refund, when it was reported): of each refund the report that wins."""
        reported = [
            (key[0], step.data, step.occurred_at)
            for key, steps in self.steps.items()
            for step in steps
            if isinstance(step, RefundFact)
        ]
        reported.sort(key=lambda one: facts.report_rank(one[2], one[1]))
        return list({(store_id, r.order_id, r.id): (store_id, r, at) for store_id, r, at in reported}.values())


def sort(batch: Iterable[Fact | Automation], hash_of: Hash) -> Batch:
    found = Batch()
    for message in batch:
        match message:
            case OrderFact() | OrderDeletedFact():
                found.note_order(message, hash_of)
            case RefundFact():
                found.steps[message.store_id, message.data.order_id].append(message)
            case DisputeFact():
                found.disputes[message.store_id, message.data.id].append(message)
            case PaymentFact():
                found.payments.append(message)
            case DeclineFact() | CheckoutAttemptFact():
                found.note_checkout(message, hash_of)
            case ProductFact():
                found.products.append(message)
            case CouponFact():
                found.coupons.append(message)
            case Automation():
                found.automations.append(message)
            case _:
                assert_never(message)
    return found


def latest_products(products: Iterable[ProductFact]) -> list[tuple[ProductFact, bytes]]:
    """Of each product the fact that wins, with the hash that decides between two of one time."""
    return list({(fact.store_id, fact.data.id): (fact, digest) for fact, digest in _ranked(products)}.values())


def latest_coupons(coupons: Iterable[CouponFact]) -> list[tuple[CouponFact, bytes]]:
    """As `latest_products`."""
    return list({(fact.store_id, fact.data.code): (fact, digest) for fact, digest in _ranked(coupons)}.values())


def _ranked(facts: Iterable[Told]) -> list[tuple[Told, bytes]]:
    ranked = [(fact, sha256(fact.data.encode()).digest()) for fact in facts]
    return sorted(ranked, key=lambda pair: (pair[0].occurred_at, pair[1]))
