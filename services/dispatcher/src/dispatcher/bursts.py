"""Burst dedup: a settings webhook that would only repeat the last one, within seconds, is not sent.

Only a body that equals, apart from its timestamp, the last one recorded for the same endpoint and customer is left
out. So whatever the sequence of events, the last body a receiver got is the customer's last state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

Key = tuple[UUID, str]
"""(endpoint id, email_hash)"""


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery as far as dedup looks at it; as a row, the last one recorded for its key."""

    delivery_id: UUID
    digest: bytes
    """Of the body without its timestamp."""
    sequence: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Decided:
    duplicates: frozenset[UUID]
    """Delivery ids that are not sent."""
    last: Mapping[Key, Sent]
    """Rows to save."""
    belied: Mapping[UUID, Sent] = field(default_factory=dict)
    """By the id of one that came late with another body: what may have been left out as a repeat and is none now."""


def decide(last: Mapping[Key, Sent], given: Sequence[tuple[Key, Sent]], *, window: timedelta) -> Decided:
    """Which of these repeat the one before them, in the order of `sequence`.

    One that is older than the last one recorded came late: it is sent, and leaves the last one as it is. But if the
    last one was left out because it repeated one from before the late one, it is to be sent after all. A delivery is
    never its own duplicate, however often its event comes.
    """
    current = dict(last)
    changed: dict[Key, Sent] = {}
    duplicates: set[UUID] = set()
    belied: dict[UUID, Sent] = {}
    for key, sent in sorted(given, key=lambda pair: pair[1].sequence):
        before = current.get(key)
        if before and (before.delivery_id == sent.delivery_id or sent.sequence <= before.sequence):
            if sent.digest != before.digest:
                belied[sent.delivery_id] = before
            continue
        if before and _repeats(before, sent, window):
            duplicates.add(sent.delivery_id)
        current[key] = changed[key] = sent
    return Decided(frozenset(duplicates), changed, belied)


def _repeats(before: Sent, sent: Sent, window: timedelta) -> bool:
    return before.digest == sent.digest and sent.recorded_at - before.recorded_at < window
