"""A year of facts of all kinds, made by chance from a seed."""

import random
from typing import Any

from shared.events import Fact
from support.facts import attempt, coupon, decline, deleted, dispute, mark, order, product, refund


def year(seed: int) -> list[Fact]:
    """In the order in which it happened; beginning with an order in the store's currency."""
    chance = random.Random(seed)  # noqa: S311  # reproducible, not secret
    facts: list[Fact] = [product(n, *chance.sample(["shoes", "hats", "toys"], k=chance.randrange(3))) for n in range(9)]
    facts += [product(n, "hats", "toys", at=40) for n in range(4)]
    facts += [coupon("x", once=True, at=300), coupon("x", at=150), coupon("y", at=250), coupon("y", once=True, at=90)]
    for order_id in range(1, 131):
        facts += _order(chance, order_id)
    facts += [order(1000 + n, f"office{n}@example.com", marks=[mark("ip", "office")], at=200 - n) for n in range(52)]
    facts += [order(2000 + n, f"office{n}@example.com", marks=[mark("phone", n // 3)], at=20) for n in range(9)]
    for n in range(60):
        facts.append(_checkout(chance, n))
    return sorted(facts, key=lambda fact: (fact.type == "product", fact.occurred_at))


def _order(chance: random.Random, order_id: int) -> list[Fact]:
    person = chance.randrange(18)
    at = chance.uniform(1, 365) if chance.random() < 0.9 else chance.choice([-1.0, -40.0, 11000.0])
    known: dict[str, Any] = {
        "total": "100.00",
        "currency": chance.choice(["EUR", "EUR", "EUR", "USD"]) if order_id > 20 else "EUR",
        "coupons": chance.sample(["welcome10", "save5", "x", "y"], k=chance.choice([0, 0, 1, 3])),
        "products": chance.sample(range(9), k=chance.randrange(4)),
        "marks": [
            mark("shipping_address", chance.choice([person, person, chance.randrange(6)])),
            mark("ip", chance.randrange(8)),
            mark("device", person),
        ],
        "payments": [f"ch_{order_id}"] if chance.random() < 0.7 else [],
        "billing_country": "DE",
        "shipping_country": chance.choice(["DE", "DE", "AT"]),
        "at": at,
    }
    email: str | None = f"c{person}@example.com"
    changed, versions = min(at, 365.0), ["processing", "completed"]
    if chance.random() < 0.2:
        versions = ["pending", "cancelled"]
    facts: list[Fact] = []
    for status in versions:
        facts.append(order(order_id, email, status=status, modified=changed, **known))
        changed -= 0.4
    if chance.random() < 0.4:
        listed = {order_id * 10: chance.choice(["100.00", "40.00"])}
        facts.append(order(order_id, email, refunds=listed, modified=changed, **known))
        listed[order_id * 10 + 1] = "60.00"
        facts.append(order(order_id, email, status="refunded", refunds=listed, modified=changed, **known))
    if chance.random() < 0.2:
        facts.append(refund(order_id, "30.00", number=order_id * 10 + 2, at=chance.uniform(0, 300)))
    if chance.random() < 0.15:
        moved = chance.choice([f"c{chance.randrange(18)}@example.com", None])
        facts.append(order(order_id, moved, modified=changed - 1, **known))
    if chance.random() < 0.1:
        facts.append(deleted(order_id, at=changed - chance.uniform(-1, 2)))
    if chance.random() < 0.25:
        facts += _dispute(chance, order_id, paid=bool(known["payments"]))
    return facts


def _dispute(chance: random.Random, order_id: int, *, paid: bool) -> list[Fact]:
    by_payment = paid and chance.random() < 0.5
    named = None if by_payment else order_id
    payments = [f"ch_{order_id}"] if by_payment else []
    opened = chance.uniform(30, 360)
    lives = (["open", "lost"], ["open", "under_review", "won"], ["warning"], ["open"])
    return [
        dispute(named, status, name=f"dp_{order_id}", payments=payments, at=opened - day)  # type: ignore[arg-type]
        for day, status in enumerate(chance.choice(lives))
    ]


def _checkout(chance: random.Random, n: int) -> Fact:
    email = chance.choice([f"c{chance.randrange(6)}@example.com", None])
    minute, marks = n % 7 + 1440 * (n // 7), [mark("device", chance.randrange(18))]
    if chance.random() < 0.6:
        return decline(email, minute=minute, marks=marks)
    return attempt(email, chance.choice([None, "lockout", "freeze", "customer_blocked"]), minute=minute, marks=marks)
