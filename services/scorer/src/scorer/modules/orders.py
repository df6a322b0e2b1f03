"""Orders: what was bought and kept earns trust; cancelling often or ordering in bursts costs it.

Clean orders and net value are the plugin's published points; cancellations and bursts are our choice: nobody needs
five orders within an hour, and a cancellation or two happen to everybody.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from scorer.features import Features
from scorer.modules.settings import Count, Falling, Listed, ModuleSettings, Rate
from scorer.signals import Signal, counted, day, weighted

CLEAN_POINTS = (15, 10, 5)
"""One for each of `clean_tiers`; one applies."""
NET_VALUE_POINTS = 5
CANCELLATION_POINTS = -10
BURST_ORDERS, BURST_POINTS = 5, -10
"""Orders within one hour, in the last 90 days: the features know no other sizes."""
BURST_REMEMBERED = timedelta(days=90)


class Settings(ModuleSettings):
    clean_tiers: Annotated[tuple[Count, Count, Count], Listed, Falling] = (10, 5, 3)
    """Orders without any refund, from which they earn points."""
    net_value: Annotated[int, Field(ge=1, le=10**9)] = 1000
    """What was kept, in the store's currency."""
    cancellation_rate: Rate = 40
    """Percent of all orders that were cancelled, from which"""
    cancellations: Count = 3
    """this many cancelled orders are a pattern."""


def signals(features: Features, settings: Settings) -> Iterable[Signal]:
    yield from _clean(features, settings)
    if features.net_value >= settings.net_value:
        yield _signal(NET_VALUE_POINTS, f"Kept goods worth {features.net_value:.2f}.", features.clean_ids)
    yield from _cancellations(features, settings)
    yield from _burst(features)
    if features.foreign_orders:
        yield _signal(0, _foreign(features.foreign_orders), ())


def burst_ends_at(features: Features, settings: Settings) -> datetime | None:
    """When a burst that costs points will have left the last 90 days."""
    earned = settings.enabled and weighted(BURST_POINTS, settings.weight) and any(_burst(features))
    return features.last_burst_at + BURST_REMEMBERED if earned and features.last_burst_at else None


def _clean(features: Features, settings: Settings) -> Iterable[Signal]:
    for threshold, points in zip(settings.clean_tiers, CLEAN_POINTS, strict=True):
        if features.clean_orders >= threshold:
            told = f"{counted(features.clean_orders, 'order')} had no refund."
            yield _signal(points, told, features.clean_ids)
            return


def _cancellations(features: Features, settings: Settings) -> Iterable[Signal]:
    if features.cancelled_orders < settings.cancellations:
        return
    rate = features.cancellation_rate
    if float(rate) >= settings.cancellation_rate:
        told = f"Cancelled {counted(features.cancelled_orders, 'order')} ({rate} % of all)."
        yield _signal(CANCELLATION_POINTS, told, features.cancelled_ids)


def _burst(features: Features) -> Iterable[Signal]:
    """Told by the latest burst, since a bigger one leaves the 90 days while the points stand."""
    if features.most_orders_in_an_hour >= BURST_ORDERS and features.last_burst_at:
        told = f"Placed {BURST_ORDERS} or more orders within one hour, the last time on {day(features.last_burst_at)}."
        yield _signal(BURST_POINTS, told, features.burst_ids)


def _foreign(orders: int) -> str:
    if orders == 1:
        return "1 order in another currency counts as an order, not in the values."
    return f"{orders} orders in other currencies count as orders, not in the values."


def _signal(points: int, reason: str, evidence: tuple[int, ...]) -> Signal:
    return Signal("orders", points, reason, evidence)
