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
"""Points fall in a straight line to 0, rounded toward zero."""

_TICK = timedelta(microseconds=1)
"""What times are counted in, here and in Postgres."""


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
    left = FADED - max(age, timedelta(0))
    return -(-points * max(left, timedelta(0)) // FADED)


def _next_step(at: datetime, points: int, weight: float, now: datetime) -> datetime | None:
    """Weights below 1 pass over steps that rounding hides."""
    left = faded(points, now - at)
    shown = weighted(left, weight)
    changed = (step for step in range(left + 1, 1) if weighted(step, weight) != shown)
    step = next(changed, None)
    return None if step is None else at + _reached(step, points)


def _reached(step: int, points: int) -> timedelta:
    """The first age at which `points` have faded to `step`: just after the line passed the whole number below it."""
    return FADED + (step - 1) * FADED // -points + _TICK


def _signs(features: Features) -> Iterable[tuple[datetime, int, str]]:
    if at := features.last_lockout_at:
        yield at, LOCKOUT_POINTS, f"The device was locked out of the checkout on {day(at)}."
    if (at := features.last_decline_burst_at) and features.declines_in_burst >= DECLINES:
        payments = counted(features.declines_in_burst, "payment")
        yield at, DECLINES_POINTS, f"{payments} were declined within 10 minutes on {day(at)}."
