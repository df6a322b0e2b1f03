"""Orders that go in and the webhooks that come out: whether as many come as go, and how long each takes. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

GROWTH = 0.01
"""What may be left undone of what is posted, for a rate to count as sustained: less is not told from noise in 20 s."""
NOISE_SECONDS = 0.1
"""How much more work may lie about in the last quarter than in the second, however short the time."""
LATE_SECONDS = 1.0
"""How much work may lie about in the end: more is a queue, even if it no longer grows."""
STEPS = 200
APART = 1.05
"""Rates nearer to each other than this are not told apart."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Of one rate, held for a while."""

    rate: float
    due: Mapping[int, float]
    """Order → when it was to be posted, in seconds by a clock."""
    done: Mapping[int, float]
    """Order → when its webhook had arrived; without those that did not."""

    @property
    def waits(self) -> list[float]:
        """Seconds."""
        return [self.done[order] - at for order, at in self.due.items() if order in self.done]

    @property
    def lost(self) -> int:
        return len(self.due.keys() - self.done.keys())

    @property
    def achieved(self) -> float:
        """Webhooks a second while orders came, without the first quarter."""
        began, ended = min(self.due.values()), max(self.due.values())
        since = began + (ended - began) / 4
        return sum(since < at <= ended for at in self.done.values()) / max(ended - since, 1e-9)

    def backlog(self, low: float, high: float) -> float:
        """Orders under way, on average, in a part of the time in which they came: 0 is its begin, 1 its end."""
        began, ended = min(self.due.values()), max(self.due.values())
        moments = [began + (ended - began) * (low + (high - low) * step / STEPS) for step in range(STEPS)]
        return sum(under_way(self.due.values(), self.done.values(), moments)) / STEPS

    @property
    def seconds(self) -> float:
        return max(self.due.values()) - min(self.due.values())

    @property
    def grown(self) -> float:
        """Orders by which the backlog grew, from the second quarter to the last: in half of the time."""
        return self.backlog(0.75, 1) - self.backlog(0.25, 0.5)

    @property
    def growth(self) -> float:
        """The same, for each second."""
        return self.grown / max(self.seconds / 2, 1e-9)

    @property
    def sustained(self) -> bool:
        return not self.lost and self.growth <= GROWTH * self.rate and self.backlog(0.75, 1) <= LATE_SECONDS * self.rate


def under_way(due: Iterable[float], done: Iterable[float], moments: Sequence[float]) -> list[int]:
    """How many were due and not done at each moment; the moments rise."""
    return [came - gone for came, gone in zip(_until(due, moments), _until(done, moments), strict=True)]


def _until(times: Iterable[float], moments: Sequence[float]) -> list[int]:
    ordered, counts, place = sorted(times), [], 0
    for moment in moments:
        while place < len(ordered) and ordered[place] <= moment:
            place += 1
        counts.append(place)
    return counts


def next_rate(held: Sequence[tuple[float, bool]], guess: float) -> float | None:
    """Which rate to try next, to find the highest that is sustained; None: it is found."""
    good = max((rate for rate, sustained in held if sustained), default=None)
    bad = min((rate for rate, sustained in held if not sustained and rate > (good or 0)), default=None)
    match good, bad:
        case None, None:
            return guess
        case float(), None:
            return good * 1.15
        case None, float():
            return bad * 0.8
        case float(), float():
            return None if bad / good < APART else (good + bad) / 2
    return None
