"""The cooldown: which of the candidates fire, so that a rule leaves a customer alone for a while.

Decided between the events' recorded_at, never by the clock, so that a backtest decides as the live engine did.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from rule_engine.evaluate import Candidate, Skipped

Key = tuple[UUID, str]
"""(rule id, email_hash)"""


@dataclass(frozen=True, slots=True)
class Decided:
    fire: tuple[Candidate, ...]
    cooling: tuple[Skipped, ...]
    last: Mapping[Key, datetime]
    """When each key fired last, of those that fired now."""


def key_of(candidate: Candidate) -> Key | None:
    """What the candidate must have to itself; None: the rule has no cooldown."""
    return (candidate.rule.id, candidate.event.customer.email_hash) if candidate.rule.cooldown else None


def decide(candidates: Iterable[Candidate], last: Mapping[Key, datetime]) -> Decided:
    """In the order in which the events were recorded. `last`: when each key fired before this batch, if ever."""
    fire: list[Candidate] = []
    cooling: list[Skipped] = []
    now_last: dict[Key, datetime] = {}
    for candidate in sorted(candidates, key=_order):
        key, at = key_of(candidate), candidate.event.recorded_at
        before = (now_last.get(key) or last.get(key)) if key else None
        if before and (reason := still_cooling(before, at, candidate.rule.cooldown)):
            cooling.append(Skipped(candidate.rule, candidate.event, reason, candidate.values))
            continue
        fire.append(candidate)
        if key:
            now_last[key] = max(at, before) if before else at
    return Decided(tuple(fire), tuple(cooling), now_last)


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
