"""Account age: time since the first completed order earns trust (the plugin's published points)."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from scorer.features import Features
from scorer.modules.settings import Falling, Listed, ModuleSettings
from scorer.signals import Signal, day, weighted

POINTS = (15, 10, 5)
"""One for each of `day_tiers`; one applies."""

Days = Annotated[int, Field(ge=1, le=3650)]


class Settings(ModuleSettings):
    day_tiers: Annotated[tuple[Days, Days, Days], Listed, Falling] = (365, 180, 90)
    """Days since the first completed order from which they earn points."""


def signals(features: Features, settings: Settings, now: datetime) -> Iterable[Signal]:
    first = features.first_completed_at
    if first is None:
        return
    for days, points in zip(settings.day_tiers, POINTS, strict=True):
        if now >= first + timedelta(days=days):
            told = f"The first completed order was on {day(first)}, at least {days} days ago."
            yield Signal("account_age", points, told)
            return


def next_change(features: Features, settings: Settings, now: datetime) -> datetime | None:
    """When the next tier that earns anything is reached."""
    first = features.first_completed_at
    if first is None or not settings.enabled:
        return None
    tiers = zip(settings.day_tiers, POINTS, strict=True)
    reached = (first + timedelta(days=days) for days, points in tiers if weighted(points, settings.weight))
    return min((at for at in reached if at > now), default=None)
