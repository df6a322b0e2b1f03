from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.limits import Bucket, Limits, Verdict, take

RATES = st.floats(min_value=0.01, max_value=1000)
GAPS = st.lists(st.floats(min_value=0, max_value=5), max_size=200)
ROUNDING = 1e-6


def asked(rate: float, gaps: list[float]) -> list[tuple[float, Verdict]]:
    """One request after each gap, with its time."""
    bucket: Bucket | None = None
    now, told = 1000.0, []
    for gap in gaps:
        now += gap
        bucket, verdict = take(bucket, now, rate)
        told.append((now, verdict))
    return told


@given(RATES, GAPS)
def test_in_no_span_of_time_are_more_allowed_than_the_burst_and_what_the_rate_gives(
    rate: float, gaps: list[float]
) -> None:
    allowed = [at for at, verdict in asked(rate, gaps) if verdict.allowed]
    for first, since in enumerate(allowed):
        for count, at in enumerate(allowed[first:], start=1):
            assert count <= max(rate, 1) + (at - since) * rate + ROUNDING


@given(RATES, GAPS)
def test_who_keeps_to_the_rate_is_never_refused(rate: float, gaps: list[float]) -> None:
    told = asked(rate, [gap + 1 / rate for gap in gaps])
    assert all(verdict.allowed for _, verdict in told)


@given(RATES, GAPS)
def test_who_waits_as_long_as_is_said_is_let_through_and_who_waits_for_the_reset_has_all_again(
    rate: float, gaps: list[float]
) -> None:
    bucket: Bucket | None = None
    now = 1000.0
    for gap in gaps:
        now += gap
        bucket, verdict = take(bucket, now, rate)
        assert verdict.allowed == (verdict.retry_after == 0)
        assert take(bucket, now + verdict.reset, rate)[1].remaining == verdict.limit - 1
        if not verdict.allowed:
            assert take(bucket, now + verdict.retry_after, rate)[1].allowed


@given(RATES, GAPS)
def test_as_many_more_are_allowed_at_once_as_it_says_remain(rate: float, gaps: list[float]) -> None:
    now = 1000.0
    bucket, verdict = take(None, now, rate)
    for gap in gaps:
        now += gap
        bucket, verdict = take(bucket, now, rate)
    for _ in range(verdict.remaining):
        bucket, more = take(bucket, now, rate)
        assert more.allowed
    assert not take(bucket, now, rate)[1].allowed


def test_the_first_requests_of_a_key_are_a_burst_of_one_second() -> None:
    told = asked(3, [0.0] * 5)
    assert [verdict.allowed for _, verdict in told] == [True, True, True, False, False]
    assert [verdict.remaining for _, verdict in told] == [2, 1, 0, 0, 0]
    assert told[-1][1].headers == {"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}
    assert told[-1][1].retry_after == 1


@pytest.mark.parametrize(("rate", "limit", "wait"), [(0.1, 1, 10), (0.5, 1, 2), (2.5, 2, 1), (100, 100, 1)])
def test_a_refused_one_is_told_whole_seconds(rate: float, limit: int, wait: int) -> None:
    _, verdict = asked(rate, [0.0] * (limit + 1))[-1]
    assert (verdict.allowed, verdict.limit, verdict.retry_after) == (False, limit, wait)


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    bucket, _ = take(None, 100.0, 1)
    bucket, verdict = take(bucket, 50.0, 1)
    assert not verdict.allowed
    assert not take(bucket, 100.5, 1)[1].allowed
    assert take(bucket, 101.0, 1)[1].allowed


def test_each_key_has_a_bucket_of_its_own() -> None:
    limits = Limits(1)
    one, other = UUID(int=1), UUID(int=2)
    told = [limits.take(key, 0.0).allowed for key in (one, one, other, other)]
    assert told == [True, False, True, False]
