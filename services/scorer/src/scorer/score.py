"""Signals → score and segment: a plain sum, clamped, so that an explanation always adds up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from scorer.features import Features
from scorer.modules import account_age, orders, returns
from scorer.signals import Signal
from shared.events import Segment

BASE = 50
LOWEST, HIGHEST = 0, 100

DEFAULT_SEGMENTS: Mapping[Segment, int] = MappingProxyType(
    {"vip": 90, "trusted": 70, "normal": 50, "caution": 40, "risk": 20, "critical": 0}
)
"""The lowest score of each segment, highest first: 34 is risk, and 50 is normal."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How a store scores."""

    min_orders: int = 3
    """Completed orders below which a customer stays at the base: too little is known."""
    segments: Mapping[Segment, int] = field(default_factory=lambda: DEFAULT_SEGMENTS)


@dataclass(frozen=True, slots=True)
class Score:
    """`value` = clamp(BASE + Σ points), except for the allowlisted: 100, no signals."""

    value: int
    segment: Segment
    signals: tuple[Signal, ...] = ()


def score(features: Features, *, is_allowlisted: bool, scoring: Scoring, now: datetime) -> Score:
    """The one score that these facts give at `now`."""
    if is_allowlisted:
        return Score(HIGHEST, "vip")
    signals = tuple(_signals(features, scoring, now))
    value = max(LOWEST, min(HIGHEST, BASE + sum(signal.points for signal in signals)))
    return Score(value, segment(value, scoring), signals)


def segment(value: int, scoring: Scoring) -> Segment:
    return next(name for name, lowest in scoring.segments.items() if value >= lowest)


def _signals(features: Features, scoring: Scoring, now: datetime) -> Iterable[Signal]:
    if features.completed_orders < scoring.min_orders:
        yield Signal("system", 0, f"insufficient data ({features.completed_orders}/{scoring.min_orders} orders)")
        return
    yield from returns.signals(features)
    yield from orders.signals(features)
    yield from account_age.signals(features, now)
