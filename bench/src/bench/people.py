"""Numbered people and what they order. population.sql makes the same ones inside Postgres."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from bench.stack import Shop
from shared.events import Order, OrderFact, Refund
from shared.identity import FingerprintKind, email_hash, fingerprint
from shared.ids import uuid7

CURRENCY = "GBP"
PER_IP = 20
"""So many people come from one IP address."""
PRODUCTS = 5000


def email(number: int) -> str:
    return f"c{number}@bench.example"


def hashed(shop: Shop, number: int) -> str:
    return email_hash(shop.key, email(number))


def house(number: int) -> int:
    """Every tenth person lives with the one before."""
    return number - 1 if number % 10 == 0 else number


def ordered_at(began: datetime, number: int, nth: int) -> datetime:
    """When a person placed the nth order, from 0, of those that are in the tables."""
    return began + timedelta(days=number * 37 % 100 + 40 * nth, seconds=number % 86_400)


def fingerprints(shop: Shop, number: int, other: Mapping[FingerprintKind, str] | None = None) -> tuple[str, ...]:
    """What a person leaves with each order; `other`: values that are not as usual."""
    values: dict[FingerprintKind, str] = {
        "shipping_address": f"house {house(number)}",
        "billing_address": f"house {house(number)}",
        "phone": f"phone {number}",
        "ip": f"ip {number // PER_IP}",
        "device": f"device {number}",
    }
    values |= other or {}
    return tuple(sorted(fingerprint(shop.key, kind, value) for kind, value in values.items()))


def order_fact(
    shop: Shop,
    order_id: int,
    *,
    by: int,
    at: datetime,
    created_at: datetime | None = None,
    prints: Sequence[str] | None = None,
    status: str = "completed",
    refunded: bool = False,
) -> OrderFact:
    """A version of a person's order; refunded: in full."""
    total = Decimal(20 + order_id % 180)
    order = Order(
        id=order_id,
        number=str(order_id),
        total=total,
        currency=CURRENCY,
        status="refunded" if refunded else status,
        item_count=1,
        payment_method="stripe",
        billing_country="GB",
        shipping_country="GB",
        created_at=created_at or at,
        modified_at=at,
        email=email(by),
        refunds=(Refund(id=order_id, amount=total),) if refunded else (),
        product_ids=(order_id % PRODUCTS + 1,),
        fingerprints=tuple(fingerprints(shop, by) if prints is None else prints),
        payments=(f"pi_{order_id}",) if order_id % 2 == 0 else (),
    )
    return OrderFact(id=uuid7(), store_id=shop.id, occurred_at=at, data=order)


def orders_of_one_house(shop: Shop, count: int, *, at: datetime) -> list[OrderFact]:
    """One order each of `count` people at one address."""
    return [
        order_fact(
            shop,
            number,
            by=number,
            at=at + timedelta(seconds=number),
            prints=(fingerprint(shop.key, "shipping_address", "the tower"),),
        )
        for number in range(1, count + 1)
    ]
