"""The orders, disputes and payments of a batch: locked, folded, joined; disputes are saved on the way."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime
from itertools import chain
from typing import TypeVar
from uuid import UUID

from scorer import disputes, facts
from scorer.batch import Batch, DisputeKey, OrderKey
from scorer.conclude import Concluded, Known, conclude
from scorer.facts import Folded, Incoming, OrderState, Result
from scorer.metrics import pure
from scorer.store import orders
from scorer.store.orders import Paid, Payment
from shared.db import Connection, MeanwhileError
from shared.events import DisputeFact, PaymentFact

K = TypeVar("K", bound=Hashable)

Outcome = tuple[UUID, Result, str | None]
"""(fact id, what became of it, why)"""


async def settle(
    connection: Connection, found: Batch, outcomes: list[Outcome], *, live: bool, now: datetime
) -> dict[OrderKey, Concluded]:
    """What the batch's facts amount to, order by order, orders and disputes locked.

    Disputes are saved here, and with what those orders were paid whose versions stay.

    Raises:
        MeanwhileError: an order came this moment that a dispute or a payment belongs to.
    """
    if not (found.steps or found.disputes or found.payments):
        return {}
    keys = sorted({*found.steps, *await _orders_named(connection, found)})
    await orders.lock(connection, keys, found.disputes)
    stored = await orders.states(connection, keys)
    with pure():
        folds = {
            key: facts.fold(stored.get(key, OrderState()), found.steps.get(key, ()), live=live, now=now) for key in keys
        }
    await _save_reports(connection, found)
    paid = await _claim_payments(connection, found, outcomes)
    _require_held(found, folds, paid)
    known, waiting = await _known_disputes(connection, found, folds, paid, outcomes)
    with pure():
        brands = _brands(found, paid)
        concluded = {
            key: conclude(fold, known.get(key, ()), brands.get(key, ""), live=live, now=now)
            for key, fold in folds.items()
        }
        outcomes += [
            (fact_id, result, _why(fold, result)) for fold in folds.values() for fact_id, result in fold.results
        ]
    cases = {
        (store_id, case.after.dispute.id): case for (store_id, _), one in concluded.items() for case in one.cases
    } | waiting
    await orders.save_disputes(connection, {key: c.after for key, c in cases.items() if c.after != c.before})
    if stays := {key: brand for key, brand in brands.items() if key in folds and folds[key].winner is None}:
        await orders.save_brands(connection, stays)
    return concluded


def _why(fold: Folded, result: Result) -> str | None:
    if fold.after.version is None:
        return "kept until its order comes"
    if result == "applied" and fold.owner is None:
        return "the order has no e-mail and belongs to nobody"
    return None


async def _orders_named(connection: Connection, found: Batch) -> set[OrderKey]:
    """Orders that disputes and payments name, or are known to belong to: as far as one sees without a lock."""
    if not (found.disputes or found.payments):
        return set()
    known = await orders.disputes(connection, list(found.disputes))
    paid = await orders.orders_of_payments(connection, _payments(found))
    ids = {(store_id, f.data.order_id) for (store_id, _), some in found.disputes.items() for f in some}
    ids |= {(store_id, case.dispute.order_id) for (store_id, _), case in known.items()}
    ids |= {(store_id, one.order_id) for (store_id, _), one in paid.items()}
    return {(store_id, order_id) for store_id, order_id in ids if order_id is not None}


def _payments(found: Batch) -> set[Payment]:
    told: Iterable[DisputeFact | PaymentFact] = chain(*found.disputes.values(), found.payments)
    return {(fact.store_id, payment) for fact in told for payment in fact.data.payments}


def _paid(found: Batch) -> Iterable[tuple[UUID, int, str]]:
    """(store id, order id, payment) of every version: also what an older one says of its payments stays true."""
    for (store_id, order_id), steps in found.steps.items():
        for step in steps:
            for payment in step.order.payments if isinstance(step, Incoming) else ():
                yield store_id, order_id, payment


async def _save_reports(connection: Connection, found: Batch) -> None:
    """Deletions and refunds that are told by themselves are facts also where their order is not known yet."""
    if deletions := found.deletions:
        await orders.save_deletions(connection, deletions)
    if refunds := found.refunds:
        await orders.save_reported(connection, refunds)


async def _claim_payments(connection: Connection, found: Batch, outcomes: list[Outcome]) -> dict[Payment, Paid]:
    """Lock whatever payments the batch names; those that belong to an order, with their cards."""
    claims: dict[Payment, int | None] = dict.fromkeys(_payments(found))
    for store_id, order_id, payment in _paid(found):
        claims[store_id, payment] = min(order_id, claims.get((store_id, payment)) or order_id)
    if not claims:
        return {}
    told = (((fact.store_id, name), fact.data.card_brand) for fact in found.payments for name in fact.data.payments)
    news = await orders.claim_payments(connection, claims, _last(told))
    for fact in found.payments:
        is_news = any((fact.store_id, name) in news for name in fact.data.payments)
        outcomes.append((fact.id, "applied" if is_news else "unchanged", None))
    return await orders.orders_of_payments(connection, claims)


def _require_held(found: Batch, folds: Mapping[OrderKey, Folded], paid: Mapping[Payment, Paid]) -> None:
    """
    Raises:
        MeanwhileError: an order that nobody locked for this batch has one of its payments now.
    """
    told = [(fact.store_id, name) for fact in found.payments for name in fact.data.payments]
    if any((payment[0], paid[payment].order_id) not in folds for payment in told if payment in paid):
        raise MeanwhileError("a payment's order came meanwhile")


def _brands(found: Batch, paid: Mapping[Payment, Paid]) -> dict[OrderKey, str]:
    """What is known to have paid each order."""
    by_order = (
        (key, step.order.card_brand or "")
        for key, steps in found.steps.items()
        for step in steps
        if isinstance(step, Incoming)
    )
    by_payment = (((store_id, one.order_id), one.card_brand) for (store_id, _), one in paid.items())
    return _last(chain(by_order, by_payment))


def _last(told: Iterable[tuple[K, str]]) -> dict[K, str]:
    """Of several brands the last of the alphabet: the same in whatever order they are told."""
    brands: dict[K, str] = {}
    for key, brand in told:
        if brand:
            brands[key] = max(brand, brands.get(key, ""))
    return brands


async def _known_disputes(
    connection: Connection,
    found: Batch,
    folds: Mapping[OrderKey, Folded],
    paid: Mapping[Payment, Paid],
    outcomes: list[Outcome],
) -> tuple[dict[OrderKey, list[Known]], dict[DisputeKey, Known]]:
    """The disputes of these orders as they are after the batch, and those that wait for their order.

    Raises:
        MeanwhileError: an order came this moment that a dispute belongs to.
    """
    stored = await orders.disputes_without_order(connection, paid) if paid else {}
    stored |= await orders.disputes_of(connection, list(folds))
    if found.disputes:
        stored |= await orders.disputes(connection, list(found.disputes))
    with pure():
        return _joined(found, folds, stored, paid, outcomes)


def _joined(
    found: Batch,
    folds: Mapping[OrderKey, Folded],
    stored: Mapping[DisputeKey, disputes.Case],
    paid: Mapping[Payment, Paid],
    outcomes: list[Outcome],
) -> tuple[dict[OrderKey, list[Known]], dict[DisputeKey, Known]]:
    of_order: dict[OrderKey, list[Known]] = defaultdict(list)
    waiting: dict[DisputeKey, Known] = {}
    for key in sorted({*stored, *found.disputes}):
        folded = disputes.fold(stored.get(key), found.disputes.get(key, ()))
        outcomes += [
            (fact_id, result, None if folded.after.dispute.order_id else "kept until its order is known")
            for fact_id, result in folded.results
        ]
        own = {name: paid[key[0], name].order_id for name in folded.after.dispute.payments if (key[0], name) in paid}
        after = disputes.joined(folded.after, own)
        fact_id = folded.results[-1][0] if folded.results else None
        one = Known(folded.before, after, fact_id)
        if after.dispute.order_id is None:
            waiting[key] = one
        elif (key[0], after.dispute.order_id) in folds:
            of_order[key[0], after.dispute.order_id].append(one)
        else:
            raise MeanwhileError("a dispute's order came meanwhile")
    return of_order, waiting
