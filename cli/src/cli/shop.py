"""A generated shop: its customers' orders over 18 months, as the webhooks WooCommerce would have sent.

Reproducible: the same `now` and `seed` give the same events; nothing here looks at a clock.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from cli.shop_people import Persona, Shopper, personas, shopper
from cli.wc_order import CouponLine, LineItem, MetaData, Order, Refund, ShippingLine, ShopEvent, Status, Topic

CUSTOMERS = 300
CURRENCY = "GBP"
SHIPPING = Decimal("4.90")
FREE_SHIPPING_FROM = Decimal(60)
COUPONS = ("WELCOME10", "SUMMER10", "FRIENDS10")  # each takes a tenth off
REASONS = ("Does not fit", "Changed my mind", "Not as pictured", "Arrived late", "")
PAYMENT_TITLES = {"stripe": "Credit card", "ppcp-gateway": "PayPal", "bacs": "Direct bank transfer"}


@dataclass(frozen=True, slots=True)
class Article:
    product_id: int
    name: str
    price: Decimal


ARTICLES = tuple(
    Article(100 + number, name, Decimal(price))
    for number, (name, price) in enumerate(
        [
            ("Linen shirt", "49.00"),
            ("Canvas tote", "19.50"),
            ("Wool socks, pair", "12.00"),
            ("Rain jacket", "129.00"),
            ("Denim trousers", "79.00"),
            ("Leather belt", "35.00"),
            ("Cotton T-shirt", "24.90"),
            ("Knitted scarf", "42.00"),
            ("Running shoes", "115.00"),
            ("Sun hat", "29.00"),
        ]
    )
)
# What is worn once and sent back.
OCCASION_WEAR = (
    Article(200, "Evening dress", Decimal("289.00")),
    Article(201, "Dinner jacket", Decimal("349.00")),
    Article(202, "Silk gown", Decimal("419.00")),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One moment of an order's life: its new status, and what was refunded in it."""

    at: datetime
    status: Status
    refund: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order before it has a number: who, what, and everything that will happen to it."""

    shopper: Shopper
    basket: tuple[tuple[Article, int], ...]
    coupon: str
    reason: str
    steps: tuple[Step, ...]

    @property
    def placed(self) -> datetime:
        return self.steps[0].at


def order_events(*, now: datetime, seed: int, customers: int = CUSTOMERS) -> list[ShopEvent]:
    """Every webhook up to `now` (aware, UTC) in the order of time: about ten for each customer."""
    purchases = [purchase for who, rng in _people(seed, customers) for purchase in _purchases(who, rng, now)]
    purchases.sort(key=lambda purchase: purchase.placed)
    versions = [version for number, purchase in enumerate(purchases, 5001) for version in _versions(number, purchase)]
    versions.sort(key=lambda version: (version[0], version[1].order["id"]))
    return [event for at, event in versions if at <= now]


def _people(seed: int, customers: int) -> Iterator[tuple[Shopper, Random]]:
    for number, persona in enumerate(personas(customers), start=1):
        # A generator of their own each, so that one customer's luck never moves another's.
        rng = Random(f"{seed}/{number}")  # noqa: S311 - chance, not secrecy
        yield shopper(number, persona, rng), rng


def _purchases(who: Shopper, rng: Random, now: datetime) -> Iterator[Purchase]:
    habits = who.habits
    joined = rng.uniform(*habits.joined)
    orders = rng.randint(*habits.orders)
    days = sorted(rng.uniform(0, joined) for _ in range(orders - 1))
    for nth, day in enumerate([0.0, *days]):
        placed = (now - timedelta(days=joined - day)).replace(microsecond=0)
        yield _purchase(who, placed, rng, first=nth == 0)


def _purchase(who: Shopper, placed: datetime, rng: Random, *, first: bool) -> Purchase:
    basket = _basket(who, rng)
    coupon = rng.choice(COUPONS[1:]) if rng.random() < who.habits.coupon else ""
    if first and rng.random() < who.habits.coupon:
        coupon = COUPONS[0]
    total = _amounts(basket, coupon).total
    return Purchase(who, basket, coupon, rng.choice(REASONS), tuple(_life(who, placed, total, rng)))


def _basket(who: Shopper, rng: Random) -> tuple[tuple[Article, int], ...]:
    if who.persona is Persona.WARDROBER:
        return ((rng.choice(OCCASION_WEAR), 1),)
    chosen = rng.sample(ARTICLES, rng.randint(*who.habits.basket))
    return tuple((article, rng.choice((1, 1, 1, 2))) for article in chosen)


def _life(who: Shopper, placed: datetime, total: Decimal, rng: Random) -> Iterator[Step]:
    """Cards are paid at once, so such an order is born processing; a bank transfer waits as pending."""
    paid = placed
    waits = who.payment == "bacs"
    if waits:
        yield Step(placed, "pending")
        paid += timedelta(hours=rng.randint(2, 60))
    elif rng.random() < 0.02:
        yield Step(placed, "failed")
        return
    if rng.random() < who.habits.cancelled:
        if not waits:
            yield Step(placed, "processing")
        yield Step(paid + timedelta(minutes=rng.randint(5, 90)), "cancelled")
        return
    yield Step(paid, "processing")
    completed = paid + timedelta(hours=rng.randint(12, 72))
    yield Step(completed, "completed")
    if rng.random() < who.habits.refunded:
        yield from _returns(who, completed, total, rng)


def _returns(who: Shopper, completed: datetime, total: Decimal, rng: Random) -> Iterator[Step]:
    """All of it at once, or a part, or two parts."""
    at = completed + timedelta(days=rng.randint(2, 12), seconds=rng.randint(0, 86_400))
    if rng.random() < who.habits.in_full:
        yield Step(at, "refunded", total)
        return
    part = _cents(total * rng.randint(20, 45) / 100)
    yield Step(at, "completed", part)
    if rng.random() < 0.3:
        yield Step(at + timedelta(days=rng.randint(1, 9)), "completed", part)


@dataclass(frozen=True, slots=True)
class Amounts:
    goods: Decimal
    discount: Decimal
    shipping: Decimal

    @property
    def total(self) -> Decimal:
        return self.goods - self.discount + self.shipping


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"))


def _discounted(article: Article, quantity: int, coupon: str) -> Decimal:
    return _cents(article.price * quantity * (Decimal("0.9") if coupon else 1))


def _amounts(basket: tuple[tuple[Article, int], ...], coupon: str) -> Amounts:
    """The discount is the sum over the lines, so the lines always add up to the order."""
    goods = sum((article.price * quantity for article, quantity in basket), Decimal(0))
    paid = sum((_discounted(article, quantity, coupon) for article, quantity in basket), Decimal(0))
    return Amounts(_cents(goods), goods - paid, Decimal(0) if paid >= FREE_SHIPPING_FROM else SHIPPING)


def _versions(number: int, purchase: Purchase) -> Iterator[tuple[datetime, ShopEvent]]:
    """The order as it was after each step; ids of refunds are made from the order's, nine at most."""
    for length, step in enumerate(purchase.steps, start=1):
        topic: Topic = "order.created" if length == 1 else "order.updated"
        yield step.at, ShopEvent(topic, _order(number, purchase, purchase.steps[:length]))


