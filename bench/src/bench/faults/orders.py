"""The orders of a shop, made from a seed, and what must have come of them in the end, whatever happened meanwhile.

Known by the rules in docs/scoring.md, not by asking: an order is placed once, each refund is told once, an order is
cancelled once, and who got two refunds is blocked once.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Literal

CURRENCY = "EUR"
BLOCKED_AT = 2
"""Refunds after which the shop's rule blocks a customer."""
PER_CUSTOMER = 3
"""Orders, on average."""
HOUSEHOLD = 10
"""Every so many-th customer lives with the one before."""
LONGEST_LIFE = 20.0
"""Seconds from the placing of an order to its last change, at most."""

Status = Literal["processing", "completed", "cancelled", "refunded"]
Part = Literal["none", "half", "full"]

LIVES: tuple[tuple[int, tuple[tuple[Status, Part], ...]], ...] = (
    (11, (("processing", "none"), ("completed", "none"))),
    (5, (("processing", "none"), ("completed", "none"), ("refunded", "full"))),
    (2, (("processing", "none"), ("completed", "none"), ("completed", "half"), ("refunded", "half"))),
    (2, (("processing", "none"), ("cancelled", "none"))),
)
"""How often, in twentieths, an order lives so: its status and what is refunded, version by version."""
VERSIONS = sum(weight * len(life) for weight, life in LIVES) / sum(weight for weight, _ in LIVES)
"""Of an order, on average."""


@dataclass(frozen=True, slots=True)
class Version:
    """One webhook of the shop."""

    order_id: int
    number: int
    """From 1. No version is sent before the one before it was accepted."""
    customer: int
    due: float
    """Seconds after the load began."""
    status: Status
    total: Decimal
    refunds: tuple[Decimal, ...]

    @property
    def topic(self) -> str:
        return "order.created" if self.number == 1 else "order.updated"


def orders(seed: int, *, rate: float, seconds: float) -> list[tuple[Version, ...]]:
    """Orders as their versions, so that `rate` webhooks a second become due."""
    rng = Random(f"orders {seed}")  # noqa: S311  # chance, not secrecy
    count = max(int(rate / VERSIONS * max(seconds - LONGEST_LIFE / 2, 1)), 1)
    people = max(count // PER_CUSTOMER, 1)
    return [_order(rng, number, people, number * VERSIONS / rate) for number in range(count)]


def _order(rng: Random, number: int, people: int, due: float) -> tuple[Version, ...]:
    (life,) = rng.choices([life for _, life in LIVES], [weight for weight, _ in LIVES])
    customer, half = rng.randrange(people), Decimal(rng.randint(500, 20_000)) / 100
    moments = [due, *sorted(due + rng.uniform(0.1, LONGEST_LIFE) for _ in life[1:])]
    return tuple(
        Version(1000 + number, nth, customer, at, status, 2 * half, _refunds(life[:nth], half))
        for nth, ((status, _), at) in enumerate(zip(life, moments, strict=True), 1)
    )


def _refunds(life: Sequence[tuple[Status, Part]], half: Decimal) -> tuple[Decimal, ...]:
    return tuple(half if part == "half" else 2 * half for _, part in life if part != "none")


def email(customer: int) -> str:
    return f"c{customer}@faults.example"


def body(version: Version, *, epoch: datetime) -> bytes:
    """As wc/v3 writes it. Orders are a second apart, versions of one a minute, from `epoch` on."""
    created = epoch + timedelta(seconds=version.order_id)
    house = version.customer - 1 if version.customer % HOUSEHOLD == 0 else version.customer
    address = {"address_1": f"{house} Long Street", "city": "Utrecht", "postcode": "3511", "country": "NL"}
    return json.dumps(
        {
            "id": version.order_id,
            "number": str(version.order_id),
            "status": version.status,
            "currency": CURRENCY,
            "total": str(version.total),
            "date_created_gmt": _time(created),
            "date_modified_gmt": _time(created + timedelta(minutes=version.number)),
            "payment_method": "stripe",
            "billing": {**address, "email": email(version.customer)},
            "shipping": address,
            "line_items": [{"product_id": version.order_id % 50 + 1, "quantity": 2}],
            "refunds": [
                {"id": version.order_id * 10 + nth, "total": f"-{amount}", "reason": "Does not fit"}
                for nth, amount in enumerate(version.refunds)
            ],
        },
        separators=(",", ":"),
    ).encode()


def _time(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="seconds")


# What must have come of them ------------------------------------------------------------------------------------------

What = Literal["placed", "refunded", "cancelled"]


@dataclass(frozen=True, slots=True)
class Customer:
    """As its last webhook must tell."""

    total_orders: int
    total_refunds: int

    @property
    def is_blocked(self) -> bool:
        return self.total_refunds >= BLOCKED_AT


@dataclass(frozen=True, slots=True)
class Expected:
    told: Mapping[What, Counter[int]]
    """How often each order is told of by the rule of that name."""
    customers: Mapping[int, Customer]


def expected(accepted: Iterable[Version]) -> Expected:
    """Of the versions that were accepted, in any order."""
    last = {version.order_id: version for version in sorted(accepted, key=lambda version: version.number)}
    return Expected(
        {
            "placed": Counter(dict.fromkeys(last, 1)),
            "refunded": Counter({order_id: len(v.refunds) for order_id, v in last.items() if v.refunds}),
            "cancelled": Counter({order_id: 1 for order_id, v in last.items() if v.status == "cancelled"}),
        },
        dict(_customers(last.values())),
    )


def _customers(last: Iterable[Version]) -> Iterator[tuple[int, Customer]]:
    placed: Counter[int] = Counter()
    refunds: Counter[int] = Counter()
    for version in last:
        placed[version.customer] += version.status != "cancelled"
        refunds[version.customer] += len(version.refunds)
    for customer, count in placed.items():
        yield customer, Customer(count, refunds[customer])
