"""Signals → score: the gate, the segments, the weights, and that the sum always adds up."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.features import CategoryOrders, CouponOrder, Features, Linked
from scorer.score import Score, points_by_module, score, segment
from scorer.scoring import Scoring
from scorer.signals import Signal, capped, weighted
from shared.events import DisputeStatus
from support.features import MODULES, NOW, ago, coupon_order, dispute, features, scorings

WHOLE_WEIGHTS = st.integers(0, 15).map(lambda fifths: fifths / 5)
"""All points of the tables are multiples of five: with these, nothing is rounded."""


def scored(some: Features, scoring: Scoring | None = None, *, is_allowlisted: bool = False) -> Score:
    return score(some, is_allowlisted=is_allowlisted, scoring=scoring or Scoring(), now=NOW)


def modules(**settings: Any) -> Scoring:
    return Scoring.model_validate({"modules": settings})


def told(signals: Iterable[Signal]) -> list[tuple[str, int]]:
    return [(signal.module, signal.points) for signal in signals]


EVERYTHING = Features(
    total_orders=10,
    completed_orders=10,
    cancelled_orders=10,
    refunded_orders=7,
    total_refunds=10,
    full_refunds=10,
    total_order_value=Decimal(3000),
    foreign_orders=2,
    first_completed_at=ago(400),
    coupon_orders=tuple(coupon_order(n, "welcome", refunded=True) for n in range(3)),
    categories=(CategoryOrders("shoes", "Shoes", 4, 3),),
    linked=(Linked("a" * 64, ("phone",), is_blocked=True),),
    linked_accounts=1,
    linked_coupon_at=ago(300),
    recent_addresses=5,
    oldest_recent_at=ago(10),
    disputes=(dispute("lost"),),
    last_lockout_at=NOW,
)


@pytest.mark.parametrize(
    ("expected", "lowest", "highest"),
    [
        ("vip", 90, 100),
        ("trusted", 70, 89),
        ("normal", 50, 69),
        ("caution", 40, 49),
        ("risk", 20, 39),
        ("critical", 0, 19),
    ],
)
def test_segments_begin_and_end_where_the_table_says(expected: str, lowest: int, highest: int) -> None:
    assert {segment(value, Scoring()) for value in range(lowest, highest + 1)} == {expected}


def test_a_store_moves_its_segments() -> None:
    strict = Scoring.model_validate({"segments": {"normal": 60}})
    assert (segment(59, strict), segment(60, strict)) == ("caution", "normal")


def test_too_few_completed_orders_stay_at_fifty_and_say_so() -> None:
    little = replace(EVERYTHING, completed_orders=1, disputes=(), last_lockout_at=None)
    assert scored(little) == Score(50, "normal", (Signal("system", 0, "insufficient data (1/3 orders)"),), 50)


def test_chargebacks_and_card_testing_do_not_hide_behind_too_few_orders() -> None:
    little = replace(EVERYTHING, completed_orders=1, disputes=(dispute("open"), dispute("warning")))
    result = scored(little)
    assert told(result.signals) == [("system", 0), ("chargebacks", -20), ("card_testing", -30)]
    assert (result.value, result.own) == (0, 0)


def test_the_gate_opens_with_as_many_completed_orders_as_the_store_says() -> None:
    one = Scoring(min_orders=1)
    assert scored(replace(EVERYTHING, completed_orders=1), one) == scored(EVERYTHING)


def test_the_allowlisted_have_a_hundred_points_and_no_signals() -> None:
    assert scored(EVERYTHING, is_allowlisted=True) == Score(100, "vip", (), 100)


def test_an_explanation_goes_module_by_module_and_ends_with_the_account_age() -> None:
    found = [signal.module for signal in scored(EVERYTHING).signals]
    assert found == sorted(found, key=MODULES.index)
    assert set(found) == set(MODULES)


def test_the_own_score_leaves_out_what_comes_from_links() -> None:
    alone = Features(total_orders=3, completed_orders=3, refunded_orders=1)
    tied = replace(
        alone,
        linked=(Linked("a" * 64, ("phone",)),),
        linked_accounts=1,
        coupon_orders=(CouponOrder(1, NOW, ("welcome",)),),
        linked_coupon_at=ago(1),
    )
    assert (scored(alone).value, scored(alone).own) == (40, 40)
    assert (scored(tied).value, scored(tied).own) == (25, 40)


def test_a_neighbour_is_critical_by_the_segments_of_the_store() -> None:
    tied = Features(completed_orders=3, linked=(Linked("a" * 64, ("phone",), own_score=25),), linked_accounts=1)
    strict = Scoring.model_validate({"segments": {"risk": 30}})
    assert (scored(tied).value, scored(tied, strict).value) == (45, 35)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_is_switched_off_says_nothing(module: str) -> None:
    rest = scored(EVERYTHING, modules(**{module: {"enabled": False}})).signals
    assert list(rest) == [signal for signal in scored(EVERYTHING).signals if signal.module != module]


@pytest.mark.parametrize(
    ("points", "weight", "expected"),
    [(-25, 1.0, -25), (-25, 0.5, -12), (15, 0.5, 7), (-20, 1.15, -23), (-5, 0.1, 0), (-40, 3.0, -120), (15, 0.0, 0)],
)
def test_points_are_weighed_and_rounded_toward_zero(points: int, weight: float, expected: int) -> None:
    assert weighted(points, weight) == expected


def test_what_weighs_nothing_is_left_out_but_notes_stay() -> None:
    light = scored(EVERYTHING, modules(orders={"weight": 0})).signals
    assert [signal.points for signal in light if signal.module == "orders"] == [0]


def test_a_floor_cuts_the_signal_that_passes_it_and_says_so() -> None:
    all_of_them = [Signal("chargebacks", points, "Reason.") for points in (-40, -40, -5)]
    assert list(capped(all_of_them, -60, "disputes", 1)) == [
        all_of_them[0],
        Signal("chargebacks", -20, "Reason. All disputes together cost at most 60 points."),
    ]
    assert told(capped(all_of_them, -80, "disputes", 1)) == [("chargebacks", -40)] * 2
    assert list(capped(all_of_them, -85, "disputes", 1)) == all_of_them


@pytest.mark.parametrize(("weight", "points"), [(2, 120), (0.5, 30)])
def test_a_floor_is_told_with_the_weight_of_its_module(weight: float, points: int) -> None:
    disputed = Features(disputes=(dispute("lost"), dispute("open"), dispute("open")))
    last = scored(disputed, modules(chargebacks={"weight": weight})).signals[-1]
    assert last.reason == f"2 chargebacks are open. All disputes together cost at most {points} points."


def test_the_history_keeps_the_points_by_module() -> None:
    some = Features(total_orders=8, completed_orders=8, refunded_orders=3, foreign_orders=1, first_completed_at=ago(90))
    result = scored(some)
    assert points_by_module(result) == {"base": 50, "returns": -10, "orders": 10, "account_age": 5}
    assert points_by_module(scored(Features())) == {"base": 50}


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(1, 3, "33.3"), (1, 16, "6.3"), (5, 12, "41.7"), (0, 0, "0.0")]
)
def test_rates_have_one_decimal_and_round_half_up(part: int, whole: int, expected: str) -> None:
    assert Features(refunded_orders=part, total_orders=whole).return_rate == Decimal(expected)


@given(features(), scorings())
def test_base_and_signals_always_add_up_to_the_score(some: Features, scoring: Scoring) -> None:
    result = scored(some, scoring)
    assert result.value == max(0, min(100, 50 + sum(signal.points for signal in result.signals)))
    assert result.value == max(0, min(100, sum(points_by_module(result).values())))
    assert result.segment == segment(result.value, scoring)
    assert result.own >= result.value


@given(features(), scorings())
def test_every_reason_is_a_sentence_and_every_evidence_is_short(some: Features, scoring: Scoring) -> None:
    for signal in scored(some, scoring).signals:
        assert signal.module == "system" or (signal.reason[0].isupper() or signal.reason[0].isdigit())
        assert signal.module == "system" or signal.reason.endswith(".")
        assert len(signal.evidence) <= 20


@st.composite
def with_one_more_full_refund(draw: st.DrawFn) -> tuple[Features, Features]:
    """Of an order without a refund, or of one that has some already."""
    before = draw(features().filter(lambda some: some.total_orders))
    clean = before.clean_orders > 0 and (before.refunded_orders == 0 or draw(st.booleans()))
    left = before.total_order_value - before.total_refund_value
    after = replace(
        before,
        refunded_orders=before.refunded_orders + clean,
        total_refunds=before.total_refunds + 1,
        full_refunds=before.full_refunds + 1,
        total_refund_value=before.total_refund_value + draw(st.decimals(0, left, places=2)),
        coupon_orders=tuple(replace(o, refunded=o.refunded or draw(st.booleans())) for o in before.coupon_orders),
        categories=tuple(
            replace(c, refunded=min(c.orders, c.refunded + draw(st.integers(0, 1)))) for c in before.categories
        ),
    )
    return before, after


@given(with_one_more_full_refund(), scorings(WHOLE_WEIGHTS))
def test_one_more_full_refund_never_raises_the_score(change: tuple[Features, Features], scoring: Scoring) -> None:
    before, after = (scored(some, scoring) for some in change)
    assert after.value <= before.value
    assert after.own <= before.own


@given(features(), scorings(WHOLE_WEIGHTS), st.data())
def test_a_dispute_that_is_won_never_lowers_the_score(some: Features, scoring: Scoring, data: st.DataObject) -> None:
    disputes = [*some.disputes, dispute(data.draw(st.sampled_from(get_args(DisputeStatus))), "dp_new")]
    which = data.draw(st.integers(0, len(disputes) - 1))
    before = replace(some, disputes=tuple(disputes))
    disputes[which] = replace(disputes[which], status="won")
    assert scored(replace(some, disputes=tuple(disputes)), scoring).value >= scored(before, scoring).value


@given(features(), scorings(WHOLE_WEIGHTS), st.sampled_from(["lost", "open", "under_review", "warning"]))
def test_one_more_dispute_never_raises_the_score(some: Features, scoring: Scoring, status: DisputeStatus) -> None:
    more = replace(some, disputes=(*some.disputes, dispute(status, "dp_new")))
    assert scored(more, scoring).value <= scored(some, scoring).value


@given(features(), scorings())
def test_time_alone_never_lowers_a_score(some: Features, scoring: Scoring) -> None:
    later = score(some, is_allowlisted=False, scoring=scoring, now=NOW + timedelta(days=100))
    assert later.value >= scored(some, scoring).value