def _order(number: int, purchase: Purchase, steps: tuple[Step, ...]) -> Order:
    who, amounts = purchase.shopper, _amounts(purchase.basket, purchase.coupon)
    created, modified = _time(steps[0].at), _time(steps[-1].at)
    paid, completed = _first(steps, "processing"), _first(steps, "completed")
    return Order(
        id=number,
        parent_id=0,
        number=str(number),
        order_key=f"wc_order_{_token(number, 'key')[:13]}",
        created_via="checkout",
        version="10.3.4",
        status=steps[-1].status,
        currency=CURRENCY,
        prices_include_tax=True,
        date_created=created,
        date_created_gmt=created,
        date_modified=modified,
        date_modified_gmt=modified,
        date_paid=paid,
        date_paid_gmt=paid,
        date_completed=completed,
        date_completed_gmt=completed,
        discount_total=str(_cents(amounts.discount)),
        shipping_total=str(_cents(amounts.shipping)),
        total=str(_cents(amounts.total)),
        total_tax="0.00",
        customer_id=who.account,
        customer_ip_address=who.ip,
        customer_user_agent=who.browser,
        customer_note="",
        billing=who.billing,
        shipping=who.shipping,
        payment_method=who.payment,
        payment_method_title=PAYMENT_TITLES[who.payment],
        transaction_id=f"ch_{_token(number, 'charge')[:24]}" if who.payment == "stripe" and paid else "",
        cart_hash=_token(number, "cart"),
        meta_data=_meta_data(number, who),
        line_items=_line_items(number, purchase),
        shipping_lines=_shipping_lines(number, amounts),
        coupon_lines=_coupon_lines(number, purchase, amounts),
        refunds=_refunds(number, purchase, steps),
    )


def _time(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="seconds")


def _first(steps: tuple[Step, ...], status: Status) -> str | None:
    return next((_time(step.at) for step in steps if step.status == status), None)


def _token(number: int, use: str) -> str:
    return hashlib.sha256(f"{use} {number}".encode()).hexdigest()[:32]


def _meta_data(number: int, who: Shopper) -> list[MetaData]:
    """Plugins store what they like: here a text, a number and an object."""
    source = MetaData(id=number * 10, key="_wc_order_attribution_source_type", value="organic")
    views = MetaData(id=number * 10 + 1, key="_wc_order_attribution_session_pages", value=1 + number % 7)
    device = MetaData(id=number * 10 + 2, key="_shop_device", value={"mobile": "Mobile" in who.browser})
    return [source, views, device]


def _line_items(number: int, purchase: Purchase) -> list[LineItem]:
    return [
        LineItem(
            id=number * 10 + place,
            name=article.name,
            product_id=article.product_id,
            variation_id=0,
            quantity=quantity,
            tax_class="",
            subtotal=str(_cents(article.price * quantity)),
            total=str(_discounted(article, quantity, purchase.coupon)),
            total_tax="0.00",
            sku=f"SKU-{article.product_id}",
            price=float(article.price),
        )
        for place, (article, quantity) in enumerate(purchase.basket)
    ]


def _shipping_lines(number: int, amounts: Amounts) -> list[ShippingLine]:
    total = str(_cents(amounts.shipping))
    return [ShippingLine(id=number * 10, method_title="Parcel", method_id="flat_rate", total=total)]


def _coupon_lines(number: int, purchase: Purchase, amounts: Amounts) -> list[CouponLine]:
    if not purchase.coupon:
        return []
    return [CouponLine(id=number * 10 + 9, code=purchase.coupon.lower(), discount=str(_cents(amounts.discount)))]


def _refunds(number: int, purchase: Purchase, steps: tuple[Step, ...]) -> list[Refund]:
    """The latest first, as WooCommerce lists them."""
    made = [step.refund for step in steps if step.refund]
    refunds = [
        Refund(id=number * 10 + nth, reason=purchase.reason, total=f"-{amount}") for nth, amount in enumerate(made)
    ]
    return refunds[::-1]
