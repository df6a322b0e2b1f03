"""Card testing: trying stolen cards at the checkout. What it costs fades over 30 days.

All points are our choice: a device that was locked out had many refusals, three declines may be one forgetful person.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from scorer.features import Features
from scorer.modules.settings import ModuleSettings
from scorer.signals import Signal, counted, day, weighted

LOCKOUT_POINTS = -30
DECLINES, DECLINES_POINTS = 3, -15
"""Declines within 10 minutes: the features know no other numbers."""
FADED = timedelta(days=30)
"""Points fall in a straight line to 0, a thirtieth with each whole day, rounded toward zero: the first day has all."""


class Settings(ModuleSettings):
    pass


def signals(features: Features, settings: Settings, now: datetime) -> Iterable[Signal]:
    del settings  # it has no thresholds
    for at, points, told in _signs(features):
        if left := faded(points, now - at):
            yield Signal("card_testing", left, told)


def next_change(features: Features, settings: Settings, now: datetime) -> datetime | None:
    """The first moment after `now` at which these points differ from what they are."""
    if not settings.enabled:
        return None
    steps = (_next_step(at, points, settings.weight, now) for at, points, _ in _signs(features))
    return min((step for step in steps if step), default=None)


def faded(points: int, age: timedelta) -> int:
    """What is left of negative points. A time ahead of the clock, as another machine's may be, has all of them."""
    left = max(FADED.days - max(age.days, 0), 0)
    return -(-points * left // FADED.days)


def _next_step(at: datetime, points: int, weight: float, now: datetime) -> datetime | None:
    """Weights below 1 pass over days that rounding hides."""
    shown = weighted(faded(points, now - at), weight)
    days = range(max((now - at).days, 0) + 1, FADED.days + 1)
    changed = (day for day in days if weighted(faded(points, timedelta(days=day)), weight) != shown)
    first = next(changed, None)
    return None if first is None else at + timedelta(days=first)


def _signs(features: Features) -> Iterable[tuple[datetime, int, str]]:
    if at := features.last_lockout_at:
        yield at, LOCKOUT_POINTS, f"The device was locked out of the checkout on {day(at)}."
    if (at := features.last_decline_burst_at) and features.declines_in_burst >= DECLINES:
        payments = counted(features.declines_in_burst, "payment")
        yield at, DECLINES_POINTS, f"{payments} were declined within 10 minutes on {day(at)}."
