"""Returns: how much of what a customer orders comes back, and whether it comes back whole.

The tiers and the 10+ refunds are the plugin's published ones; wardrobing counts from the third refund on
(our choice: two full refunds are no pattern).
"""

from collections.abc import Iterable
from decimal import Decimal

from scorer.features import Features, percent
from scorer.signals import Signal

RATE_TIERS = ((Decimal(60), -40), (Decimal(40), -25), (Decimal(25), -10))
"""(return rate in percent from which, points), the highest first; one applies."""
LOW_RATE, LOW_RATE_ORDERS, LOW_RATE_POINTS = Decimal(5), 5, 10
WARDROBING_SHARE, WARDROBING_REFUNDS, WARDROBING_POINTS = Decimal(90), 3, -10
MANY_REFUNDS, MANY_REFUNDS_POINTS = 10, -5


def signals(features: Features) -> Iterable[Signal]:
    yield from _rate(features)
    yield from _wardrobing(features)
    if features.total_refunds >= MANY_REFUNDS:
        yield _signal(MANY_REFUNDS_POINTS, f"{features.total_refunds} refunds in all", features.refunded_ids)


def _rate(features: Features) -> Iterable[Signal]:
    rate = features.return_rate
    told = f"{features.refunded_orders} of {features.total_orders} orders had a refund ({rate} %)"
    for threshold, points in RATE_TIERS:
        if rate >= threshold:
            yield _signal(points, told, features.refunded_ids)
            return
    if rate <= LOW_RATE and features.total_orders >= LOW_RATE_ORDERS:
        yield _signal(LOW_RATE_POINTS, told, features.clean_ids)


def _wardrobing(features: Features) -> Iterable[Signal]:
    share = percent(features.full_refunds, features.total_refunds)
    if features.total_refunds >= WARDROBING_REFUNDS and share >= WARDROBING_SHARE:
        told = f"{features.full_refunds} of {features.total_refunds} refunds gave back the whole order"
        yield _signal(WARDROBING_POINTS, told, features.fully_refunded_ids)


def _signal(points: int, reason: str, evidence: tuple[int, ...]) -> Signal:
    return Signal("returns", points, reason, evidence)
