"""Which candidates fire: the decision that the live engine and a backtest share."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_engine.cooldown import decide, key_of, still_cooling, words
from rule_engine.evaluate import Candidate, evaluate
from rule_engine.rules import Rule, stored_rule
from shared.fields import fields_of
from shared.ids import uuid7
from support.events import T0, event, snapshot

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def rule(cooldown: timedelta = HOUR) -> Rule:
    return stored_rule(
        rule_id=uuid7(),
        version=1,
        name="Rule",
        trigger="score_updated",
        conditions=None,
        actions=[],
        cooldown=int(cooldown.total_seconds()),
        hourly_limit=1000,
        mode="live",
    )


def candidate(of: Rule, at: timedelta, customer: str = "a", sequence: int = 1) -> Candidate:
    happened = event(at=at, customer=snapshot(customer * 64), sequence=sequence)
    judged = evaluate(of, happened, fields_of(happened))
    assert isinstance(judged, Candidate)
    return judged


def fired_at(candidates: Sequence[Candidate], last: dict[str, timedelta] | None = None) -> list[timedelta]:
    of = candidates[0].rule
    before = {(of.id, customer * 64): T0 + at for customer, at in (last or {}).items()}
    return [fired.event.recorded_at - T0 for fired in decide(candidates, before).fire]


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (timedelta(0), "cooldown: 60 min left"),
        (48 * MINUTE, "cooldown: 12 min left"),
        (47.5 * MINUTE, "cooldown: 13 min left"),
        (59 * MINUTE, "cooldown: 60 s left"),
        (HOUR - timedelta(microseconds=1), "cooldown: 1 s left"),
        (HOUR, None),
        (-10 * MINUTE, "cooldown: fired 10 min later for a newer event"),
        (-HOUR, None),
    ],
)
def test_between_two_events_lies_the_cooldown(after: timedelta, reason: str | None) -> None:
    assert still_cooling(T0, T0 + after, HOUR) == reason


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(seconds=0.2), "1 s"),
        (timedelta(seconds=60), "60 s"),
        (timedelta(seconds=61), "2 min"),
        (timedelta(minutes=60), "60 min"),
        (timedelta(minutes=61), "2 h"),
        (timedelta(hours=24), "24 h"),
        (timedelta(days=29, seconds=1), "30 d"),
    ],
)
def test_a_span_is_said_in_the_unit_that_says_enough(span: timedelta, said: str) -> None:
    assert words(span) == said


def test_events_are_decided_in_the_order_in_which_they_were_recorded() -> None:
    of = rule()
    assert fired_at([candidate(of, n * MINUTE) for n in (70, 20, 59, 0, 60, 119, 120)]) == [
        0 * MINUTE,
        60 * MINUTE,
        120 * MINUTE,
    ]


def test_events_of_one_moment_are_decided_in_their_sequence() -> None:
    of = rule()
    first, second = candidate(of, HOUR, sequence=1), candidate(of, HOUR, sequence=2)
    assert decide([second, first], {}).fire == (first,)


def test_customers_and_rules_cool_down_apart() -> None:
    one, other = rule(), rule()
    candidates = [candidate(one, HOUR), candidate(one, HOUR, "b"), candidate(other, HOUR)]
    assert len(decide(candidates, {}).fire) == 3


def test_what_fired_before_the_batch_counts() -> None:
    of = rule()
    assert fired_at([candidate(of, 30 * MINUTE)], {"a": timedelta(0)}) == []
    assert fired_at([candidate(of, 60 * MINUTE)], {"a": timedelta(0)}) == [60 * MINUTE]


def test_a_firing_out_of_order_does_not_turn_the_clock_back() -> None:
    of = rule()
    late = candidate(of, 0 * MINUTE)
    key = key_of(late)
    assert key is not None
    decided = decide([late], {key: T0 + 3 * HOUR})
    assert decided.fire == (late,)
    assert decided.last == {key: T0 + 3 * HOUR}


def test_without_a_cooldown_all_fire_and_nothing_is_remembered() -> None:
    of = rule(timedelta(0))
    decided = decide([candidate(of, HOUR) for _ in range(3)], {})
    assert (len(decided.fire), decided.cooling, decided.last) == (3, (), {})


@given(
    st.lists(st.tuples(st.integers(0, 20 * 60), st.sampled_from("ab")), min_size=1, max_size=40),
    st.integers(1, 5 * 60),
    st.integers(0, 40),
)
def test_in_order_no_two_firings_are_closer_than_the_cooldown_however_batches_are_cut(
    moments: list[tuple[int, str]], minutes: int, cut: int
) -> None:
    of = rule(minutes * MINUTE)
    candidates = [candidate(of, at * MINUTE, customer, sequence=n) for n, (at, customer) in enumerate(sorted(moments))]
    whole = decide(candidates, {})
    first = decide(candidates[:cut], {})
    second = decide(candidates[cut:], first.last)
    assert first.fire + second.fire == whole.fire
    assert len(whole.fire) + len(whole.cooling) == len(candidates)
    for customer in "ab":
        times = [c.event.recorded_at for c in whole.fire if c.event.customer.email_hash[0] == customer]
        assert all(later - earlier >= of.cooldown for earlier, later in pairwise(times))
        assert bool(times) is any(customer == who for _, who in moments)
