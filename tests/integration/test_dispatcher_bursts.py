"""Repeats that are left out, filters, formats: what becomes of an event on its way to an endpoint."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from shared.ids import derived
from support import dispatcher_parts
from support.dispatcher_parts import FAILED, Dispatcher, World
from support.dispatcher_shop import Shop
from support.dispatching import event


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


async def log(shop: Shop) -> list[tuple[int, str, str | None]]:
    rows = await shop.pool.fetch("SELECT sequence, status, reason FROM dispatcher.deliveries ORDER BY sequence")
    return [tuple(row) for row in rows]


async def test_a_repeat_within_five_seconds_is_on_record_and_not_sent(
    one: Dispatcher, shop: Shop, world: World
) -> None:
    await shop.endpoint()
    now = datetime.now(UTC)
    await one.told(event(shop.id, at=now, sequence=1))
    await one.told(event(shop.id, at=now + timedelta(seconds=4), sequence=2))
    await one.told(event(shop.id, at=now + timedelta(seconds=9), sequence=3))
    assert await log(shop) == [
        (1, "delivered", None),
        (2, "suppressed", "duplicate"),
        (3, "delivered", None),
    ]
    assert len(world.requests) == 2


async def test_after_a_change_and_back_the_last_body_is_the_last_state(
    one: Dispatcher, shop: Shop, world: World
) -> None:
    await shop.endpoint()
    scores = [34, 40, 34, 34, 40, 40, 34]
    await one.told(*(event(shop.id, sequence=n, score=score) for n, score in enumerate(scores)))
    latest = max(world.requests, key=lambda request: int(request.headers["X-TrustLens-Sequence"]))
    assert json.loads(latest.body)["new_score"] == scores[-1]
    assert len(world.requests) == 5


async def test_a_repeat_that_a_late_event_belies_is_sent_after_all(one: Dispatcher, shop: Shop, world: World) -> None:
    await shop.endpoint()
    now = datetime.now(UTC)
    first, late, last = (event(shop.id, at=now, sequence=n, score=score) for n, score in ((1, 34), (2, 40), (3, 34)))
    await one.told(first, last)
    assert await log(shop) == [(1, "delivered", None), (3, "suppressed", "duplicate")]
    await one.told(late)
    await one.look()
    assert await log(shop) == [(n, "delivered", None) for n in (1, 2, 3)]
    await one.told(first, late, last)
    await one.look()
    assert len(world.requests) == 3


async def test_an_event_that_comes_again_is_not_its_own_duplicate(one: Dispatcher, shop: Shop, world: World) -> None:
    await shop.endpoint()
    first, second = event(shop.id, sequence=1), event(shop.id, sequence=2, score=50)
    for _ in range(3):
        await one.told(first, second, first)
    assert await log(shop) == [(1, "delivered", None), (2, "delivered", None)]


async def test_two_dispatchers_that_get_repeats_at_once_send_one(
    one: Dispatcher, other: Dispatcher, shop: Shop, world: World
) -> None:
    await shop.endpoint()
    now = datetime.now(UTC)
    told = [event(shop.id, at=now, sequence=n) for n in range(1, 21)]
    await asyncio.gather(
        *((one if n % 2 else other).told(each) for n, each in enumerate(told)),
    )
    # One that was overtaken by a later one is sent too: only the last recorded is ever compared with.
    latest = max(int(request.headers["X-TrustLens-Sequence"]) for request in world.requests)
    rows = await log(shop)
    assert len(rows) == 20
    assert all(status == "delivered" for sequence, status, _ in rows if sequence <= 1)
    assert all((status, reason) == ("suppressed", "duplicate") for n, status, reason in rows if n > latest)
    assert len({request.delivery for request in world.requests}) == len(world.requests)


async def test_retry_mode_and_other_events_are_compared_like_any_other(
    one: Dispatcher, shop: Shop, world: World
) -> None:
    await shop.endpoint(delivery="retry")
    now = datetime.now(UTC)
    await one.told(
        event(shop.id, "customer_blocked", at=now, sequence=1),
        event(shop.id, "score_updated", at=now, sequence=2),
        event(shop.id, "customer_blocked", at=now, sequence=3),
        event(shop.id, "customer_blocked", at=now, sequence=4),
    )
    assert [status for _, status, _ in await log(shop)] == ["delivered"] * 3 + ["suppressed"]


async def test_what_a_filter_keeps_back_is_on_record_with_the_reason(one: Dispatcher, shop: Shop, world: World) -> None:
    condition = {"field": "trust_score", "operator": "<", "value": 30}
    await shop.endpoint(filter=condition)
    await one.told(event(shop.id, sequence=1, score=29), event(shop.id, sequence=2, score=31))
    (first, second) = await log(shop)
    assert first == (1, "delivered", None)
    assert second[1] == "suppressed"
    assert second[2] is not None
    assert second[2].startswith("filtered: ")
    assert "trust_score" in second[2]


async def test_what_a_switched_off_endpoint_misses_is_on_record(one: Dispatcher, shop: Shop, world: World) -> None:
    await shop.endpoint(enabled=False)
    await one.told(event(shop.id, sequence=1))
    assert await log(shop) == [(1, "suppressed", "disabled")]
    assert not world.requests


async def test_an_old_event_is_not_sent_to_a_fire_and_log_endpoint_and_is_to_one_that_promises(
    one: Dispatcher, shop: Shop, world: World
) -> None:
    await shop.endpoint("/logged")
    await shop.endpoint("/promised", delivery="retry")
    await one.told(event(shop.id, sequence=1, at=world.clock() - timedelta(minutes=6)))
    assert [request.path for request in world.requests] == ["/promised"]
    assert {row[1:] for row in await log(shop)} == {("suppressed", "expired"), ("delivered", None)}


async def test_a_slack_endpoint_gets_a_slack_message_and_no_e_mail_address(
    one: Dispatcher, shop: Shop, world: World
) -> None:
    await shop.endpoint("/slack", format="slack")
    await shop.endpoint("/ours")
    await shop.endpoint("/no-email", include_email=False)
    await one.told(event(shop.id, "high_risk_order"))
    bodies = {request.path: json.loads(request.body) for request in world.requests}
    assert bodies["/slack"].keys() == {"text", "blocks"}
    assert ":warning:" in bodies["/slack"]["text"]
    assert "@" not in json.dumps(bodies["/slack"])
    assert bodies["/ours"]["customer"]["email"] == "jane@example.com"
    assert bodies["/no-email"]["customer"]["email"] is None
    assert await shop.pool.fetchval("SELECT count(*) FROM dispatcher.bodies") == 3, "one for each shape"


async def test_a_body_is_stored_once_however_many_endpoints_get_it(one: Dispatcher, shop: Shop, world: World) -> None:
    endpoints = [await shop.endpoint(f"/{n}") for n in range(5)]
    world.answer = lambda _: FAILED
    told = event(shop.id)
    await one.told(told)
    assert {request.delivery for request in world.requests} == {derived(told.id, e) for e in endpoints}
    assert await shop.pool.fetchval("SELECT count(*) FROM dispatcher.bodies") == 1
