"""How long a score stands: never past the next change, and no shorter than it must be."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scorer.features import Features
from scorer.horizon import next_change
from scorer.score import Score, score
from scorer.scoring import Scoring
from support.features import NOW, ago, features, scorings, times

TICK = timedelta(microseconds=1)
OPEN = Features(completed_orders=3)


def scored(some: Features, scoring: Scoring, at: datetime) -> Score:
    return score(some, is_allowlisted=False, scoring=scoring, now=at)


def horizon(some: Features, scoring: Scoring | None = None, at: datetime = NOW) -> datetime | None:
    return next_change(some, scoring or Scoring(), is_allowlisted=False, now=at)


def modules(**settings: Any) -> Scoring:
    return Scoring.model_validate({"modules": settings})


BURST = replace(OPEN, most_orders_in_an_hour=5, last_burst_at=ago(80))
SHIPPED = replace(OPEN, recent_addresses=3, oldest_recent_at=ago(29))


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (OPEN, None),
        (replace(OPEN, first_completed_at=ago(10)), ago(-80)),
        (replace(OPEN, first_completed_at=ago(90)), ago(-90)),
        (replace(OPEN, first_completed_at=ago(200)), ago(-165)),
        (replace(OPEN, first_completed_at=ago(365)), None),
        (Features(first_completed_at=ago(10)), None),  # behind the gate
        (BURST, ago(-10)),
        (replace(BURST, completed_orders=2), None),
        (SHIPPED, ago(-1)),
        (replace(SHIPPED, recent_addresses=2), None),
        (replace(SHIPPED, recent_addresses=2, abroad_ids=(1,)), ago(-1)),
        (replace(SHIPPED, recent_addresses=2, new_address_ids=(3, 2)), None),
        (replace(SHIPPED, recent_addresses=2, new_address_ids=(3, 2, 1)), ago(-1)),
        (Features(last_lockout_at=ago(0.5)), ago(-0.5)),
        (Features(last_lockout_at=NOW), ago(-1)),
        (Features(last_lockout_at=ago(29)), ago(-1)),
        (Features(last_lockout_at=ago(30)), None),
        (Features(last_decline_burst_at=ago(1), declines_in_burst=3), ago(-2)),  # the second day is -14 too
        (Features(last_lockout_at=ago(0.5), last_decline_burst_at=ago(1.75), declines_in_burst=3), ago(-0.5)),
        (Features(next_order_at=ago(-5)), ago(-5)),
        (replace(BURST, next_order_at=ago(-5)), ago(-5)),
        (Features(last_freeze_at=ago(1)), None),
    ],
)
def test_a_score_stands_until_the_earliest_change(some: Features, expected: datetime | None) -> None:
    assert horizon(some) == expected


def test_the_score_of_the_allowlisted_stands_for_ever() -> None:
    some = replace(BURST, next_order_at=ago(-5), last_lockout_at=NOW)
    assert next_change(some, Scoring(), is_allowlisted=True, now=NOW) is None


@pytest.mark.parametrize("off", [{"enabled": False}, {"weight": 0}])
@pytest.mark.parametrize(
    ("module", "some"),
    [
        ("account_age", replace(OPEN, first_completed_at=ago(10))),
        ("orders", BURST),
        ("shipping_anomalies", SHIPPED),
        ("card_testing", Features(last_lockout_at=ago(3))),
    ],
)
def test_a_module_that_earns_nothing_changes_nothing(module: str, some: Features, off: dict[str, Any]) -> None:
    assert horizon(some) is not None
    assert horizon(some, modules(**{module: off})) is None


def test_steps_that_rounding_hides_are_passed_over() -> None:
    half = modules(card_testing={"weight": 0.5})
    assert horizon(Features(last_lockout_at=ago(1.5)), half) == ago(-1.5)  # -29 and -28 are both -14
    tenth = modules(account_age={"weight": 0.1})
    assert horizon(replace(OPEN, first_completed_at=ago(10)), tenth) == ago(-170)  # 5 are 0


@given(features(), scorings(), st.timedeltas(TICK, timedelta(days=3650)))
@example(Features(last_lockout_at=ago(3)), Scoring(), timedelta(days=1))
def test_nothing_changes_before_the_horizon(some: Features, scoring: Scoring, later: timedelta) -> None:
    until = horizon(some, scoring)
    latest = NOW + later if until is None else min(NOW + later, until - TICK)
    assert until is None or until > NOW
    assert scored(some, scoring, latest) == scored(some, scoring, NOW)
    if until:
        assert scored(some, scoring, until - TICK) == scored(some, scoring, NOW)


@st.composite
def moved_by_time_alone(draw: st.DrawFn) -> Features:
    declines = draw(st.none() | times(40))
    return Features(
        completed_orders=draw(st.integers(2, 3)),
        first_completed_at=draw(st.none() | times(400)),
        last_lockout_at=draw(st.none() | times(40)),
        last_decline_burst_at=declines,
        declines_in_burst=3 if declines else 0,
    )


@given(moved_by_time_alone(), scorings())
def test_age_and_card_testing_change_exactly_at_each_horizon_until_none_is_left(
    some: Features, scoring: Scoring
) -> None:
    at = NOW
    for _ in range(60):
        until = horizon(some, scoring, at)
        if until is None:
            assert scored(some, scoring, at + timedelta(days=3650)) == scored(some, scoring, at)
            return
        assert scored(some, scoring, until - TICK) == scored(some, scoring, at)
        assert scored(some, scoring, until).signals != scored(some, scoring, at).signals
        at = until
    raise AssertionError("more changes than there are points")
