"""What a store's webhooks missed is found by polls; the webhooks are made, kept, and switched on again."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from api.ingest.topics import READ
from api.settings import ApiSettings
from api.stores import CreatedStore, find_rest_access, save_settings
from api.sync.settings import SyncSettings
from shared.broker import Broker
from shared.secrets import Vault
from support import fake_store
from support.fake_store import KEY, SECRET
from support.queues import depth
from support.syncing import Synced, ago, opened, orders, sync_settings, syncing

Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
async def store(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool, vault: Vault
) -> AsyncIterator[Synced]:
    async with opened(api_settings, api_store, pool, vault) as store:
        yield store


@pytest.fixture
def often(api_settings: ApiSettings) -> SyncSettings:
    """Polls again and again, and reaches back over all that the tests make."""
    return sync_settings(api_settings, catch_up_seconds=0.2, overlap_seconds=7200)


# Connecting -----------------------------------------------------------------------------------------------------------


async def webhooks(store: Synced) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await store.fake.ask("GET", "webhooks?per_page=100"))[1]
    return listed


async def test_connecting_makes_a_webhook_for_each_topic_and_what_the_store_sends_by_them_is_taken(
    store: Synced, api_settings: ApiSettings, pool: asyncpg.Pool
) -> None:
    async with syncing(sync_settings(api_settings)):
        job = await store.connect()
        await store.fake.quirks(hold=True)
        await store.fake.control("_orders", orders([1], at=ago(hours=1)))
        sent = await store.fake.control("_webhooks")

    assert job["state"] == "done"
    assert {(made["topic"], made["status"]) for made in job["result"]["webhooks"]} == {
        (topic, "made") for topic in READ
    }
    made = await webhooks(store)
    assert {(w["name"], w["delivery_url"], w["api_version"]) for w in made} == {
        (f"TrustLens: {topic}", store.delivery_url, "wp_api_v3") for topic in READ
    }
    assert [row["status"] for row in sent] == [202]
    assert await pool.fetchval("SELECT count(*) FROM api.raw_input WHERE source = 'woocommerce'") == 1


async def test_connecting_again_keeps_what_is_there_and_switches_on_what_is_off(
    store: Synced, api_settings: ApiSettings
) -> None:
    async with syncing(sync_settings(api_settings)):
        await store.connect()
        await store.fake.ask("PUT", "webhooks/2", {"status": "paused", "secret": "another"})
        again = await store.connect()
        await store.fake.quirks(hold=True)
        await store.fake.control("_orders", orders([1], at=ago(hours=1)))
        await store.fake.control("_orders", [{"id": 1, "status": "completed"}])
        sent = await store.fake.control("_webhooks")

    statuses = [webhook["status"] for webhook in again["result"]["webhooks"]]
    assert (statuses.count("kept"), statuses.count("enabled")) == (len(READ) - 1, 1)
    assert len(await webhooks(store)) == len(READ)
    assert [row["status"] for row in sent] == [202, 202]  # with our secret again


async def test_a_webhook_whose_making_nobody_heard_of_is_not_made_twice(
    store: Synced, api_settings: ApiSettings
) -> None:
    await store.fake.quirks(method="POST", times=3, lost=True)
    async with syncing(sync_settings(api_settings)):
        job = await store.connect()
    assert [webhook["status"] for webhook in job["result"]["webhooks"]] == ["made"] * len(READ)
    assert len(await webhooks(store)) == len(READ)


@pytest.mark.parametrize(("secret", "state", "kept"), [("cs_wrong", "failed", "cs_before"), (SECRET, "done", SECRET)])
async def test_a_key_is_saved_once_the_store_has_taken_it_and_kept_nowhere_else(
    store: Synced, api_settings: ApiSettings, pool: asyncpg.Pool, vault: Vault, secret: str, state: str, kept: str
) -> None:
    await save_settings(pool, vault, store.api.store.id, {"woocommerce": {"key": KEY, "secret": "cs_before"}})
    given = {"url": store.fake.url, "woocommerce": {"key": KEY, "secret": secret}}
    async with syncing(sync_settings(api_settings)):
        job = await store.over(await store.ask("connect", delivery_url=store.delivery_url, **given))

    access = await find_rest_access(pool, vault, store.api.store.id)
    assert (job["state"], access and access.secret) == (state, kept)
    params = json.loads(await pool.fetchval("SELECT params FROM api.jobs"))
    assert params == {"delivery_url": store.delivery_url}


async def test_after_a_connect_a_store_whose_last_poll_failed_is_polled_again(
    store: Synced, api_settings: ApiSettings, pool: asyncpg.Pool
) -> None:
    await store.unpolled()
    await pool.execute("UPDATE api.syncs SET poll_error = 'The store refuses the key.'")
    async with syncing(sync_settings(api_settings)):
        await store.connect()
        row = await store.polled()
    assert row["poll_error"] is None


async def test_a_store_that_is_busy_is_not_asked_again_before_it_says_so(
    store: Synced, api_settings: ApiSettings
) -> None:
    await store.fake.quirks(method="POST", status=503, times=1, retry_after=1)
    began = asyncio.get_running_loop().time()
    async with syncing(sync_settings(api_settings)):
        job = await store.connect()
    assert (job["state"], asyncio.get_running_loop().time() - began > 1) == ("done", True)
    assert len(await webhooks(store)) == len(READ)


async def test_webhooks_behind_a_short_page_of_others_are_not_made_again(
    store: Synced, api_settings: ApiSettings
) -> None:
    other = {"topic": "order.created", "delivery_url": "http://127.0.0.1:9/x"}
    await asyncio.gather(*(store.fake.ask("POST", "webhooks", other) for _ in range(100)))
    async with syncing(sync_settings(api_settings)):
        await store.connect()
        await store.fake.quirks(short_pages=3)
        again = await store.connect()
    assert {webhook["status"] for webhook in again["result"]["webhooks"]} == {"kept"}


async def test_a_key_that_may_only_read_is_told_so(store: Synced, api_settings: ApiSettings) -> None:
    await store.fake.quirks(read_only=True)
    async with syncing(sync_settings(api_settings)):
        job = await store.connect()
    assert job["state"] == "failed"
    assert "does not have write permissions" in job["error"]
    assert job["result"] == {"webhooks": [], "error": job["error"]}


# Polls ----------------------------------------------------------------------------------------------------------------


async def test_the_first_poll_reads_the_last_day_and_calls_nothing_of_it_a_gap(
    store: Synced, often: SyncSettings, broker: Broker, until: Until
) -> None:
    await store.fake.control("_orders", [*orders([1], at=ago(hours=1)), *orders([2], at=ago(hours=30))])
    async with syncing(often):
        row = await store.polled()
    assert await store.inputs() == [("order", 1)]
    assert (row["gaps"], row["poll_error"], row["watermark"] is None) == (0, None, False)

    async def told() -> bool:
        return await depth(broker, "scorer.facts") == 1

    await until(told)


async def test_what_no_webhook_told_is_a_gap_once_and_what_one_told_is_none(
    store: Synced, often: SyncSettings, broker: Broker, until: Until
) -> None:
    old = orders([3], at=ago(minutes=10), date_created_gmt="2026-01-01T00:00:00")
    async with syncing(often):
        await store.connect()
        await store.polled()
        await store.fake.quirks(drop=1.0)
        await store.fake.control("_orders", [*orders([1, 2], at=ago(minutes=10)), *old])
        await store.fake.quirks()
        await store.fake.control("_orders", orders([4], at=ago(minutes=10)))  # the scorer never runs, but it is told
        row = await store.polled(3)
    assert (row["gaps"], row["last_gap_at"] is not None) == (3, True)
    assert sorted(await store.inputs()) == [("order", n) for n in (1, 2, 3, 4)]

    async def told() -> bool:
        return (await depth(broker, "scorer.facts"), await depth(broker, "scorer.backfill")) == (3 + 1, 1)

    await until(told)


async def test_an_order_in_the_trash_is_found_there_and_is_a_gap_unless_its_deletion_was_told(
    store: Synced, often: SyncSettings
) -> None:
    async with syncing(often):
        await store.polled()
        told = await store.api.deliver(json.dumps({"id": 2}).encode(), topic="order.deleted")
        await store.fake.control("_orders", orders([1, 2], at=ago(minutes=10), status="trash"))
        row = await store.polled(2)
    assert (told.status, row["gaps"]) == (202, 1)
    assert sorted(await store.inputs()) == [("order", 1), ("order", 2)]


async def test_a_change_that_a_webhook_still_has_time_to_tell_is_no_gap(store: Synced, often: SyncSettings) -> None:
    async with syncing(often):
        await store.polled()
        await store.fake.control("_orders", orders([1], at=ago(seconds=30)))
        row = await store.polled(2)
    assert (row["gaps"], await store.inputs()) == (0, [("order", 1)])


@pytest.mark.parametrize("hours", [-1, 1])
async def test_gaps_are_told_by_the_store_s_own_clock(store: Synced, often: SyncSettings, hours: int) -> None:
    recent = orders([1], at=ago(hours=-hours, seconds=30))  # a webhook has time yet
    old = orders([2, 3], at=ago(hours=-hours, minutes=10))
    await store.fake.quirks(clock=hours * 3600)
    async with syncing(often):
        await store.polled()
        await store.api.deliver(json.dumps(old[0]).encode(), topic="order.created")
        await store.fake.control("_orders", [*recent, *old])
        row = await store.polled(3)
    assert (row["gaps"], sorted(await store.inputs())) == (1, [("order", n) for n in (1, 2, 3)])


async def test_what_a_store_changes_after_its_clock_was_put_back_is_found(store: Synced, often: SyncSettings) -> None:
    async with syncing(often):
        await store.polled()
        await store.fake.quirks(clock=-3 * 3600)
        await store.fake.control("_orders", orders([1], at=ago(hours=3)))
        await store.polled(3)
    assert await store.inputs() == [("order", 1)]


async def test_a_poll_that_fails_tells_why_and_leaves_the_watermark(store: Synced, often: SyncSettings) -> None:
    async with syncing(often):
        before = await store.polled()
        await store.fake.quirks(status=500)
        failed = await store.polled(2)
        await store.fake.quirks()
        await store.fake.control("_orders", orders([1], at=ago(minutes=10)))
        after = await store.polled(2)
    assert failed["poll_error"] == "The store answers with an error of its own (500). We asked 3 times."
    assert failed["watermark"] <= before["watermark"] + timedelta(seconds=10)
    assert (after["poll_error"], after["gaps"]) == (None, 1)
    assert after["watermark"] > failed["watermark"]


async def test_a_webhook_that_the_store_gave_up_on_is_switched_on_and_one_that_somebody_paused_is_not(
    store: Synced, often: SyncSettings
) -> None:
    async with syncing(often):
        await store.connect()
        await store.fake.ask("PUT", "webhooks/1", {"status": "disabled"})
        await store.fake.ask("PUT", "webhooks/2", {"status": "paused"})
        await store.fake.ask("POST", "webhooks", {"topic": "order.created", "delivery_url": "http://127.0.0.1:9/x"})
        other = len(READ) + 1
        await store.fake.ask("PUT", f"webhooks/{other}", {"status": "disabled"})
        row = await store.polled(2)
        statuses = {webhook["id"]: webhook["status"] for webhook in await webhooks(store)}
    assert (statuses[1], statuses[2], statuses[other], row["poll_error"]) == ("active", "paused", "disabled", None)


async def test_webhooks_that_are_none_are_no_reason_to_stop(store: Synced, often: SyncSettings) -> None:
    async with syncing(often):
        await store.polled()
        for topic in ({}, {"topic": None}, {"topic": "a\0\ud800"}):
            made = (await store.fake.ask("POST", "webhooks", {**topic, "delivery_url": store.delivery_url}))[1]
            await store.fake.ask("PUT", f"webhooks/{made['id']}", {"status": "disabled"})
        on = await store.polled(2)
        await store.fake.ask("PUT", f"webhooks/{made['id']}", {"status": "disabled"})
        await store.fake.quirks(read_only=True)
        off = await store.polled(2)
    assert on["poll_error"] is None
    assert off["poll_error"].startswith("The webhook a is switched off in the store")


async def test_where_the_key_may_not_switch_a_webhook_on_it_is_said(store: Synced, often: SyncSettings) -> None:
    async with syncing(often):
        await store.connect()
        await store.fake.ask("PUT", "webhooks/1", {"status": "disabled"})
        await store.fake.quirks(read_only=True)
        row = await store.polled(2)
    topic = (await webhooks(store))[0]["topic"]
    assert row["poll_error"].startswith(f"The webhook {topic} is switched off in the store, and cannot be switched on")
    assert "write permissions" in row["poll_error"]
    assert row["watermark"] is not None


async def test_of_several_replicas_one_polls_a_store(store: Synced, api_settings: ApiSettings) -> None:
    async with AsyncExitStack() as replicas:
        for _ in range(3):
            await replicas.enter_async_context(syncing(sync_settings(api_settings, catch_up_seconds=60)))
        await store.polled()
    paths = [path.rpartition("/")[2] for _, path in await store.fake.requests()]
    assert sorted(paths) == ["coupons", "orders", "orders", "products", "webhooks"]


async def test_a_store_without_a_key_is_asked_nothing(store: Synced, often: SyncSettings, vault: Vault) -> None:
    other = await store.another(vault)
    await save_settings(store.pool, vault, other.api.store.id, {"woocommerce": None})
    async with syncing(often):
        await store.polled(2)
    polled = await store.pool.fetch("SELECT store_id FROM api.syncs")
    assert [row["store_id"] for row in polled] == [store.api.store.id]


async def test_a_store_that_hangs_holds_up_no_other_s_polls(store: Synced, often: SyncSettings, vault: Vault) -> None:
    async with fake_store.running() as hanging:
        await hanging.quirks(slow=60)
        stuck = await store.another(vault, hanging)
        async with syncing(often.model_copy(update={"store_seconds": 60})):
            await store.polled(4)
        row = await store.pool.fetchrow("SELECT * FROM api.syncs WHERE store_id = $1", stuck.api.store.id)
        assert len(await hanging.requests()) == 1
    assert (row["polled_at"], row["lease"]) == (None, None)  # given back at the end
