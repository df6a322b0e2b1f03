"""A customer in numbers: what the modules decide from. Read by features.sql and links.sql, changed by nobody.

Windows and sizes that a statement needs to know (30 days, 90 days, one hour, five orders, three declines, hubs) are
fixed there; everything else is a setting of the module that reads it.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from shared.events import DisputeStatus
from shared.identity import FingerprintKind


@dataclass(frozen=True, slots=True)
class CouponOrder:
    """A counted order with at least one coupon."""

    order_id: int
    at: datetime
    codes: tuple[str, ...]
    """Lower case."""
    once: tuple[str, ...] = ()
    """Those of them that the store lets a customer use once only."""
    refunded: bool = False


@dataclass(frozen=True, slots=True)
class CategoryOrders:
    """The counted orders with a product of one category."""

    slug: str
    name: str
    orders: int
    refunded: int
    """Those with any refund."""
    refunded_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Linked:
    """Another customer to whom fingerprints in common link this one (hubs left out).

    An address, a phone or a payment card in common is enough; an IP or a device only together with a second kind,
    or where at least three customers first used it within the same 24 hours.
    """

    email_hash: str
    kinds: tuple[FingerprintKind, ...]
    """Distinct kinds in common, in the order of FINGERPRINT_KINDS."""
    is_blocked: bool = False
    own_score: int | None = None
    """The other's score without what comes from links. None: not scored yet."""


@dataclass(frozen=True, slots=True)
class DisputeState:
    id: str
    status: DisputeStatus


@dataclass(frozen=True, slots=True)
class Features:
    """Counts as product documentation defines them; amounts in the store's currency; times of the store.

    Ids are the latest first, at most 20. A time before 2000, or ahead of `now` by more than ten
    minutes, is a store's mistake: it counts as an order, and in no window, age or first and last order.
    """

    total_orders: int = 0
    completed_orders: int = 0
    cancelled_orders: int = 0
    refunded_orders: int = 0
    """Orders with at least one refund."""
    total_refunds: int = 0
    """Refund transactions."""
    full_refunds: int = 0
    total_order_value: Decimal = Decimal(0)
    total_refund_value: Decimal = Decimal(0)
    foreign_orders: int = 0
    """Orders in another currency than the store's: they count as orders, not in the values."""
    first_completed_at: datetime | None = None
    first_order_at: datetime | None = None
    last_order_at: datetime | None = None
    next_order_at: datetime | None = None
    """When the earliest order that claims a time to come may be believed: ten minutes before that time."""
    refunded_ids: tuple[int, ...] = ()
    fully_refunded_ids: tuple[int, ...] = ()
    clean_ids: tuple[int, ...] = ()
    cancelled_ids: tuple[int, ...] = ()

    most_orders_in_an_hour: int = 0
    """Counting back from an order of the last 90 days."""
    last_burst_at: datetime | None = None
    """The latest order of the last 90 days that was at least the fifth within an hour."""
    burst_ids: tuple[int, ...] = ()
    """Of the orders within the hour before `last_burst_at`."""

    coupon_orders: tuple[CouponOrder, ...] = ()
    """The oldest first."""
    categories: tuple[CategoryOrders, ...] = ()
    """Those with at least three orders."""
    linked: tuple[Linked, ...] = ()
    """The blocked first, then the Critical by their own score, then by hash; at most 20."""
    linked_accounts: int = 0
    """All of them."""
    linked_coupon_at: datetime | None = None
    """When a linked customer first used a first-order coupon: the earliest."""
    linked_coupon_by: str | None = None
    """Who that was."""
    hub_kinds: tuple[FingerprintKind, ...] = ()
    """Kinds of which this customer has a fingerprint that more than 50 share: it links nobody."""

    recent_addresses: int = 0
    """Distinct shipping addresses of the last 30 days."""
    recent_address_ids: tuple[int, ...] = ()
    abroad_ids: tuple[int, ...] = ()
    """Orders of the last 30 days whose billing and shipping countries differ."""
    oldest_recent_at: datetime | None = None
    """The first order of the last 30 days: the next to leave them."""
    new_address_ids: tuple[int, ...] = ()
    """Of the last three orders, those of the last 30 days that each went to an address not used before; the customer's
    first order has no before."""

    disputes: tuple[DisputeState, ...] = ()
    """In the order of their opening."""

    last_lockout_at: datetime | None = None
    """The latest submission that the gate refused because of the device: lockout or velocity."""
    last_freeze_at: datetime | None = None
    """The latest submission that met a freeze, which is nobody's fault: an event, no points."""
    last_decline_burst_at: datetime | None = None
    """The latest decline that was at least the third within 10 minutes."""
    declines_in_burst: int = 0
    """Within the 10 minutes before it."""
    next_checkout_at: datetime | None = None
    """As next_order_at: when the earliest decline or submission of a time to come may be believed."""

    @property
    def return_rate(self) -> Decimal:
        """Percent of orders with a refund, one decimal, half up."""
        return percent(self.refunded_orders, self.total_orders)

    @property
    def clean_orders(self) -> int:
        return self.total_orders - self.refunded_orders

    @property
    def cancellation_rate(self) -> Decimal:
        return percent(self.cancelled_orders, self.total_orders + self.cancelled_orders)

    @property
    def net_value(self) -> Decimal:
        return self.total_order_value - self.total_refund_value


def percent(part: int, whole: int) -> Decimal:
    """One decimal, half up; 0 of nothing is 0."""
    if not whole:
        return Decimal("0.0")
    return (Decimal(100 * part) / whole).quantize(Decimal("0.1"), rounding=ROUND_HALF_UP)
