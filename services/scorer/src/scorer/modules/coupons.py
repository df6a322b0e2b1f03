"""Coupons: taking the discount and giving back the goods, or being a new customer again and again.

The cycles are the plugin's published points; first-order coupons and stacking are our choice: two of them may be a
store's own mistake, and so may one order with three.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import translate
from functools import cached_property
from typing import Annotated

from pydantic import Field

from scorer.features import CouponOrder, Features
from scorer.modules.settings import Count, Falling, Listed, ModuleSettings
from scorer.signals import MOST_EVIDENCE, Signal, counted, day

CYCLE_POINTS = (-25, -15, -5)
"""One for each of `cycle_tiers`; one applies."""
FIRST_ORDER_POINTS = -10
LINKED_POINTS = -10
STACKING_POINTS = -5

Pattern = Annotated[str, Field(min_length=1, max_length=50)]


class Settings(ModuleSettings):
    cycle_tiers: Annotated[tuple[Count, Count, Count], Listed, Falling] = (3, 2, 1)
    """Orders with a coupon that had a refund, from which they cost points."""
    max_first_order_coupons: Annotated[int, Field(ge=0, le=1000)] = 2
    """Uses of first-order coupons that cost nothing."""
    first_order_patterns: Annotated[tuple[Pattern, ...], Listed, Field(max_length=20)] = ("welcome*", "first*")
    """Globs of codes for new customers, in either case; codes that may be used once only are always such."""
    stacked_coupons: Count = 3
    """Coupons on one order, from which they are stacked;"""
    stacked_orders: Count = 2
    """so many such orders are a pattern."""

    @cached_property
    def first_order_code(self) -> re.Pattern[str]:
        """Matches what any of the patterns matches; without patterns, nothing."""
        return re.compile("|".join(translate(pattern.lower()) for pattern in self.first_order_patterns) or r"(?!)")


@dataclass(frozen=True, slots=True)
class CouponCounts:
    total_used: int
    """Coupons over all orders."""
    first_order: int
    """Those of them that are for a first order."""
    then_refund: int
    """Orders with a coupon that had a refund."""
    first_at: datetime | None
    """When a first-order coupon was used first."""


def signals(features: Features, settings: Settings) -> Iterable[Signal]:
    """What the customer's own coupons say."""
    if not features.coupon_orders:
        return
    yield from _cycles(features, settings)
    yield from _first_orders(features, settings)
    yield from _stacking(features, settings)


def linked_signals(features: Features, settings: Settings) -> Iterable[Signal]:
    """What the coupons of linked customers say: not part of the customer's own score."""
    at, who = features.linked_coupon_at, features.linked_coupon_by
    own = _first_use(features, settings) if at else None
    if at and own and at < own.at:
        told = f"A linked customer had used a first-order coupon on {day(at)}, before this customer's first one."
        yield Signal("coupons", LINKED_POINTS, told, (who,) if who else ())


def counts(features: Features, settings: Settings) -> CouponCounts:
    orders = features.coupon_orders
    first = _first_use(features, settings)
    return CouponCounts(
        total_used=sum(len(order.codes) for order in orders),
        first_order=sum(_first_order_uses(order, settings) for order in orders),
        then_refund=sum(order.refunded for order in orders),
        first_at=first.at if first else None,
    )


def _cycles(features: Features, settings: Settings) -> Iterable[Signal]:
    refunded = [order for order in features.coupon_orders if order.refunded]
    for threshold, points in zip(settings.cycle_tiers, CYCLE_POINTS, strict=True):
        if len(refunded) >= threshold:
            yield _signal(points, f"{counted(len(refunded), 'order')} with a coupon had a refund.", refunded)
            return


def _first_orders(features: Features, settings: Settings) -> Iterable[Signal]:
    uses = [(order, _first_order_uses(order, settings)) for order in features.coupon_orders]
    total = sum(used for _, used in uses)
    if total > settings.max_first_order_coupons:
        told = f"Used {counted(total, 'coupon')} meant for a first order."
        yield _signal(FIRST_ORDER_POINTS, told, [order for order, used in uses if used])


def _stacking(features: Features, settings: Settings) -> Iterable[Signal]:
    stacked = [order for order in features.coupon_orders if len(order.codes) >= settings.stacked_coupons]
    if len(stacked) >= settings.stacked_orders:
        told = f"Used {settings.stacked_coupons} or more coupons at once on {counted(len(stacked), 'order')}."
        yield _signal(STACKING_POINTS, told, stacked)


def _first_use(features: Features, settings: Settings) -> CouponOrder | None:
    used = (order for order in features.coupon_orders if _first_order_uses(order, settings))
    return min(used, key=lambda order: order.at, default=None)


def _first_order_uses(order: CouponOrder, settings: Settings) -> int:
    matches = settings.first_order_code.match
    return sum(1 for code in order.codes if code in order.once or matches(code))


def _signal(points: int, reason: str, orders: list[CouponOrder]) -> Signal:
    latest = tuple(order.order_id for order in reversed(orders[-MOST_EVIDENCE:]))
    return Signal("coupons", points, reason, latest)
