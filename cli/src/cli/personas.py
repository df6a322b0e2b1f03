"""Made-up customers, at least one for each detection module: what a store would tell of them, and what must come out.

Points are those of the default settings. Every persona lives at an address of its own, has no phone, and pays from
nowhere in particular, so that nobody is linked by accident; the three of one household are linked on purpose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

FIRST_ID = 10**12
IDS_PER_RUN = 1000
"""Ids of orders, refunds and products: far above a shop's own, and still exact in a JSON number."""
IDS_PER_PERSONA = 50

_GREENHOUSE = ("persona-greenhouse", "Greenhouse (persona)")


@dataclass(frozen=True, slots=True)
class Persona:
    email: str
    name: str
    shows: str
    events: tuple[Mapping[str, Any], ...]
    """As POST /ingest/events takes them."""
    points: Mapping[str, int]
    """By module, the sum of its signals; a module that is not named has no points."""

    @property
    def score(self) -> int:
        return max(0, min(100, 50 + sum(self.points.values())))


@dataclass(frozen=True, slots=True)
class _Ids:
    """The ids of one persona, a part of its run's."""

    run: int
    place: int

    def at(self, number: int) -> int:
        return FIRST_ID + self.run * IDS_PER_RUN + self.place * IDS_PER_PERSONA + number

    def email(self, name: str) -> str:
        return f"{name}.{self.run}@personas.example"


