"""Orders: what was bought and kept earns trust; cancelling often or ordering in bursts costs it.

Clean orders and net value are the plugin's published points; cancellations and bursts are our choice.
"""

from collections.abc import Iterable
from decimal import Decimal

from scorer.features import Features
from scorer.signals import Signal

CLEAN_TIERS = ((10, 15), (5, 10), (3, 5))
"""(clean orders from which, points), the highest first; one applies."""
NET_VALUE, NET_VALUE_POINTS = Decimal(1000), 5
CANCELLATION_RATE, CANCELLATIONS, CANCELLATION_POINTS = Decimal(40), 3, -10
BURST_ORDERS, BURST_POINTS = 5, -10
"""Orders within one hour, in the last 90 days."""


def signals(features: Features) -> Iterable[Signal]:
    yield from _clean(features)
    if features.net_value >= NET_VALUE:
        yield _signal(NET_VALUE_POINTS, f"has kept goods worth {features.net_value:.2f}", features.clean_ids)
    if features.cancelled_orders >= CANCELLATIONS and features.cancellation_rate >= CANCELLATION_RATE:
        told = f"cancelled {features.cancelled_orders} orders ({features.cancellation_rate} %)"
        yield _signal(CANCELLATION_POINTS, told, features.cancelled_ids)
    if features.most_orders_in_an_hour >= BURST_ORDERS:
        told = f"placed {features.most_orders_in_an_hour} orders within one hour in the last 90 days"
        yield _signal(BURST_POINTS, told, ())


def _clean(features: Features) -> Iterable[Signal]:
    for threshold, points in CLEAN_TIERS:
        if features.clean_orders >= threshold:
            yield _signal(points, f"{features.clean_orders} orders without any refund", features.clean_ids)
            return


def _signal(points: int, reason: str, evidence: tuple[int, ...]) -> Signal:
    return Signal("orders", points, reason, evidence)
