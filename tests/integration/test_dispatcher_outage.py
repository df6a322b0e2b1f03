"""Endpoints that are down, or ask to be left alone: real Postgres, a clock moved by hand, answers as the test wants."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from dispatcher import store
from dispatcher.classify import Answer
from dispatcher.metrics import OLDEST_DUE, PARKED, SUPPRESSED
from shared.events import Event
from shared.ids import derived
from support import dispatcher_parts
from support.dispatcher_parts import FAILED, OK, UNREACHABLE, Dispatcher, World
from support.dispatcher_shop import Shop
from support.dispatching import automation, event

MINUTE = timedelta(minutes=1)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def one(shop: Shop, world: World) -> AsyncIterator[Dispatcher]:
    async with dispatcher_parts.dispatcher(shop, world) as one:
        yield one


@pytest.fixture
async def other(shop: Shop, world: World) -> AsyncIterator[Dispatcher]:
    async with dispatcher_parts.dispatcher(shop, world) as other:
        yield other


@pytest.fixture
def events(shop: Shop, world: World) -> Iterator[Event]:
    """Ever new ones of one customer, told as they happen; no two in a row alike."""

    def telling() -> Iterator[Event]:
        for n in range(1, 10_000):
            yield event(shop.id, at=world.clock(), sequence=n, score=n % 100)

    return telling()


async def statuses(shop: Shop) -> Counter[tuple[str, str | None]]:
    rows = await shop.pool.fetch("SELECT status, reason FROM dispatcher.deliveries")
    return Counter((row["status"], row["reason"]) for row in rows)


async def row(shop: Shop, delivery_id: UUID) -> asyncpg.Record:
    return await shop.pool.fetchrow("SELECT * FROM dispatcher.deliveries WHERE id = $1", delivery_id)


async def is_open(shop: Shop) -> bool:
    return bool(await shop.pool.fetchval("SELECT EXISTS (SELECT FROM dispatcher.breakers WHERE opened_at IS NOT NULL)"))


async def went_down(one: Dispatcher, events: Iterator[Event], world: World, answer: Answer = FAILED) -> None:
    world.answer = lambda _: answer
    for _ in range(5):
        await one.told(next(events))


async def test_a_six_hour_outage_loses_nothing_and_costs_no_more_than_thirty_requests(
    one: Dispatcher, other: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    await shop.endpoint(delivery="retry")
    await one.told(next(events))
    world.answer = lambda _: UNREACHABLE
    began = world.clock()
    asked_while_open = 0
    while world.clock() < began + timedelta(hours=6):
        was_open, asked = await is_open(shop), len(world.requests)
        if (world.clock() - began) % (10 * MINUTE) == timedelta(0):
            await one.told(*(next(events) for _ in range(8)))
        await one.look()
        await other.look()
        if was_open:
            asked_while_open += len(world.requests) - asked
        world.clock.forward(seconds=30)
    assert set(await statuses(shop)) == {("delivered", None), ("parked", "the endpoint is down")}
    assert 20 <= asked_while_open <= 30

    world.answer = lambda _: OK
    until = world.clock() + timedelta(minutes=30)
    while world.clock() < until:
        await one.look()
        await other.look()
        world.clock.forward(seconds=5)
    assert await statuses(shop) == {("delivered", None): 1 + 36 * 8}
    assert await shop.pool.fetchval("SELECT bool_and(attempts <= max_attempts) FROM dispatcher.deliveries")


async def test_what_was_parked_comes_back_in_a_ramp_the_oldest_first(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    await shop.endpoint(delivery="retry")
    await went_down(one, events, world)
    world.clock.forward(seconds=10)
    await one.told(*(next(events) for _ in range(60)))
    assert await is_open(shop)
    world.clock.forward(minutes=10)
    world.answer = lambda _: OK
    await one.look()
    assert not await is_open(shop)
    waits = [
        (row["due_at"] - world.clock()).total_seconds()
        for row in await shop.pool.fetch(
            "SELECT due_at FROM dispatcher.deliveries WHERE due_at IS NOT NULL ORDER BY recorded_at, id"
        )
    ]
    assert waits == sorted(waits)
    assert [sum(second <= wait < second + 1 for wait in waits) for second in range(3)] == [4, 8, 16]


async def test_one_delivery_alone_gets_its_four_attempts_at_the_promised_times(
    one: Dispatcher, shop: Shop, world: World
) -> None:
    target_id = await shop.rule_target()
    world.answer = lambda _: FAILED
    fired = automation(shop.id, target_id)
    await one.fired(fired)
    for _ in range(600):
        world.clock.forward(seconds=1)
        await one.look()
    waits = [(b.at - a.at).total_seconds() for a, b in pairwise(world.requests)]
    assert len(waits) == 3
    assert all(promised <= wait <= promised * 1.1 + 1 for promised, wait in zip((60, 120, 240), waits, strict=True))
    made = await row(shop, derived(fired.id, target_id))
    assert (made["status"], made["attempts"], made["max_attempts"]) == ("exhausted", 4, 4)
    assert not await is_open(shop)


async def test_an_outage_of_more_than_72_hours_ends_as_expired(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    await shop.endpoint(delivery="retry")
    await went_down(one, events, world)
    for _ in range(71 * 2):
        await one.look()
        world.clock.forward(minutes=30)
    assert await statuses(shop) == {("parked", "the endpoint is down"): 5}
    for _ in range(4):
        world.clock.forward(minutes=30)
        await one.look()
    assert await statuses(shop) == {("exhausted", "expired"): 5}


async def test_a_4xx_closes_the_breaker_and_counts(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    await shop.endpoint(delivery="retry")
    await went_down(one, events, world)
    world.answer = lambda _: Answer(1, status_code=404)
    world.clock.forward(seconds=100)
    assert await one.look() == 1
    assert not await is_open(shop)
    assert (await statuses(shop)).keys() == {("retrying", None)}


async def test_fire_and_log_deliveries_are_tried_once_though_the_endpoint_is_down(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    await shop.endpoint()
    await went_down(one, events, world)
    assert await is_open(shop)
    await one.told(next(events), next(events))
    assert await statuses(shop) == {("failed", None): 7}
    world.answer = lambda _: OK
    await one.told(next(events))
    assert not await is_open(shop)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("dated", [False, True])
async def test_an_endpoint_that_asks_to_be_left_alone_is_by_every_dispatcher(
    one: Dispatcher,
    other: Dispatcher,
    shop: Shop,
    world: World,
    events: Iterator[Event],
    status: int,
    dated: bool,
) -> None:
    await shop.endpoint(delivery="retry")
    then = world.clock().replace(microsecond=0) + timedelta(seconds=600)
    told = then.strftime("%a, %d %b %Y %H:%M:%S GMT") if dated else "600"
    world.answer = lambda _: Answer(1, status_code=status, retry_after=told)
    await one.told(next(events))
    world.answer = lambda _: OK
    for _ in range(59):
        await one.told(next(events))
        await other.told(next(events))
        await one.look()
        await other.look()
        world.clock.forward(seconds=10)
    assert len(world.requests) == 1
    for _ in range(40):
        world.clock.forward(seconds=3)
        await one.look()
        await other.look()
    assert await statuses(shop) == {("delivered", None): 119}
    assert min(request.at for request in world.requests[1:]) >= then


async def test_what_a_delivery_was_told_to_wait_holds_though_the_outage_ends_before(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    endpoint_id = await shop.endpoint(delivery="retry")
    world.answer = lambda _: Answer(1, status_code=500, retry_after="3600")
    patient = next(events)
    await one.told(patient)
    began = world.clock()
    await went_down(one, events, world)
    world.answer = lambda _: OK
    for _ in range(140):  # an hour, the tenth that chance may add to it, and some
        world.clock.forward(seconds=30)
        await one.look()
    assert await statuses(shop) == {("delivered", None): 6}
    times = [r.at for r in world.requests if r.delivery == derived(patient.id, endpoint_id)]
    assert times[1] >= began + timedelta(hours=1)
    assert (await row(shop, derived(patient.id, endpoint_id)))["attempts"] == 2


async def test_a_delivery_parked_after_another_dispatcher_saw_the_end_is_not_forgotten(
    one: Dispatcher, other: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    await shop.endpoint(delivery="retry")
    await went_down(one, events, world)
    outages = dict(one.recorder.outages)
    world.clock.forward(seconds=100)
    world.answer = lambda _: OK
    await other.look()
    assert not await is_open(shop)
    one.recorder.see = lambda _: None  # type: ignore[method-assign,assignment]  # its news arrive late
    one.recorder.outages = outages
    await one.told(next(events))
    assert (await statuses(shop))["parked", "the endpoint is down"] == 1
    for _ in range(90):
        world.clock.forward(seconds=5)
        await other.look()
    assert await statuses(shop) == {("delivered", None): 6}


async def test_a_delivery_that_makes_its_receiver_fail_does_not_keep_the_others(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    endpoint_id = await shop.endpoint(delivery="retry")
    poison = next(events)
    poisoned = derived(poison.id, endpoint_id)
    world.answer = lambda _: FAILED
    await one.told(poison)
    for _ in range(4):
        await one.told(next(events))
    world.answer = lambda request: FAILED if request.delivery == poisoned else OK
    for _ in range(200):
        world.clock.forward(seconds=10)
        await one.look()
    assert await statuses(shop) == {("delivered", None): 4, ("exhausted", None): 1}


async def test_what_somebody_asks_for_is_sent_though_the_endpoint_is_down_and_the_event_is_old(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    retried, logged = await shop.endpoint(delivery="retry"), await shop.endpoint("/logged")
    world.answer = lambda _: FAILED
    first = next(events)
    await one.told(first)
    for _ in range(4):
        await one.told(next(events))
    world.clock.forward(hours=3)
    asked = [derived(first.id, retried), derived(first.id, logged)]
    for delivery_id in asked:
        assert await store.ask_again(shop.pool, shop.id, delivery_id, now=world.clock()) == "due"
    world.requests.clear()
    world.answer = lambda _: OK
    await one.look()
    assert set(asked) <= {request.delivery for request in world.requests}
    assert {(await row(shop, delivery_id))["status"] for delivery_id in asked} == {"delivered"}


async def test_parked_deliveries_of_an_endpoint_that_is_switched_off_say_so(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    endpoint_id = await shop.endpoint(delivery="retry")
    await went_down(one, events, world)
    async with shop.pool.acquire() as connection:
        await store.disable_retried(connection, [endpoint_id], "because")
        await store.bump_revision(connection, [shop.id])
    asked = len(world.requests)
    for _ in range(10):
        world.clock.forward(minutes=2)
        await one.look()
    assert await statuses(shop) == {("suppressed", "disabled"): 5}
    assert len(world.requests) == asked


async def test_410_from_a_fire_and_log_endpoint_is_told_with_a_warning_and_leaves_it_on(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    endpoint_id = await shop.endpoint()
    world.answer = lambda _: Answer(1, status_code=410)
    with capture_logs() as logs:
        await one.told(next(events))
    assert await statuses(shop) == {("failed", "gone"): 1}
    assert [(line["log_level"], line["why"]) for line in logs if line["event"] == "delivery.attempt"] == [
        ("warning", "answered 410")
    ]
    endpoint = await store.endpoint(shop.pool, shop.vault, shop.id, endpoint_id)
    assert endpoint is not None
    assert endpoint.target.enabled


async def test_a_status_that_its_owner_calls_permanent_ends_a_delivery_at_once(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    await shop.endpoint(delivery="retry", permanent_codes=[422])
    world.answer = lambda _: Answer(1, status_code=422)
    await one.told(next(events))
    assert await statuses(shop) == {("exhausted", "permanent: 422"): 1}


async def test_too_much_narrows_a_lane_and_each_success_widens_it(
    shop: Shop, world: World, events: Iterator[Event]
) -> None:
    endpoint_id = await shop.endpoint()
    async with dispatcher_parts.dispatcher(shop, world, cap=8) as one:
        lanes = one.traffic._lanes
        caps = []
        for answer in (UNREACHABLE, Answer(1, status_code=429, retry_after="0"), UNREACHABLE, UNREACHABLE, OK, OK):
            world.answer = lambda _, answer=answer: answer  # type: ignore[misc]
            world.clock.forward(seconds=6)
            await one.told(next(events))
            caps.append(lanes.cap(endpoint_id))
    assert caps == [4, 2, 1, 1, 2, 3]


async def test_each_attempt_is_one_line_with_these_keys_and_nothing_personal(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    endpoint_id = await shop.endpoint(delivery="retry")
    world.answer = lambda _: FAILED
    with capture_logs() as logs:
        await one.told(told := next(events))
    (line,) = [line for line in logs if line["event"] == "delivery.attempt"]
    assert line.pop("next").endswith(" s")
    assert line == {
        "event": "delivery.attempt",
        "log_level": "warning",
        "delivery": str(derived(told.id, endpoint_id)),
        "endpoint": str(endpoint_id),
        "event_type": "score_updated",
        "customer": "ab" * 6,
        "status": 500,
        "attempt": "1/4",
        "ms": 1,
        "why": "answered 500",
    }


async def test_of_a_million_due_deliveries_no_more_are_in_memory_than_two_lanes_hold(
    shop: Shop, world: World, events: Iterator[Event]
) -> None:
    """Ten thousand stand for the million: what is claimed does not depend on how many there are."""
    endpoint_id = await shop.endpoint(delivery="retry")
    async with dispatcher_parts.dispatcher(shop, world, cap=4) as one:
        await one.told(next(events))
        await shop.pool.execute(
            "INSERT INTO dispatcher.deliveries (recorded_at, id, store_id, target_id, endpoint_id, event, source_id,"
            " shape, email_hash, sequence, mode, status, max_attempts, due_at, created_at)"
            " SELECT recorded_at, gen_random_uuid(), store_id, target_id, endpoint_id, event, source_id, shape,"
            " email_hash, sequence, mode, 'pending', max_attempts, recorded_at, created_at"
            " FROM dispatcher.deliveries, generate_series(1, 10000)"
        )
        taken = await one.due.take_up()
        assert (taken, one.traffic.free(endpoint_id)) == (8, 0)
        assert await one.due.take_up() == 0
        assert await shop.pool.fetchval("SELECT count(*) FROM dispatcher.deliveries WHERE lease IS NOT NULL") == 8
        await one.idle()


async def test_what_waits_what_is_parked_and_what_is_not_sent_are_metrics(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    await shop.endpoint("/off", enabled=False)
    await shop.endpoint(delivery="retry")
    suppressed = SUPPRESSED.labels("disabled")._value.get()
    first = REGISTRY.get_sample_value("trustlens_event_to_attempt_seconds_count")
    await one.told(next(events))
    assert REGISTRY.get_sample_value("trustlens_event_to_attempt_seconds_count") == (first or 0) + 1
    await went_down(one, events, world)
    await one.due.take_up()
    await one.idle()
    assert PARKED._value.get() == 5
    assert OLDEST_DUE._value.get() == 0, "an endpoint that is down is not our being late"
    assert SUPPRESSED.labels("disabled")._value.get() == suppressed + 6

    await shop.pool.execute("DELETE FROM dispatcher.breakers")
    world.answer = lambda _: OK
    world.clock.forward(minutes=10)
    one.due._next_gauges = 0.0
    await one.look()
    assert PARKED._value.get() == 0
    world.clock.forward(minutes=10)
    one.due._next_gauges = 0.0
    await one.look()
    assert OLDEST_DUE._value.get() == pytest.approx(600, abs=2), "let out in a ramp, and then we did not look"


async def test_a_delivery_whose_body_is_gone_stops_nobody_and_holds_no_place(
    one: Dispatcher, shop: Shop, world: World, events: Iterator[Event]
) -> None:
    endpoint_id = await shop.endpoint(delivery="retry")
    world.answer = lambda _: FAILED
    await one.told(next(events), next(events))
    await shop.pool.execute(
        "DELETE FROM dispatcher.bodies WHERE source_id = (SELECT source_id FROM dispatcher.deliveries LIMIT 1)"
    )
    world.answer = lambda _: OK
    world.clock.forward(seconds=70)
    assert await one.look() == 1
    assert await statuses(shop) == {("delivered", None): 1, ("retrying", None): 1}
    assert one.traffic.free(endpoint_id) == 32
