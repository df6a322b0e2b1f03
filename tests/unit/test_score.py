"""The table of points, row by row, and that the sum always adds up."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.features import Features
from scorer.modules import account_age, orders, returns
from scorer.score import Score, Scoring, score, segment
from scorer.signals import Signal

NOW = datetime(2026, 6, 5, tzinfo=UTC)


def points(signals: Iterable[Signal]) -> list[int]:
    return [signal.points for signal in signals]


@pytest.mark.parametrize(
    ("orders_", "refunded", "expected"),
    [
        (10, 6, [-40]),
        (1000, 599, [-25]),  # 59.9 %
        (10, 4, [-25]),
        (4, 1, [-10]),
        (1000, 249, []),  # 24.9 %
        (20, 1, [10]),  # 5 % with 5+ orders
        (5, 0, [10]),
        (4, 0, []),  # too few orders to praise
        (19, 1, []),  # 5.3 %
    ],
)
def test_the_return_rate_has_one_tier(orders_: int, refunded: int, expected: list[int]) -> None:
    assert points(returns.signals(Features(total_orders=orders_, refunded_orders=refunded))) == expected


@pytest.mark.parametrize(("refunds", "full", "expected"), [(3, 3, -10), (10, 9, -10), (10, 8, 0), (2, 2, 0), (3, 2, 0)])
def test_wardrobing_needs_three_refunds_nine_in_ten_of_them_full(refunds: int, full: int, expected: int) -> None:
    found = [s for s in returns.signals(Features(total_refunds=refunds, full_refunds=full)) if "whole" in s.reason]
    assert sum(points(found)) == expected


def test_ten_refunds_cost_five_points() -> None:
    assert points(returns.signals(Features(total_orders=100, total_refunds=10, refunded_orders=10))) == [-5]


@pytest.mark.parametrize(("clean", "expected"), [(10, [15]), (9, [10]), (5, [10]), (4, [5]), (3, [5]), (2, [])])
def test_clean_orders_earn_one_tier(clean: int, expected: list[int]) -> None:
    assert points(orders.signals(Features(total_orders=clean))) == expected


def test_a_net_value_of_a_thousand_earns_five_points() -> None:
    kept = Features(total_order_value=Decimal("1200.00"), total_refund_value=Decimal("200.00"))
    less = Features(total_order_value=Decimal("1200.00"), total_refund_value=Decimal("200.01"))
    assert (points(orders.signals(kept)), points(orders.signals(less))) == ([5], [])


@pytest.mark.parametrize(("placed", "cancelled", "expected"), [(4, 3, True), (5, 3, False), (2, 2, False)])
def test_cancelling_four_in_ten_costs_ten_points_from_the_third_on(placed: int, cancelled: int, expected: bool) -> None:
    found = orders.signals(Features(total_orders=placed, refunded_orders=placed, cancelled_orders=cancelled))
    assert points(found) == ([-10] if expected else [])


def test_five_orders_within_an_hour_cost_ten_points() -> None:
    assert points(orders.signals(Features(most_orders_in_an_hour=5))) == [-10]
    assert points(orders.signals(Features(most_orders_in_an_hour=4))) == []


@pytest.mark.parametrize(("days", "expected"), [(365, [15]), (364, [10]), (180, [10]), (90, [5]), (89, [])])
def test_account_age_earns_one_tier(days: int, expected: list[int]) -> None:
    assert points(account_age.signals(Features(first_completed_at=NOW - timedelta(days=days)), NOW)) == expected


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


def test_too_few_completed_orders_stay_at_fifty_and_say_so() -> None:
    little = Features(total_orders=9, completed_orders=1, refunded_orders=9, total_refunds=9)
    expected = (Signal("system", 0, "insufficient data (1/3 orders)"),)
    assert score(little, is_allowlisted=False, scoring=Scoring(), now=NOW) == Score(50, "normal", expected)


def test_the_allowlisted_have_a_hundred_points_and_no_signals() -> None:
    bad = Features(total_orders=9, completed_orders=9, refunded_orders=9)
    assert score(bad, is_allowlisted=True, scoring=Scoring(), now=NOW) == Score(100, "vip")


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(1, 3, "33.3"), (1, 16, "6.3"), (5, 12, "41.7"), (0, 0, "0.0")]
)
def test_rates_have_one_decimal_and_round_half_up(part: int, whole: int, expected: str) -> None:
    assert Features(refunded_orders=part, total_orders=whole).return_rate == Decimal(expected)


@st.composite
def features(draw: st.DrawFn) -> Features:
    total = draw(st.integers(0, 60))
    refunded = draw(st.integers(0, total))
    refunds = refunded + draw(st.integers(0, 5)) if refunded else 0
    value = draw(st.decimals(0, 5000, places=2))
    return Features(
        total_orders=total,
        completed_orders=draw(st.integers(0, total)),
        cancelled_orders=draw(st.integers(0, 20)),
        refunded_orders=refunded,
        total_refunds=refunds,
        full_refunds=draw(st.integers(0, refunds)),
        total_order_value=value,
        total_refund_value=draw(st.decimals(0, value, places=2)),
        most_orders_in_an_hour=draw(st.integers(0, total)),
        first_completed_at=draw(st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2026, 6, 5)).map(_utc)),  # noqa: DTZ001  # _utc adds it
    )


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)


@given(features())
def test_base_and_signals_always_add_up_to_the_score(some: Features) -> None:
    result = score(some, is_allowlisted=False, scoring=Scoring(), now=NOW)
    assert result.value == max(0, min(100, 50 + sum(points(result.signals))))
    assert result.segment == segment(result.value, Scoring())
    assert all(signal.reason for signal in result.signals)


@given(features())
def test_time_alone_never_lowers_a_score(some: Features) -> None:
    later = score(some, is_allowlisted=False, scoring=Scoring(), now=NOW + timedelta(days=100))
    assert later.value >= score(some, is_allowlisted=False, scoring=Scoring(), now=NOW).value
