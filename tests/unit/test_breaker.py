"""When an endpoint counts as down, when it is probed, and how long it is left alone."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import breaker as breakers
from dispatcher.breaker import HEALTHY, Breaker
from dispatcher.classify import Answer

NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
FAILED = Answer(1, status_code=500)
OK = Answer(1, status_code=200)
A, B = uuid4(), uuid4()
MINUTE = timedelta(minutes=1)


def after(breaker: Breaker, *failing: UUID, answer: Answer = FAILED, now: datetime = NOW) -> Breaker:
    for delivery_id in failing:
        breaker = breakers.after(breaker, delivery_id, answer, now=now)
    return breaker


def opened() -> Breaker:
    return after(HEALTHY, A, B, A, B, A)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(1, status_code=500),
        Answer(1, status_code=503),
        Answer(1, status_code=599),
        *(Answer(1, phase=phase) for phase in ("dns", "connect", "tls", "write", "first_byte")),
        Answer(1, status_code=200, phase="body"),
    ],
)
def test_it_opens_at_the_fifth_failure_in_a_row(answer: Answer) -> None:
    four = after(HEALTHY, A, B, A, B, answer=answer)
    assert not four.is_open
    five = after(four, A, answer=answer)
    assert (five.opened_at, five.probe_at, five.probes) == (NOW, NOW + MINUTE, 0)


def test_one_delivery_alone_never_opens_it() -> None:
    assert not after(HEALTHY, *[A] * 50).is_open
    assert after(HEALTHY, *[A] * 50, B).is_open


@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 401, 404, 410, 418, 429])
def test_any_answer_that_is_no_outage_closes_it_and_ends_the_row(status: int) -> None:
    answer = Answer(1, status_code=status)
    assert not after(opened(), A, answer=answer).is_open
    assert after(after(HEALTHY, A, B, A, B), A, answer=answer).failures == 0


def test_what_was_in_flight_when_it_opened_moves_no_probe() -> None:
    later = after(opened(), A, B, uuid4(), now=NOW + timedelta(seconds=9))
    assert (later.probes, later.probe_at) == (0, NOW + MINUTE)


def test_probes_come_after_1_2_4_8_15_and_then_every_15_minutes() -> None:
    breaker, waits = opened(), []
    for _ in range(7):
        assert breaker.probe_at is not None
        now = breaker.probe_at
        assert not breaker.probe_due(now - timedelta(microseconds=1))
        assert breaker.probe_due(now)
        assert not breakers.probing(breaker, now=now).probe_due(now), "one probe at a time"
        breaker = breakers.after(breakers.probing(breaker, now=now), A, FAILED, now=now, probe=True)
        assert breaker.probe_at is not None
        waits.append((breaker.probe_at - now) // MINUTE)
    assert [1, *waits] == [1, 2, 4, 8, 15, 15, 15, 15]


@pytest.mark.parametrize("status", [429, 503])
def test_429_and_503_ask_for_the_whole_endpoint_to_be_left_alone(status: int) -> None:
    slow = after(HEALTHY, A, answer=Answer(1, status_code=status, retry_after="120"))
    assert slow.slow_until == NOW + timedelta(seconds=120)
    assert slow.is_slow(NOW + timedelta(seconds=119))
    assert not slow.is_slow(NOW + timedelta(seconds=120))
    assert after(HEALTHY, A, answer=Answer(1, status_code=status)).slow_until == NOW + timedelta(seconds=1)


def test_only_429_and_503_do() -> None:
    assert after(HEALTHY, A, answer=Answer(1, status_code=500, retry_after="120")).slow_until is None
    assert after(HEALTHY, A, answer=Answer(1, status_code=404, retry_after="120")) == HEALTHY


def test_the_longest_wait_that_was_asked_for_holds_though_others_succeed() -> None:
    slow = after(HEALTHY, A, answer=Answer(1, status_code=429, retry_after="120"))
    shorter = after(slow, B, answer=Answer(1, status_code=429, retry_after="5"))
    assert after(shorter, B, answer=OK).slow_until == NOW + timedelta(seconds=120)
    assert after(shorter, B, answer=OK, now=NOW + timedelta(seconds=121)) == HEALTHY


def test_an_endpoint_that_asked_to_be_left_alone_is_not_probed() -> None:
    told = breakers.after(opened(), A, Answer(1, status_code=503, retry_after="600"), now=NOW, probe=True)
    assert not told.probe_due(NOW + timedelta(seconds=599))
    assert told.probe_due(NOW + timedelta(seconds=600))


answers = st.builds(
    Answer,
    st.just(1),
    status_code=st.sampled_from([200, 404, 410, 429, 500, 503]),
    phase=st.sampled_from([None, None, "connect"]),
    retry_after=st.sampled_from([None, "0", "60", "junk"]),
)


@given(st.lists(st.tuples(st.sampled_from([A, B, UUID(int=3)]), answers, st.booleans(), st.integers(0, 900))))
def test_whatever_happens_it_is_open_exactly_after_five_failures_of_two(
    happened: list[tuple[UUID, Answer, bool, int]],
) -> None:
    breaker, now, row = HEALTHY, NOW, list[UUID]()
    for delivery_id, answer, probe, seconds in happened:
        now += timedelta(seconds=seconds)
        row = [*row, delivery_id] if answer.is_down else []
        breaker = breakers.after(breaker, delivery_id, answer, now=now, probe=probe)
        assert breaker.failures == len(row)
        assert breaker.is_open == (len(row) >= 5 and len(set(row)) > 1)
        assert (breaker.probe_at is not None) == breaker.is_open
        assert len(breaker.failing) <= 2
        assert breaker.is_open or breaker.probes == 0
