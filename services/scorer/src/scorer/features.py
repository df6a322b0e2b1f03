"""A customer in numbers: what the modules decide from. Read by features.sql, changed by nobody."""

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True, slots=True)
class Features:
    """Counts as product documentation defines them; amounts in the orders' currency; times of the store."""

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
    most_orders_in_an_hour: int = 0
    """Within the last 90 days."""
    first_completed_at: datetime | None = None
    first_order_at: datetime | None = None
    last_order_at: datetime | None = None
    refunded_ids: tuple[int, ...] = ()
    fully_refunded_ids: tuple[int, ...] = ()
    clean_ids: tuple[int, ...] = ()
    cancelled_ids: tuple[int, ...] = ()

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
