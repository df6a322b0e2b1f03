"""Deliveries once more: one, or many by filter; each under its own id, at a rate, as a job that can be watched."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from dispatcher import replay, store
from dispatcher.replay import Replay
from dispatcher.settings import DispatcherSettings
from shared.broker import Broker
from shared.commands import Answer, Asker
from shared.ids import derived, uuid7
from shared.jobs import Job
from shared.outbox import Transaction
from support import delivery_rows
from support.dispatcher_parts import Clock
from support.dispatcher_shop import Shop
from support.dispatching import Receiver, dispatching, event, eventually, local_settings, publish


@pytest.fixture
async def dispatcher(
    database_url: str, amqp_url: str, name_prefix: str, secret_keys: str
) -> AsyncIterator[DispatcherSettings]:
    settings = local_settings(
        database_url=database_url, amqp_url=amqp_url, name_prefix=name_prefix, secret_keys=secret_keys
    ).model_copy(update={"jobs_interval": 0.05})
    async with dispatching(settings):
        yield settings


async def ask(broker: Broker, shop: Shop, command: str, data: Mapping[str, Any]) -> Answer:
    return await Asker(broker).ask("dispatcher.commands", command, store_id=shop.id, actor="key:test", data=data)


def ago(**back: float) -> str:
    return (datetime.now(UTC) - timedelta(**back)).isoformat()


def everything(**more: object) -> dict[str, object]:
    return {"from": ago(hours=1), "to": ago(hours=-1), **more}


async def failed(broker: Broker, shop: Shop, count: int, path: str = "/hook") -> dict[UUID, bytes]:
    """Deliveries that failed, by their ids; whoever sends them again finds the receiver well."""
    shop.receiver.statuses[path] = 500
    await publish(broker, *(event(shop.id, sequence=n, score=n % 100) for n in range(count)))
    received = [await shop.receiver.next() for _ in range(count)]
    await shop.idle()
    shop.receiver.statuses.clear()
    return {each.delivery: each.body for each in received}


async def job(shop: Shop, job_id: str) -> asyncpg.Record:
    return await eventually(
        lambda: shop.pool.fetchrow(
            "SELECT * FROM dispatcher.jobs WHERE id = $1 AND finished_at IS NOT NULL", UUID(job_id)
        )
    )


async def test_one_delivery_is_made_once_more_under_its_id_with_its_body(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    await shop.endpoint()
    ((delivery_id, body),) = (await failed(broker, shop, 1)).items()
    assert (await ask(broker, shop, "delivery.retry", {"id": str(delivery_id)})).refusal is None
    again = await receiver.next()
    logged = await shop.finished(delivery_id)
    assert (again.delivery, again.body) == (delivery_id, body)
    assert (logged["status"], logged["attempts"]) == ("delivered", 2)
    assert [row["number"] for row in await shop.attempts(delivery_id)] == [1, 2]


async def test_a_delivery_that_is_not_there_cannot_be_retried(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop
) -> None:
    refusal = (await ask(broker, shop, "delivery.retry", {"id": str(uuid7())})).refusal
    assert refusal is not None
    assert refusal.status == 404


async def test_what_went_to_a_deleted_endpoint_is_not_asked_for_again_and_keeps_what_came_of_it(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint = await shop.endpoint()
    await publish(broker, event(shop.id))
    delivery_id = (await receiver.next()).delivery
    await shop.idle()
    assert (await ask(broker, shop, "webhook.delete", {"id": str(endpoint)})).refusal is None

    refusal = (await ask(broker, shop, "delivery.retry", {"id": str(delivery_id)})).refusal
    assert refusal is not None
    assert (refusal.status, "its endpoint was deleted" in refusal.message) == (409, True)
    counted = await ask(broker, shop, "deliveries.replay", everything(status="delivered", dry_run=True))
    assert counted.body == {"job_id": None, "count": 0, "skipped": 0}
    assert (await shop.finished(delivery_id))["status"] == "delivered"


async def switch(broker: Broker, shop: Shop, endpoint_id: UUID, *, on: bool) -> None:
    asked = {"id": str(endpoint_id), "fields": {"enabled": on}}
    assert (await ask(broker, shop, "webhook.update", asked)).refusal is None


async def test_what_goes_to_an_endpoint_that_is_off_is_asked_for_again_only_once_that_is_on(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint()
    (delivery_id,) = await failed(broker, shop, 1)
    await switch(broker, shop, endpoint_id, on=False)
    to_it = everything(webhook_id=str(endpoint_id))
    for command, data in (
        ("delivery.retry", {"id": str(delivery_id)}),
        ("deliveries.replay", to_it),
        ("deliveries.replay", {**to_it, "dry_run": True}),
    ):
        refusal = (await ask(broker, shop, command, data)).refusal
        assert refusal is not None
        assert (refusal.status, refusal.message) == (409, "The endpoint is off: switch it on first.")
    assert (await shop.finished(delivery_id))["status"] == "failed"

    await switch(broker, shop, endpoint_id, on=True)
    assert (await ask(broker, shop, "delivery.retry", {"id": str(delivery_id)})).refusal is None
    assert (await receiver.next()).delivery == delivery_id


async def test_a_replay_leaves_out_what_goes_to_endpoints_that_are_off_and_says_how_many(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    on, off = await shop.endpoint("/on"), await shop.endpoint("/off")
    receiver.statuses |= {"/on": 500, "/off": 500}
    await publish(broker, *(event(shop.id, sequence=n, score=n) for n in range(3)))
    for _ in range(6):
        await receiver.next()
    await shop.idle()
    receiver.statuses.clear()
    await switch(broker, shop, off, on=False)

    dry = (await ask(broker, shop, "deliveries.replay", everything(dry_run=True))).body
    assert dry == {"job_id": None, "count": 3, "skipped": 3}
    made = (await ask(broker, shop, "deliveries.replay", everything(rate=1000))).body
    assert {(await receiver.next()).headers["X-TrustLens-Webhook-ID"] for _ in range(3)} == {str(on)}
    done = await job(shop, made["job_id"])
    assert (made["skipped"], done["state"], done["done"]) == (3, "done", 3)
    assert json.loads(done["params"])["skipped"] == 3
    kept = await shop.pool.fetch("SELECT status FROM dispatcher.deliveries WHERE endpoint_id = $1", off)
    assert [row["status"] for row in kept] == ["failed"] * 3


@pytest.mark.parametrize(
    ("wrong", "params"),
    [
        ({"status": ["failed", "lost"]}, {"status.1"}),
        ({"event": "nonsense"}, {"event"}),
        ({"to": "2026-01-01T00:00:00Z"}, {"to"}),
    ],
)
async def test_what_cannot_be_replayed_is_refused_by_its_field(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, wrong: dict[str, object], params: set[str]
) -> None:
    refusal = (await ask(broker, shop, "deliveries.replay", everything() | wrong)).refusal
    assert refusal is not None
    assert set(refusal.params) == params


async def test_a_replay_makes_each_chosen_delivery_once_more_under_its_id(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    wanted = await shop.endpoint()
    chosen = await failed(broker, shop, 30)
    await shop.endpoint("/other")
    await publish(broker, event(shop.id, sequence=99, score=99))
    assert {(await receiver.next()).path for _ in range(2)} == {"/hook", "/other"}
    await shop.idle()

    asked = everything(webhook_id=str(wanted), event="score_updated", rate=1000)
    dry = (await ask(broker, shop, "deliveries.replay", {**asked, "dry_run": True})).body
    assert dry == {"job_id": None, "count": 30, "skipped": 0}
    assert receiver.nothing_more()
    made = (await ask(broker, shop, "deliveries.replay", asked)).body
    again = [await receiver.next() for _ in range(30)]
    done = await job(shop, made["job_id"])
    await shop.idle()
    assert {each.delivery: each.body for each in again} == chosen
    assert (done["state"], done["done"], done["total"]) == ("done", 30, 30)
    assert receiver.nothing_more()


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 3),
        ({"status": "delivered"}, 1),
        ({"status": ["delivered", "failed"]}, 4),
        ({"status": "suppressed"}, 0),
        ({"event": "customer_blocked"}, 0),
        ({"customer": "ab" * 32}, 3),
        ({"customer": "cd" * 32}, 0),
        ({"webhook_id": str(uuid7())}, 0),
        ({"to": ago(minutes=30)}, 0),
    ],
)
async def test_a_replay_takes_exactly_what_its_filter_names(
    dispatcher: DispatcherSettings,
    broker: Broker,
    shop: Shop,
    receiver: Receiver,
    filters: dict[str, object],
    count: int,
) -> None:
    await shop.endpoint()
    await failed(broker, shop, 3)
    await publish(broker, event(shop.id, sequence=50, score=50))
    await receiver.next()
    await shop.idle()
    asked = {**everything(dry_run=True), **filters}
    assert (await ask(broker, shop, "deliveries.replay", asked)).body["count"] == count


async def test_a_replay_can_be_cancelled_and_then_sends_no_more(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    await shop.endpoint()
    await failed(broker, shop, 40)
    made = (await ask(broker, shop, "deliveries.replay", everything(rate=2))).body
    await receiver.next()
    assert (await ask(broker, shop, "job.cancel", {"job_id": made["job_id"]})).refusal is None
    done = await job(shop, made["job_id"])
    assert done["state"] == "cancelled"
    assert done["done"] < 40
    asked_again = await shop.pool.fetchval("SELECT count(*) FROM dispatcher.deliveries WHERE asked")
    assert asked_again == done["done"] <= 20


async def test_pages_are_due_one_after_the_other_at_the_rate_and_hardly_ahead_of_it(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    await shop.endpoint()
    await failed(broker, shop, 25)
    asked = Replay.model_validate(everything(rate=2))
    made = Job(uuid7(), shop.id, "replay", params=replay.params(asked, skipped=0))
    clock = Clock(begin := datetime.now(UTC) + timedelta(minutes=1))
    due: list[datetime] = []
    pages = waits = 0
    for _ in range(60):
        async with shop.pool.acquire() as connection, connection.transaction():
            after = await replay.page(Transaction(connection), made, clock=clock)
        rows = await shop.pool.fetch("SELECT due_at FROM dispatcher.deliveries WHERE asked ORDER BY due_at")
        due = [row["due_at"] for row in rows]
        if after is None:
            break
        waits += after == made
        pages += after != made
        made = after
        clock.forward(seconds=1)
        assert not due or due[-1] <= clock() + 3 * replay.AHEAD
    assert (pages, len(due)) == (3, 25)
    assert waits
    assert all(abs((at - begin).total_seconds() - n / 2) < 0.01 for n, at in enumerate(due, 1))


async def test_a_delivery_under_way_is_not_asked_for_a_second_time(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint()
    told = event(shop.id)
    refusals: list[int] = []

    async def ask_meanwhile() -> None:
        answer = await ask(broker, shop, "delivery.retry", {"id": str(derived(told.id, endpoint_id))})
        assert answer.refusal is not None
        refusals.append(answer.refusal.status)

    receiver.before_answer = ask_meanwhile
    await publish(broker, told)
    await receiver.next()
    await shop.idle()
    assert refusals == [409]
    assert receiver.nothing_more()


async def test_what_is_asked_for_at_the_same_moment_is_left_to_whoever_asked_first(shop: Shop) -> None:
    now = datetime.now(UTC)
    first, second = [
        await delivery_rows.insert_delivery(shop.pool, shop.id, recorded_at=now + timedelta(seconds=n), status="failed")
        for n in range(2)
    ]
    asked = Replay.model_validate(everything())

    async def page() -> list[UUID]:
        async with shop.pool.acquire() as other:
            found = await store.ask_page_again(other, shop.id, asked, after=(None, None), begin=now, limit=9)
        return [delivery_id for _, delivery_id in found]

    async with shop.pool.acquire() as connection:
        async with connection.transaction():
            assert await store.ask_again(connection, shop.id, first, now=now) == "due"
            paging = asyncio.create_task(page())
            await eventually(
                lambda: shop.pool.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock')"
                )
            )
        assert await paging == [second]