@dataclass(frozen=True, slots=True)
class _Sale:
    """An order to be, by what matters here."""

    days_ago: float
    total: Decimal = Decimal(60)
    refunded: Decimal = Decimal(0)
    refund_reason: str = "Changed my mind"
    cancelled: bool = False
    coupons: tuple[str, ...] = ()
    house: int = 1
    """Which of the persona's addresses it goes to."""
    abroad: bool = False
    product: int = 0


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the events of one persona have in common."""

    now: datetime
    ids: _Ids
    currency: str

    def event(self, number: int, kind: str, days_ago: float, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "id": f"persona-{self.ids.at(number)}",
            "type": kind,
            "occurred_at": _time(self.now, days_ago),
            "data": data,
        }

    def orders(self, email: str, sales: Sequence[_Sale], *, first: int = 0) -> tuple[Mapping[str, Any], ...]:
        """One event per order, as the store has it now; they are numbered from `first`."""
        return tuple(
            self.event(number, "order", sale.days_ago, self._order(number, email, sale))
            for number, sale in enumerate(sales, first)
        )

    def _order(self, number: int, email: str, sale: _Sale) -> Mapping[str, Any]:
        order_id, at = self.ids.at(number), _time(self.now, sale.days_ago)
        home = _address(self.ids, 1, "GB")
        return {
            "id": order_id,
            "number": str(order_id),
            "status": _status(sale),
            "currency": self.currency,
            "total": f"{sale.total:.2f}",
            "date_created_gmt": at,
            "date_modified_gmt": at,
            "billing": {**home, "email": email},
            "shipping": _address(self.ids, sale.house, "IE" if sale.abroad else "GB"),
            "line_items": [{"id": 1, "name": "Article", "product_id": sale.product or 1, "quantity": 1}],
            "coupon_lines": [{"id": n, "code": code} for n, code in enumerate(sale.coupons, 1)],
            "refunds": _refunds(order_id, sale),
        }


def _time(now: datetime, days_ago: float) -> str:
    return (now - timedelta(days=days_ago)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _status(sale: _Sale) -> str:
    if sale.cancelled:
        return "cancelled"
    return "refunded" if sale.refunded == sale.total else "completed"


def _refunds(order_id: int, sale: _Sale) -> list[Mapping[str, Any]]:
    if not sale.refunded:
        return []
    return [{"id": order_id, "total": f"-{sale.refunded:.2f}", "reason": sale.refund_reason}]


def _address(ids: _Ids, house: int, country: str) -> Mapping[str, str]:
    street = f"{house} Persona Lane {ids.run}-{ids.place}"
    return {"address_1": street, "city": "Exampleton", "postcode": "EX1 1PL", "country": country}


def personas(now: datetime, run: int, currency: str = "EUR") -> tuple[Persona, ...]:
    """The cast of one run, a number that no other run of this store has had; times are relative to `now`."""
    makers = (
        _newcomer,
        _loyal,
        _kept,
        _old_account,
        _returner,
        _burst,
        _coupons,
        _categories,
        _shipping,
        _chargebacks,
        _first_order_dispute,
        _card_testing,
    )
    alone = tuple(maker(_Scene(now, _Ids(run, place), currency)) for place, maker in enumerate(makers))
    return alone + _household(_Scene(now, _Ids(run, len(makers)), currency))


def _newcomer(scene: _Scene) -> Persona:
    email = scene.ids.email("newcomer")
    return Persona(
        email,
        "newcomer",
        "Too little is known after one order.",
        scene.orders(email, [_Sale(3)]),
        {},
    )


def _loyal(scene: _Scene) -> Persona:
    """Twelve orders of 100 over 13 months, nothing sent back: +15 clean, +5 value, +10 returns, +15 age."""
    email = scene.ids.email("loyal")
    return Persona(
        email,
        "loyal VIP",
        "Years of orders that were kept.",
        scene.orders(email, [_Sale(400 - 33 * n, Decimal(100)) for n in range(12)]),
        {"returns": 10, "orders": 20, "account_age": 15},
    )


def _kept(scene: _Scene) -> Persona:
    """Six orders worth 1,200: +10 clean, +5 value, +10 returns; too young an account for more."""
    email = scene.ids.email("kept")
    return Persona(
        email,
        "good orders",
        "What was bought was kept.",
        scene.orders(email, [_Sale(70 - 11 * n, Decimal(200)) for n in range(6)]),
        {"returns": 10, "orders": 15},
    )


def _old_account(scene: _Scene) -> Persona:
    """Four orders since 200 days: +5 clean, +10 age."""
    email = scene.ids.email("old-account")
    return Persona(
        email,
        "account age",
        "Time since the first completed order.",
        scene.orders(email, [_Sale(days) for days in (200, 150, 100, 50)]),
        {"orders": 5, "account_age": 10},
    )


def _returner(scene: _Scene) -> Persona:
    """Ten of twelve orders came back whole: -40 rate, -10 wardrobing, -5 for ten refunds."""
    email = scene.ids.email("returner")
    sales = [_Sale(75 - 6 * n, refunded=Decimal(60) if n < 10 else Decimal(0)) for n in range(12)]
    return Persona(
        email, "serial returner", "Nearly all comes back, and whole.", scene.orders(email, sales), {"returns": -55}
    )


def _burst(scene: _Scene) -> Persona:
    """Five orders in 40 minutes -10, four of nine cancelled -10, four clean +5; one of five refunded is no tier."""
    email = scene.ids.email("burst")
    kept = [_Sale(20 - n * 10 / 1440, refunded=Decimal(0) if n else Decimal(20)) for n in range(5)]
    cancelled = [_Sale(40 - n, cancelled=True) for n in range(4)]
    return Persona(
        email,
        "bursts and cancellations",
        "Orders in a burst, and cancels many.",
        scene.orders(email, [*kept, *cancelled]),
        {"orders": -15},
    )


def _coupons(scene: _Scene) -> Persona:
    """Three orders with three coupons each, all refunded in part.

    Coupons: -25 cycles, -10 for three first-order coupons, -5 stacking. Returns: 3 of 8, -10. Orders: 5 clean, +10.
    """
    email = scene.ids.email("coupons")
    codes = (("welcome10", "spring", "extra5"), ("welcome15", "summer", "extra5"), ("first20", "autumn", "extra5"))
    bought = [_Sale(60 - n, refunded=Decimal(20), coupons=codes[n]) for n in range(3)]
    return Persona(
        email,
        "coupon hunter",
        "Takes the discount, gives back the goods.",
        scene.orders(email, [*bought, *(_Sale(50 - 5 * n) for n in range(5))]),
        {"returns": -10, "orders": 10, "coupons": -40},
    )


def _categories(scene: _Scene) -> Persona:
    """Two of four orders of one category came back: -15; 2 of 9 in all is no tier of returns; 7 clean, +10."""
    email, product = scene.ids.email("categories"), scene.ids.at(40)
    slug, name = _GREENHOUSE
    described = {"id": product, "categories": [{"slug": slug, "name": name}]}
    sales = [_Sale(60 - n, refunded=Decimal(0) if n % 2 else Decimal(20), product=product) for n in range(4)]
    orders = scene.orders(email, [*sales, *(_Sale(50 - 5 * n) for n in range(5))])
    return Persona(
        email,
        "one bad category",
        "Sends back one kind of goods.",
        (scene.event(40, "product", 90, described), *orders),
        {"orders": 10, "categories": -15},
    )


def _shipping(scene: _Scene) -> Persona:
    """Five orders to five addresses -15, one abroad -5, the last three all new -5; clean +10, returns +10."""
    email = scene.ids.email("shipping")
    sales = [_Sale(25 - 4 * n, house=n + 1, abroad=n == 2) for n in range(5)]
    return Persona(
        email,
        "many addresses",
        "Parcels go to ever new places.",
        scene.orders(email, sales),
        {"returns": 10, "orders": 10, "shipping_anomalies": -25},
    )


def _chargebacks(scene: _Scene) -> Persona:
    """Lost -40, inquiry -5, won 0. The refund that the lost one caused is no return: four clean orders, +5."""
    email = scene.ids.email("chargebacks")
    lost = _Sale(80, refunded=Decimal(60), refund_reason="Dispute lost.")
    orders = scene.orders(email, [lost, _Sale(70), _Sale(60), _Sale(50)])
    disputes = tuple(
        scene.event(40 + number, "dispute", 40, _dispute(scene, number, status))
        for number, status in enumerate(("lost", "won", "warning"))
    )
    return Persona(
        email,
        "chargebacks",
        "The bank took money back.",
        (*orders, *disputes),
        {"orders": 5, "chargebacks": -45},
    )


def _first_order_dispute(scene: _Scene) -> Persona:
    """An open dispute counts although one order is too little for all else: -20."""
    email = scene.ids.email("first-dispute")
    orders = scene.orders(email, [_Sale(15)])
    return Persona(
        email,
        "disputed first order",
        "A fraudster cannot hide behind having few orders.",
        (*orders, scene.event(40, "dispute", 5, _dispute(scene, 0, "open"))),
        {"chargebacks": -20},
    )


def _dispute(scene: _Scene, order: int, status: str) -> Mapping[str, Any]:
    return {
        "id": f"dp_{scene.ids.at(order)}",
        "order_id": scene.ids.at(order),
        "amount": "60.00",
        "currency": scene.currency,
        "reason": "fraudulent",
        "status": status,
    }


def _card_testing(scene: _Scene) -> Persona:
    """Three declines 13 hours ago -15, a lockout 12 hours ago -30, both fading by the day; no order at all.

    Twelve hours are in the middle of a day's step of the fading, so the points stand for the next hours.
    """
    email = scene.ids.email("card-testing")
    declines = tuple(
        scene.event(40 + n, "decline", 13 / 24 - n / 1440, {"email": email, "code": "card_declined", "country": "GB"})
        for n in range(3)
    )
    refused = {"email": email, "amount": "60.00", "currency": scene.currency, "decision": "deny", "reason": "lockout"}
    return Persona(
        email,
        "card testing",
        "Tries stolen cards at the checkout.",
        (*declines, scene.event(43, "checkout_attempt", 12 / 24, refused)),
        {"card_testing": -45},
    )


def _household(scene: _Scene) -> tuple[Persona, ...]:
    """Three accounts at one address, two links each: -15; three clean orders: +5.

    Each used one coupon for newcomers. To the second and the third it was no first order: -10.
    """
    return tuple(_account(scene, number, name) for number, name in enumerate(("first", "second", "third")))


def _account(scene: _Scene, number: int, name: str) -> Persona:
    email = scene.ids.email(f"{name}-account")
    sales = [_Sale(80 - 3 * number, coupons=("welcome10",)), _Sale(50 - 3 * number), _Sale(40 - 3 * number)]
    coupons = {"coupons": -10} if number else {}
    return Persona(
        email,
        f"{name} of three accounts",
        "One household, several newcomers.",
        scene.orders(email, sales, first=3 * number),
        {"orders": 5, "linked_accounts": -15, **coupons},
    )
