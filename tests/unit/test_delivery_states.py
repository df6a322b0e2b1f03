"""What an answer means, what state follows, when the next attempt is due. Pure, with all the time in the world."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import deliveries, schedule
from dispatcher.classify import Answer, Delivered, GiveUp, Phase, Retry, Verdict, classify
from dispatcher.deliveries import Delivery, Step
from dispatcher.endpoints import Mode, Target

NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
DELAYS = (60.0, 120.0, 240.0)
TARGET = Target(uuid4(), "https://receiver.example/", 10, "secret", {})


def delivery(mode: Mode = "retry", *, attempts: int = 0, endpoint_id: UUID | None = None) -> Delivery:
    return Delivery(
        recorded_at=NOW,
        id=uuid4(),
        store_id=uuid4(),
        target_id=endpoint_id or TARGET.id,
        endpoint_id=endpoint_id,
        rule_id=None,
        event="score_updated",
        source_id=uuid4(),
        shape="trustlens",
        email_hash="ab" * 32,
        sequence=1,
        mode=mode,
        max_attempts=deliveries.max_attempts(mode, DELAYS),
        attempts=attempts,
    )


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Delivered()),
        (201, Delivered()),
        (204, Delivered()),
        (299, Delivered()),
        (199, Retry()),
        (300, Retry()),
        (301, Retry()),
        (304, Retry()),
        (307, Retry()),
        (400, Retry()),
        (401, Retry()),
        (404, Retry()),
        (409, Retry()),
        (429, Retry()),
        (500, Retry()),
        (503, Retry()),
        (599, Retry()),
        (410, GiveUp("gone")),
    ],
)
def test_only_2xx_is_delivered_and_only_410_is_the_end(status: int, verdict: Verdict) -> None:
    assert classify(Answer(1, status_code=status)) == verdict


@pytest.mark.parametrize("phase", ["dns", "connect", "tls", "write", "first_byte", "body"])
@pytest.mark.parametrize("status", [None, 200, 410])
def test_a_request_that_broke_off_is_tried_again_whatever_status_it_had(phase: Phase, status: int | None) -> None:
    assert classify(Answer(1, status_code=status, phase=phase, error="broke off")) == Retry()


@given(st.one_of(st.none(), st.integers(100, 599)), st.booleans())
def test_an_answer_has_a_complaint_exactly_when_it_is_not_delivered(status: int | None, broke: bool) -> None:
    answer = Answer(1, status_code=status, phase="body" if broke else None)
    assert (answer.complaint is None) == (classify(answer) == Delivered())


def test_a_settings_webhook_fails_at_its_first_failure() -> None:
    assert after(delivery("fire_and_log"), Retry()) == Step("failed")


def test_a_retried_delivery_has_four_attempts_with_60_120_and_240_seconds_between() -> None:
    steps = [after(delivery(attempts=n), Retry()) for n in range(4)]
    assert steps == [
        Step("retrying", wait=timedelta(seconds=60)),
        Step("retrying", wait=timedelta(seconds=120)),
        Step("retrying", wait=timedelta(seconds=240)),
        Step("exhausted"),
    ]


@pytest.mark.parametrize("mode", ["fire_and_log", "retry"])
def test_a_2xx_ends_every_delivery(mode: Mode) -> None:
    assert after(delivery(mode), Delivered()) == Step("delivered")


def test_410_ends_a_rules_own_delivery_at_once() -> None:
    assert after(delivery(), GiveUp("gone")) == Step("exhausted", "gone")


def test_410_also_ends_the_endpoint_that_promises_retries() -> None:
    endpoint_id = uuid4()
    assert after(delivery(endpoint_id=endpoint_id), GiveUp("gone")).disables
    assert after(delivery("fire_and_log", endpoint_id=endpoint_id), GiveUp("gone")) == Step("failed", "gone")


def after(of: Delivery, verdict: Verdict) -> Step:
    return deliveries.after(of, verdict, delays=DELAYS, jitter=0)


@given(
    attempts=st.integers(0, 9),
    delays=st.lists(st.floats(0, 1000), min_size=1, max_size=3),
    verdict=st.sampled_from([Delivered(), Retry(), GiveUp("gone")]),
    mode=st.sampled_from(["fire_and_log", "retry"]),
    jitter=st.floats(0, 1),
)
def test_a_delivery_waits_exactly_while_it_is_retrying(
    attempts: int, delays: list[float], verdict: Verdict, mode: Mode, jitter: float
) -> None:
    step = deliveries.after(delivery(mode, attempts=attempts), verdict, delays=delays, jitter=jitter)
    assert (step.wait is not None) == (step.status == "retrying")
    assert step.status in {"delivered", "failed", "retrying", "exhausted"}
    assert not (mode == "fire_and_log" and step.status in {"retrying", "exhausted"})
    assert not (attempts + 1 >= deliveries.max_attempts(mode, DELAYS) and step.status == "retrying")


@given(attempt=st.integers(1, 3), jitter=st.floats(0, 1))
def test_a_retry_is_never_early_and_hardly_late(attempt: int, jitter: float) -> None:
    wait = schedule.wait(attempt, max_attempts=4, delays=DELAYS, jitter=jitter)
    assert wait is not None
    promised = DELAYS[attempt - 1]
    assert promised <= wait.total_seconds() <= promised * 1.1


def test_there_is_never_a_fifth_attempt() -> None:
    assert schedule.wait(4, max_attempts=4, delays=DELAYS, jitter=0) is None


def test_a_schedule_that_was_shortened_meanwhile_repeats_its_last_wait() -> None:
    assert schedule.wait(3, max_attempts=4, delays=(5.0,), jitter=0) == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("target", "mode", "age", "reason"),
    [
        (TARGET, "fire_and_log", 299, None),
        (TARGET, "fire_and_log", 301, "expired"),
        (TARGET, "retry", 301, None),
        (None, "retry", 0, "no_target"),
        (Target(TARGET.id, TARGET.url, 10, "s", {}, enabled=False), "retry", 0, "disabled"),
        (Target(TARGET.id, TARGET.url, 10, "s", {}, enabled=False), "fire_and_log", 301, "disabled"),
    ],
)
def test_a_delivery_that_is_not_sent_says_why(target: Target | None, mode: Mode, age: int, reason: str | None) -> None:
    now = NOW + timedelta(seconds=age)
    step = deliveries.suppressed(delivery(mode), target, now=now, expire_after=timedelta(seconds=300))
    assert step == (Step("suppressed", reason) if reason else None)


def test_what_a_target_hides_is_not_in_its_repr() -> None:
    assert "secret-value" not in repr(
        Target(TARGET.id, TARGET.url, 10, "secret-value", {"Authorization": "secret-value"})
    )
