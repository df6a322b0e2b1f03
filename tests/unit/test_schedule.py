"""When the next attempt is due: never early, hardly late, never a fifth."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import schedule

DELAYS = (60.0, 120.0, 240.0)


@given(attempt=st.integers(1, 3), jitter=st.floats(0, 1), floor=st.integers(0, 86400))
def test_a_retry_is_never_earlier_than_promised_or_told_and_hardly_later(
    attempt: int, jitter: float, floor: int
) -> None:
    wait = schedule.wait(4 - attempt, delays=DELAYS, jitter=jitter, floor=timedelta(seconds=floor))
    assert wait is not None
    at_least = max(DELAYS[attempt - 1], floor)
    assert at_least <= wait.total_seconds() <= at_least * 1.1 + 1e-6


@pytest.mark.parametrize("left", [0, -1])
def test_there_is_never_a_fifth_attempt(left: int) -> None:
    assert schedule.wait(left, delays=DELAYS, jitter=0, floor=timedelta(hours=1)) is None


def test_a_schedule_that_was_shortened_meanwhile_begins_with_its_first_wait() -> None:
    assert schedule.wait(3, delays=(5.0,), jitter=0) == timedelta(seconds=5)
