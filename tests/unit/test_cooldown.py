"""Which candidates fire: the decision that the live engine and a backtest share."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_engine.cooldown import Hour, Key, decide, hour_of, hours_reached, key_of, still_cooling, words
from rule_engine.evaluate import Candidate, evaluate
from rule_engine.rules import Rule, stored_rule
from shared.fields import fields_of
from shared.ids import uuid7
from support.events import T0, event, snapshot

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def rule(cooldown: timedelta = HOUR, hourly_limit: int = 1000) -> Rule:
    return stored_rule(
        rule_id=uuid7(),
        version=1,
        name="Rule",
        trigger="score_updated",
        conditions=None,
        actions=[],
        cooldown=int(cooldown.total_seconds()),
        hourly_limit=hourly_limit,
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
    return [fired.event.recorded_at - T0 for fired in decide(candidates, before, {}).fire]


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
    assert decide([second, first], {}, {}).fire == (first,)


def test_customers_and_rules_cool_down_apart() -> None:
    one, other = rule(), rule()
    candidates = [candidate(one, HOUR), candidate(one, HOUR, "b"), candidate(other, HOUR)]
    assert len(decide(candidates, {}, {}).fire) == 3


def test_what_fired_before_the_batch_counts() -> None:
    of = rule()
    assert fired_at([candidate(of, 30 * MINUTE)], {"a": timedelta(0)}) == []
    assert fired_at([candidate(of, 60 * MINUTE)], {"a": timedelta(0)}) == [60 * MINUTE]


def test_a_firing_out_of_order_does_not_turn_the_clock_back() -> None:
    of = rule()
    late = candidate(of, 0 * MINUTE)
    key = key_of(late)
    assert key is not None
    decided = decide([late], {key: T0 + 3 * HOUR}, {})
    assert decided.fire == (late,)
    assert decided.last == {key: T0 + 3 * HOUR}


def test_without_a_cooldown_all_fire_and_nothing_is_remembered() -> None:
    of = rule(timedelta(0))
    decided = decide([candidate(of, HOUR) for _ in range(3)], {}, {})
    assert (len(decided.fire), decided.skipped, decided.last) == (3, (), {})


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
    whole = decide(candidates, {}, {})
    first = decide(candidates[:cut], {}, {})
    second = decide(candidates[cut:], first.last, first.fired)
    assert first.fire + second.fire == whole.fire
    assert len(whole.fire) + len(whole.skipped) == len(candidates)
    for customer in "ab":
        times = [c.event.recorded_at for c in whole.fire if c.event.customer.email_hash[0] == customer]
        assert all(later - earlier >= of.cooldown for earlier, later in pairwise(times))
        assert bool(times) is any(customer == who for _, who in moments)


# The hourly limit -----------------------------------------------------------------------------------------------------


def test_an_hour_that_is_full_lets_no_more_through_and_says_since_when() -> None:
    of = rule(timedelta(0), hourly_limit=2)
    decided = decide([candidate(of, n * MINUTE) for n in (10, 20, 59, 60)], {}, {})
    assert [c.event.recorded_at - T0 for c in decided.fire] == [10 * MINUTE, 20 * MINUTE, 60 * MINUTE]
    (held,) = decided.skipped
    assert (held.kind, held.reason) == ("hourly_limit", "hourly limit: 2 firings since 12:00")
    assert decided.fired == {(of.id, T0): 2, (of.id, T0 + HOUR): 1}


def test_an_hour_is_that_of_utc_wherever_the_time_was_written() -> None:
    of = rule(timedelta(0))
    happened = event()
    elsewhere = happened.model_copy(update={"recorded_at": T0.astimezone(timezone(timedelta(hours=5, minutes=30)))})
    there = evaluate(of, elsewhere, fields_of(elsewhere))
    assert isinstance(there, Candidate)
    assert hour_of(there) == (of.id, T0)


def test_who_is_held_back_by_the_limit_has_not_fired_and_does_not_cool_down() -> None:
    of = rule(HOUR, hourly_limit=1)
    candidates = [candidate(of, 50 * MINUTE, "a"), candidate(of, 55 * MINUTE, "b"), candidate(of, 65 * MINUTE, "b")]
    assert [c.event.recorded_at - T0 for c in decide(candidates, {}, {}).fire] == [50 * MINUTE, 65 * MINUTE]


def test_firings_before_the_batch_count_and_a_limit_that_was_lowered_holds_at_once() -> None:
    of = rule(timedelta(0), hourly_limit=3)
    candidates = [candidate(of, n * MINUTE) for n in (1, 2)]
    assert len(decide(candidates, {}, {hour_of(candidates[0]): 2}).fire) == 1
    assert len(decide(candidates, {}, {hour_of(candidates[0]): 9}).fire) == 0


def test_rules_fill_their_hours_apart() -> None:
    one, other = rule(timedelta(0), hourly_limit=1), rule(timedelta(0), hourly_limit=1)
    assert len(decide([candidate(one, MINUTE), candidate(other, MINUTE)], {}, {}).fire) == 2


moments = st.lists(st.tuples(st.integers(0, 5 * 60), st.sampled_from("abc")), min_size=1, max_size=40)


@given(moments, st.integers(0, 90), st.integers(1, 4), st.lists(st.integers(1, 10), max_size=10), st.randoms())
def test_no_hour_has_more_firings_than_the_limit_however_late_events_come_and_batches_are_cut(
    told: list[tuple[int, str]], minutes: int, limit: int, sizes: list[int], chance: Random
) -> None:
    of = rule(minutes * MINUTE, hourly_limit=limit)
    candidates = [candidate(of, at * MINUTE, who, sequence=n) for n, (at, who) in enumerate(told)]
    chance.shuffle(candidates)
    fire, fired = played(candidates, sizes)
    hours = Counter(map(hour_of, fire))
    assert hours == fired
    assert all(count <= limit for count in hours.values())


@given(moments, st.integers(0, 90), st.integers(1, 4), st.lists(st.integers(1, 10), max_size=10))
def test_events_in_order_are_decided_in_batches_as_they_are_one_by_one(
    told: list[tuple[int, str]], minutes: int, limit: int, sizes: list[int]
) -> None:
    of = rule(minutes * MINUTE, hourly_limit=limit)
    candidates = [candidate(of, at * MINUTE, who, sequence=n) for n, (at, who) in enumerate(sorted(told))]
    assert played(candidates, sizes) == played(candidates, [1] * len(candidates))


def played(candidates: Sequence[Candidate], sizes: Sequence[int]) -> tuple[list[Candidate], dict[Hour, int]]:
    """What fires, and how often in each hour: in batches of these sizes, and a last one of the rest. No more is known
    of what fired before than the engine claims.
    """
    left, fire = list(candidates), list[Candidate]()
    last: dict[Key, datetime] = {}
    fired: dict[Hour, int] = {}
    for size in [*sizes, len(candidates)]:
        batch, left = left[:size], left[size:]
        keys = {key_of(one) for one in batch}
        known = {key: at for key, at in last.items() if key in keys}
        reached = hours_reached(batch, known)
        decided = decide(batch, known, {hour: count for hour, count in fired.items() if hour in reached})
        assert decided.fired.keys() <= reached
        assert len(decided.fire) + len(decided.skipped) == len(batch)
        fire += decided.fire
        last |= decided.last
        fired |= decided.fired
    return fire, fired
