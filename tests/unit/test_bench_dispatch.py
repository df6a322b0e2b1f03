"""What the bench of the dispatcher counts, and what it sends."""

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from bench import dispatch, dispatching, fairness
from bench.bare_posts import Post, Took
from bench.dispatching import Subscriber
from bench.due_memory import Start
from bench.metrics import Reading
from bench.receiver import Told
from dispatcher.bursts import decide
from dispatcher.destinations import webhook
from dispatcher.endpoints import Endpoint, Target
from dispatcher.fanout import Fanout, Surroundings, add_event

NOW = datetime(2026, 6, 1, tzinfo=UTC)

ids = st.uuids()
requests = st.lists(st.tuples(ids, st.floats(0, 1e6)), max_size=50)


def subscriber(number: int) -> Subscriber:
    target = Target(UUID(int=number), f"http://127.0.0.1:1/hook/{number}", 10, dispatching.SECRET, {})
    endpoint = Endpoint(
        target, UUID(int=1000 + number), "", (dispatching.EVENT,), None, "fire_and_log", "trustlens", True, NOW, NOW
    )
    return Subscriber(webhook.Site(f"https://{number}.example", str(number)), endpoint)


def fan_out(turns: list[Subscriber]) -> Fanout:
    fanned = Fanout()
    for one, event in zip(turns, dispatching.events(turns), strict=True):
        add_event(fanned, event, Surroundings(one.site, [one.endpoint], {}), [])
    return fanned


@given(requests)
def test_each_request_is_the_first_with_its_delivery_or_one_too_many(came: list[tuple[UUID, float]]):
    told = Told()
    for delivery, at in came:
        told.note(str(delivery), at)
    assert told.at.keys() == {delivery for delivery, _ in came}
    assert told.repeated == sum(count - 1 for count in Counter(delivery for delivery, _ in came).values())
    assert all(told.at[delivery] == next(at for one, at in came if one == delivery) for delivery, _ in came)


@given(requests)
def test_what_a_receiver_tells_is_read_as_it_was(came: list[tuple[UUID, float]]):
    told = Told()
    for delivery, at in came:
        told.note(str(delivery), at)
    assert Told.parse(told.encode()) == told


def test_waits_are_told_of_what_came_and_was_asked_for():
    told = Told(3, {UUID(int=1): 12.0, UUID(int=2): 13.5, UUID(int=3): 20.0})
    assert told.waits({UUID(int=1): 10.0, UUID(int=2): 13.0, UUID(int=9): 14.0}) == [2.0, 0.5]


def test_no_event_of_the_bench_repeats_another_so_that_all_are_sent():
    endpoints = [subscriber(number) for number in range(4)]
    candidates = list(fan_out([endpoints[number % 4] for number in range(100)]).bursts().values())
    assert len(candidates) == 100
    assert decide({}, candidates, window=timedelta(seconds=5)).duplicates == frozenset()


def test_the_bench_knows_under_which_ids_its_events_are_delivered():
    turns = [subscriber(number % 3) for number in range(9)]
    events = dispatching.events(turns)
    for one, event in zip(turns, events, strict=True):
        fanned = Fanout()
        add_event(fanned, event, Surroundings(one.site, [one.endpoint], {}), [])
        assert list(fanned.deliveries) == [one.delivery(event)]


def test_the_bare_posts_carry_the_bodies_and_headers_that_the_dispatcher_sends():
    one = subscriber(7)
    event = dispatching.events([one])[0]
    fanned = Fanout()
    add_event(fanned, event, Surroundings(one.site, [one.endpoint], {}), [])
    (new,), (body,) = fanned.deliveries.values(), fanned.bodies.values()
    post = dispatch.bare_post(one, event)
    assert post.body.encode() == body
    assert post.headers == webhook.headers(
        new.delivery, one.endpoint.target, secret=dispatching.SECRET, next_secret=None, body=body, now=event.recorded_at
    )
    assert Post.parse(json.dumps(asdict(post))) == post


def test_a_rate_is_of_the_first_posts_start_to_the_last_ones_end():
    took = Took(posts=500, seconds=0.25, processor=0.1)
    assert (took.rate, round(took.micros)) == (2000, 200)


def test_a_delivery_recorded_and_never_received_is_lost():
    run = dispatch.Run(2.0, 10, 9, Reading({}), Told(8, {UUID(int=n): 1.0 for n in range(7)}), {}, 0)
    assert (run.rate, run.lost, run.came.repeated) == (4.5, 2, 1)


def test_each_endpoint_has_a_turn_a_second():
    turns = fairness.schedule(3)
    assert [Counter(turns[second : second + fairness.ENDPOINTS]) for second in (0, 200, 400)] == 3 * [
        dict.fromkeys(range(fairness.ENDPOINTS), 1)
    ]


def test_fairness_compares_the_middle_one_of_the_runs_slowest_hundredths():
    runs = [[factor * n for n in range(1, 101)] for factor in (1.0, 50.0, 2.0)]
    assert fairness.typical(runs, 99) == 198.0
    assert fairness.typical([[]], 99) != fairness.typical([[]], 99)


def test_the_beginning_is_counted_from_the_first_delivery():
    came = Told(4, {UUID(int=n): at for n, at in enumerate([12.0, 12.5, 13.5, 20.0])})
    start = Start(10.0, 11.0, came)
    assert (start.first, start.rate(1), start.rate(2)) == (12.0, 2.0, 1.5)
