"""Cooldown and fuse: which of the candidates fire, so that a rule leaves a customer alone for a while, and cannot run
away.

Decided between the events' recorded_at, never by the clock, so that a backtest decides as the live engine did.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from rule_engine.evaluate import Candidate, Skipped

Key = tuple[UUID, str]
"""(rule id, email_hash)"""
Hour = tuple[UUID, datetime]
"""(rule id, the calendar hour in UTC in which the event was recorded)"""


@dataclass(frozen=True, slots=True)
class Decided:
    fire: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]
    last: Mapping[Key, datetime]
    """When each key fired last, of those that fired now."""
    fired: Mapping[Hour, int]
    """How often each rule fired in each hour by now, of those that fired now."""


def key_of(candidate: Candidate) -> Key | None:
    """What the candidate must have to itself; None: the rule has no cooldown."""
    return (candidate.rule.id, candidate.event.customer.email_hash) if candidate.rule.cooldown else None


def hour_of(candidate: Candidate) -> Hour:
    """Where the candidate's firing would count."""
    at = candidate.event.recorded_at.astimezone(UTC)
    return candidate.rule.id, at.replace(minute=0, second=0, microsecond=0)


def hours_reached(candidates: Iterable[Candidate], last: Mapping[Key, datetime]) -> set[Hour]:
    """The hours that `decide` may look at: of the candidates that what fired before does not hold back."""
    return {hour_of(candidate) for candidate in candidates if not _cooling(candidate, _before(candidate, last))}


def decide(candidates: Iterable[Candidate], last: Mapping[Key, datetime], fired: Mapping[Hour, int]) -> Decided:
    """In the order in which the events were recorded.

    `last`: when each key fired before this batch, if ever; `fired`: how often each rule did in each hour.
    """
    fire: list[Candidate] = []
    skipped: list[Skipped] = []
    now_last: dict[Key, datetime] = {}
    now_fired: dict[Hour, int] = {}
    for candidate in sorted(candidates, key=_order):
        key, hour, at = key_of(candidate), hour_of(candidate), candidate.event.recorded_at
        before = _before(candidate, now_last) or _before(candidate, last)
        count = now_fired.get(hour) or fired.get(hour, 0)
        if held := _cooling(candidate, before) or _limited(candidate, count):
            skipped.append(held)
            continue
        fire.append(candidate)
        now_fired[hour] = count + 1
        if key:
            now_last[key] = max(at, before) if before else at
    return Decided(tuple(fire), tuple(skipped), now_last, now_fired)


def _before(candidate: Candidate, last: Mapping[Key, datetime]) -> datetime | None:
    key = key_of(candidate)
    return last.get(key) if key else None


def _cooling(candidate: Candidate, before: datetime | None) -> Skipped | None:
    reason = before and still_cooling(before, candidate.event.recorded_at, candidate.rule.cooldown)
    return candidate.skipped("cooldown", reason) if reason else None


def _limited(candidate: Candidate, count: int) -> Skipped | None:
    limit = candidate.rule.hourly_limit
    if count < limit:
        return None
    _, since = hour_of(candidate)
    return candidate.skipped("hourly_limit", f"hourly limit: {limit} firings since {since:%H:%M}")


def still_cooling(fired_at: datetime, at: datetime, cooldown: timedelta) -> str | None:
    """Why a rule that fired at one time does not fire at another, or None.

    Events may come out of order, so the other time may be the earlier one: the distance counts. An event that is
    late by more than the cooldown fires, as it would have in its turn.
    """
    if abs(at - fired_at) >= cooldown:
        return None
    if at < fired_at:
        return f"cooldown: fired {words(fired_at - at)} later for a newer event"
    return f"cooldown: {words(fired_at + cooldown - at)} left"


def words(span: timedelta) -> str:
    """Rounded up to the unit that says enough: 45 s, 12 min, 3 h, 2 d."""
    seconds = math.ceil(span.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds > size:
            return f"{-(-seconds // size)} {unit}"
    return f"{seconds} s"


def _order(candidate: Candidate) -> tuple[datetime, int, UUID]:
    event = candidate.event
    return event.recorded_at, event.sequence, event.id
