"""Returns: how much of what a customer orders comes back, and whether it comes back whole.

The tiers and the 10+ refunds are the plugin's published ones; wardrobing counts from the third refund on
(our choice: two full refunds are no pattern). A refund is full within 0.01 of its order's total.
"""

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import model_validator

from scorer.features import Features, percent
from scorer.modules.settings import Count, Falling, Listed, ModuleSettings, Rate
from scorer.signals import Signal, counted

RATE_POINTS = (-40, -25, -10)
"""One for each of `rate_tiers`; one applies."""
LOW_RATE_POINTS = 10
WARDROBING_POINTS = -10
MANY_REFUNDS_POINTS = -5


class Settings(ModuleSettings):
    rate_tiers: Annotated[tuple[Rate, Rate, Rate], Listed, Falling] = (60, 40, 25)
    """Return rates from which orders that came back cost points."""
    low_rate: Rate = 5
    """The return rate up to which customers are praised,"""
    low_rate_orders: Count = 5
    """if they have this many orders."""
    wardrobing_share: Rate = 90
    """Percent of the refunds that are full, from which"""
    wardrobing_refunds: Count = 3
    """this many refunds are a pattern."""
    many_refunds: Count = 10

    @model_validator(mode="after")
    def _praise_ends_where_blame_begins(self) -> Self:
        if self.low_rate >= self.rate_tiers[-1]:
            raise ValueError("low_rate must be below the last of rate_tiers")
        return self


def signals(features: Features, settings: Settings) -> Iterable[Signal]:
    yield from _rate(features, settings)
    yield from _wardrobing(features, settings)
    if features.total_refunds >= settings.many_refunds:
        yield _signal(
            MANY_REFUNDS_POINTS, f"Got {counted(features.total_refunds, 'refund')} in all.", features.refunded_ids
        )


def _rate(features: Features, settings: Settings) -> Iterable[Signal]:
    rate = features.return_rate
    told = f"{features.refunded_orders} of {features.total_orders} orders had a refund ({rate} %)."
    for threshold, points in zip(settings.rate_tiers, RATE_POINTS, strict=True):
        if float(rate) >= threshold:
            yield _signal(points, told, features.refunded_ids)
            return
    if float(rate) <= settings.low_rate and features.total_orders >= settings.low_rate_orders:
        yield _signal(LOW_RATE_POINTS, told, features.clean_ids)


def _wardrobing(features: Features, settings: Settings) -> Iterable[Signal]:
    if features.total_refunds < settings.wardrobing_refunds:
        return
    if float(percent(features.full_refunds, features.total_refunds)) >= settings.wardrobing_share:
        told = f"{features.full_refunds} of {features.total_refunds} refunds gave back the whole order."
        yield _signal(WARDROBING_POINTS, told, features.fully_refunded_ids)


def _signal(points: int, reason: str, evidence: tuple[int, ...]) -> Signal:
    return Signal("returns", points, reason, evidence)
