"""Signals → score and segment: a plain sum, clamped, so that an explanation always adds up."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from scorer.features import Features
from scorer.modules import (
    account_age,
    card_testing,
    categories,
    chargebacks,
    coupons,
    linked_accounts,
    orders,
    returns,
    shipping,
)
from scorer.modules.settings import ModuleSettings
from scorer.scoring import Modules, Scoring
from scorer.signals import Signal, weighted
from shared.events import SEGMENTS, Segment

BASE = 50
LOWEST, HIGHEST = 0, 100

_ORDER = {name: position for position, name in enumerate(("system", *Modules.model_fields))}


@dataclass(frozen=True, slots=True)
class Score:
    """`value` = clamp(BASE + Σ points), except for the allowlisted: 100, no signals."""

    value: int
    segment: Segment
    signals: tuple[Signal, ...] = ()
    """By module, in the order of Modules."""
    own: int = BASE
    """The value without what comes from linked customers: theirs may be judged by it, and nothing goes round."""


def score(features: Features, *, is_allowlisted: bool, scoring: Scoring, now: datetime) -> Score:
    """The one score that these facts give at `now`."""
    if is_allowlisted:
        return Score(HIGHEST, "vip", (), HIGHEST)
    gated = is_gated(features, scoring)
    own = [*(_gated(features, scoring, now) if gated else _own(features, scoring.modules, now))]
    linked = [] if gated else [*_linked(features, scoring)]
    value = _clamped(own + linked)
    signals = sorted(own + linked, key=lambda signal: _ORDER[signal.module])
    return Score(value, segment(value, scoring), tuple(signals), _clamped(own))


def is_gated(features: Features, scoring: Scoring) -> bool:
    """Too little is known: only what must not hide behind that counts."""
    return features.completed_orders < scoring.min_orders


def segment(value: int, scoring: Scoring) -> Segment:
    lowest = scoring.segments
    return next((name for name in SEGMENTS[:-1] if value >= getattr(lowest, name)), SEGMENTS[-1])


def points_by_module(score: Score) -> dict[str, int]:
    """What adds up to the value before it is clamped. The allowlisted have the base alone."""
    points = Counter({"base": BASE})
    for signal in score.signals:
        points[signal.module] += signal.points
    return {name: number for name, number in points.items() if number}


def _gated(features: Features, scoring: Scoring, now: datetime) -> Iterable[Signal]:
    yield Signal("system", 0, f"insufficient data ({features.completed_orders}/{scoring.min_orders} orders)")
    of = scoring.modules
    yield from _weighted(of.chargebacks, chargebacks.signals(features, of.chargebacks, inquiries=False))
    yield from _weighted(of.card_testing, card_testing.signals(features, of.card_testing, now))


def _own(features: Features, of: Modules, now: datetime) -> Iterable[Signal]:
    yield from _weighted(of.returns, returns.signals(features, of.returns))
    yield from _weighted(of.orders, orders.signals(features, of.orders))
    yield from _weighted(of.coupons, coupons.signals(features, of.coupons))
    yield from _weighted(of.categories, categories.signals(features, of.categories))
    yield from _weighted(of.shipping_anomalies, shipping.signals(features, of.shipping_anomalies))
    yield from _weighted(of.chargebacks, chargebacks.signals(features, of.chargebacks))
    yield from _weighted(of.card_testing, card_testing.signals(features, of.card_testing, now))
    yield from _weighted(of.account_age, account_age.signals(features, of.account_age, now))


def _linked(features: Features, scoring: Scoring) -> Iterable[Signal]:
    of = scoring.modules
    yield from _weighted(of.coupons, coupons.linked_signals(features, of.coupons))
    links = linked_accounts.signals(features, of.linked_accounts, scoring.segments.risk)
    yield from _weighted(of.linked_accounts, links)


def _weighted(settings: ModuleSettings, signals: Iterable[Signal]) -> Iterable[Signal]:
    """What weighs so little that nothing is left is no signal; notes, which had no points before, stay."""
    if not settings.enabled:
        return
    for signal in signals:
        points = weighted(signal.points, settings.weight)
        if points == signal.points:
            yield signal
        elif points:
            yield replace(signal, points=points)


def _clamped(signals: Iterable[Signal]) -> int:
    return max(LOWEST, min(HIGHEST, BASE + sum(signal.points for signal in signals)))
