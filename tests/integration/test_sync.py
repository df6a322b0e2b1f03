"""A store's past is read whole and once, whatever the store answers with; what cannot be read is told in words."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore, save_settings
from scorer.__main__ import run as run_scorer
from scorer.settings import ScorerSettings
from shared.broker import Broker
from shared.secrets import Vault
from support import fake_store
from support.api_client import BASE
from support.queues import depth
from support.syncing import Synced, opened, orders, sync_settings, syncing

Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

MANY = 230
"""Orders: three pages."""
PRODUCT = {"id": 60, "type": "simple", "categories": [{"id": 1, "slug": "shoes", "name": "Shoes"}]}
COUPON = {"id": 9, "code": "Welcome10", "usage_limit_per_user": 1, "used_by": ["jane@example.com"]}


@pytest.fixture
async def store(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool, vault: Vault
) -> AsyncIterator[Synced]:
    async with opened(api_settings, api_store, pool, vault) as store:
        await store.unpolled()
        yield store


@pytest.fixture
async def stocked(store: Synced) -> Synced:
    await store.fake.control("_orders", orders(range(1, MANY + 1)))
    await store.fake.control("_products", [PRODUCT])
    await store.fake.control("_coupons", [COUPON])
    return store


@asynccontextmanager
async def scoring(common: ApiSettings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    given = common.model_dump(include={"database_url", "amqp_url", "name_prefix", "secret_keys", "pool_size"})
    scorer = asyncio.create_task(run_scorer(ScorerSettings(**given), stop))
    yield
    stop.set()
    await scorer


def counts(books: dict[str, Any]) -> tuple[int, int, int, int]:
    assert books["seen"] == books["new"] + books["changed"] + books["unchanged"] + sum(
        skipped["count"] for skipped in books["skipped"]
    )
    return books["seen"], books["new"], books["changed"], books["unchanged"]


async def test_a_past_is_read_whole_into_the_quiet_lane_with_books(
    stocked: Synced, api_settings: ApiSettings, broker: Broker, until: Until
) -> None:
    async with syncing(sync_settings(api_settings)):
        job = await stocked.sync()

    assert (job["state"], job["error"]) == ("done", None)
    assert counts(job["result"]["orders"]) == (MANY, MANY, 0, 0)
    assert counts(job["result"]["products"]) == counts(job["result"]["coupons"]) == (1, 1, 0, 0)
    assert (job["total"], job["result"]["repeated"]) == (MANY + 2, 0)
    inputs = await stocked.inputs()
    assert len(inputs) == len(set(inputs)) == MANY + 2
    assert [topic for topic, _ in inputs[:2]] == ["product", "coupon"]

    async def quiet() -> bool:
        return await depth(broker, "scorer.backfill") == MANY + 2

    await until(quiet)
    assert await depth(broker, "scorer.facts") == 0
    kept = await stocked.pool.fetchval("SELECT string_agg(encode(body, 'escape'), '') FROM api.raw_input")
    assert "jane@example.com" not in kept  # of a coupon's users


async def test_what_the_scorer_has_is_not_sent_again_and_what_changed_is(
    stocked: Synced, api_settings: ApiSettings, until: Until
) -> None:
    async with syncing(sync_settings(api_settings)), scoring(api_settings):
        await stocked.sync()
        await until(stocked.scored)
        again = await stocked.sync()
        await stocked.fake.control("_orders", [{"id": 7, "status": "completed"}])
        changed = await stocked.sync()

    assert counts(again["result"]["orders"]) == (MANY, 0, 0, MANY)
    assert counts(again["result"]["products"]) == counts(again["result"]["coupons"]) == (1, 0, 0, 1)
    assert counts(changed["result"]["orders"]) == (MANY, 0, 1, MANY - 1)
    assert len(await stocked.inputs()) == MANY + 3


QUIRKS: list[tuple[dict[str, Any], int]] = [
    ({"status": 500, "times": 3}, 3),
    ({"status": 503, "times": 1, "retry_after": 1}, 1),
    ({"status": 429, "times": 2}, 2),
    ({"html": True, "times": 2}, 2),
    ({"html": True, "status": 403, "times": 2}, 2),
    ({"php_noise": True}, 0),
    ({"cut": True, "times": 2}, 2),
    ({"repeat_page": 9}, 1),
    ({"short_pages": 3}, 0),
    ({"slow": 2.5, "times": 1}, 1),  # last: the store goes on with what nobody waits for
]
"""With how many requests have to be made again."""


async def test_a_store_with_quirks_gives_the_same(stocked: Synced, api_settings: ApiSettings, vault: Vault) -> None:
    async with syncing(sync_settings(api_settings, store_seconds=2)):
        for quirks, again in [({"lost": True, "times": 1}, None), *QUIRKS]:
            another = await stocked.another(vault)
            await another.unpolled()
            asked = len(await stocked.fake.requests())
            await stocked.fake.quirks(**quirks)
            job = await another.sync()

            assert (job["state"], counts(job["result"]["orders"])) == ("done", (MANY, MANY, 0, 0)), quirks
            inputs = await another.inputs()
            assert len(inputs) == len(set(inputs)) == MANY + 2, quirks
            if again is not None:  # the library asks again by itself where a connection that it kept is closed
                assert job["result"]["requests"] == len(await stocked.fake.requests()) - asked, quirks
                assert job["result"]["repeated"] == again, quirks


async def test_a_sync_that_waits_for_the_store_says_why_until_it_gets_on(
    stocked: Synced, api_settings: ApiSettings
) -> None:
    await stocked.fake.quirks(status=500)
    async with syncing(sync_settings(api_settings, sync_tries=12)):
        job_id = await stocked.ask("sync")
        while not (waits := await stocked.job(job_id))["error"]:  # noqa: ASYNC110  # as of a row, nothing tells of it
            await asyncio.sleep(0.02)
        await stocked.fake.quirks()
        done = await stocked.over(job_id)
    assert (waits["state"], waits["error"]) == ("running", "The store answers with an error of its own (500).")
    assert (done["state"], done["error"]) == ("done", None)


async def test_a_store_that_stays_broken_is_given_up_in_words_and_gone_on_with_later(
    stocked: Synced, api_settings: ApiSettings
) -> None:
    async with syncing(sync_settings(api_settings, sync_tries=2, sync_rate=10)):
        job_id = await stocked.ask("sync")
        while (await stocked.job(job_id))["done"] < 100:  # noqa: ASYNC110  # as of a row, nothing tells of it
            await asyncio.sleep(0.01)
        await stocked.fake.quirks(status=500)
        failed = await stocked.over(job_id)
        before = len(await stocked.fake.requests())
        await stocked.fake.quirks()
        done = await stocked.sync()

    assert (failed["state"], failed["error"]) == (
        "failed",
        "The store answers with an error of its own (500). We asked 2 times.",
    )
    assert counts(failed["result"]["orders"])[0] == failed["done"] - 2 < MANY
    assert (done["state"], counts(done["result"]["orders"])) == ("done", (MANY, MANY, 0, 0))
    inputs = await stocked.inputs()
    assert len(inputs) == len(set(inputs)) == MANY + 2
    assert len(await stocked.fake.requests()) - before < job_requests(done)


def job_requests(job: dict[str, Any]) -> int:
    return int(job["result"]["requests"])


async def test_a_wrong_key_is_told_at_once(
    stocked: Synced, api_settings: ApiSettings, pool: asyncpg.Pool, vault: Vault
) -> None:
    await save_settings(pool, vault, stocked.api.store.id, {"woocommerce": {"key": "ck_fake", "secret": "cs_wrong"}})
    async with syncing(sync_settings(api_settings)):
        job = await stocked.sync()
    assert job["state"] == "failed"
    assert job["error"].startswith("The store refuses the key (401: Consumer secret is invalid.): make a key")
    assert len(await stocked.fake.requests()) == 1


async def test_a_store_in_a_network_that_we_may_not_call_is_not_called(
    stocked: Synced, api_settings: ApiSettings
) -> None:
    async with syncing(sync_settings(api_settings, allowed_targets="10.0.0.0/8")):
        job = await stocked.sync()
    assert (job["state"], "loopback" in job["error"]) == ("failed", True)
    assert await stocked.fake.requests() == []


async def test_an_order_that_cannot_be_read_is_skipped_with_its_reason_and_stops_no_other(
    store: Synced, api_settings: ApiSettings
) -> None:
    await store.fake.control("_orders", orders([1, 2, 3, 4]))
    await store.fake.control("_orders", [{"id": 2, "total": "plenty"}, {"id": 3, "currency": None}])
    async with syncing(sync_settings(api_settings)):
        job = await store.sync()
    books = job["result"]["orders"]
    assert counts(books) == (4, 2, 0, 0)
    assert [(skipped["count"], skipped["ids"]) for skipped in books["skipped"]] == [(1, [2]), (1, [3])]
    assert books["skipped"][0]["reason"].startswith("total ")


async def test_what_no_text_can_hold_in_an_order_ends_neither_the_sync_nor_the_process(
    store: Synced, api_settings: ApiSettings
) -> None:
    await store.fake.control("_orders", orders([1]))
    nan = '[{"id": 2, "meta_data": [{"key": "x", "value": {"\\u0000": NaN}}]}]'
    async with store.fake.session.post(f"{store.fake.url}/_orders", data=nan):
        pass
    async with syncing(sync_settings(api_settings)):
        job = await store.sync()
    assert (job["state"], counts(job["result"]["orders"])) == ("done", (2, 1, 0, 0))


async def test_a_product_that_is_moved_and_moved_back_is_told_each_time(
    stocked: Synced, api_settings: ApiSettings, until: Until
) -> None:
    async with syncing(sync_settings(api_settings)), scoring(api_settings):
        told = []
        for hour, slug in enumerate(["shoes", "boots", "shoes"]):
            moved = {"categories": [{"slug": slug, "name": slug}], "date_modified_gmt": f"2026-06-01T{hour:02}:00:00"}
            await stocked.fake.control("_products", [PRODUCT | moved])
            told.append(counts((await stocked.sync())["result"]["products"]))
            await until(stocked.scored)
    assert told == [(1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0)]


async def test_a_sync_that_another_shop_gave_up_is_not_gone_on_with(
    stocked: Synced, api_settings: ApiSettings, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with fake_store.running() as other, syncing(sync_settings(api_settings, sync_tries=1, sync_rate=10)):
        await other.control("_orders", orders(range(1, 11)))
        job_id = await stocked.ask("sync")
        while (await stocked.job(job_id))["done"] < 100:  # noqa: ASYNC110  # as of a row, nothing tells of it
            await asyncio.sleep(0.01)
        await stocked.fake.quirks(status=500)
        assert (await stocked.over(job_id))["state"] == "failed"
        await save_settings(pool, vault, stocked.api.store.id, {"url": other.url})
        moved = await stocked.sync()
    assert (moved["state"], counts(moved["result"]["orders"])[0]) == ("done", 10)


async def test_a_sync_under_way_ends_where_the_shop_moves(
    stocked: Synced, api_settings: ApiSettings, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with syncing(sync_settings(api_settings, sync_rate=5)):
        job_id = await stocked.ask("sync")
        while (await stocked.job(job_id))["done"] < 2:  # noqa: ASYNC110  # as of a row, nothing tells of it
            await asyncio.sleep(0.01)
        await save_settings(
            pool, vault, stocked.api.store.id, {"url": stocked.fake.url.replace("127.0.0.1", "127.0.0.2")}
        )
        job = await stocked.over(job_id)
    assert (job["state"], job["error"]) == ("failed", "The store has another URL by now: sync it anew.")


async def test_a_store_with_many_syncs_holds_up_no_other(
    stocked: Synced, api_settings: ApiSettings, vault: Vault
) -> None:
    async with fake_store.running() as hanging:
        await hanging.quirks(slow=60)
        stuck = await stocked.another(vault, hanging)
        await stuck.unpolled()
        async with syncing(sync_settings(api_settings, store_seconds=60, stores_at_once=2)):
            for year in range(2020, 2024):
                await stuck.ask("sync", after=f"{year}-01-01")
            while not await hanging.requests():  # noqa: ASYNC110  # the fake store tells nobody
                await asyncio.sleep(0.02)
            async with asyncio.timeout(20):
                assert (await stocked.sync())["state"] == "done"


async def test_who_stops_gives_its_syncs_back(stocked: Synced, api_settings: ApiSettings) -> None:
    await stocked.fake.quirks(slow=60)
    async with syncing(sync_settings(api_settings, store_seconds=120)):
        job_id = await stocked.ask("sync")
        while not await stocked.fake.requests():  # noqa: ASYNC110  # the fake store tells nobody
            await asyncio.sleep(0.02)
    await stocked.fake.quirks()
    async with syncing(sync_settings(api_settings)), asyncio.timeout(20):
        assert (await stocked.over(job_id))["state"] == "done"


async def test_only_orders_of_the_span_are_read(store: Synced, api_settings: ApiSettings) -> None:
    for n, year in ((1, 2024), (2, 2025), (3, 2026)):
        times: dict[str, Any] = {
            "date_created_gmt": f"{year}-05-01T00:00:00",
            "date_modified_gmt": f"{year}-05-01T00:00:00",
        }
        await store.fake.control("_orders", orders([n], **times))
    async with syncing(sync_settings(api_settings)):
        await store.sync(after="2025-01-01", before="2026-01-01")
    assert await store.inputs() == [("order", 2)]


async def test_a_killed_process_s_job_is_gone_on_with_and_its_books_are_right(
    stocked: Synced, api_settings: ApiSettings
) -> None:
    await stocked.fake.quirks(slow=0.1)
    settings = sync_settings(api_settings).model_dump(mode="json")
    variables = {f"TRUSTLENS_{name}".upper(): str(value) for name, value in settings.items() if value != []}
    environment = {**os.environ, **variables, "TRUSTLENS_ALLOWED_TARGETS": "127.0.0.0/8"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "api.sync", env=environment)
    job_id = await stocked.ask("sync")
    while (await stocked.job(job_id))["done"] < 100:  # noqa: ASYNC110  # as of a row, nothing tells of it
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert (await stocked.job(job_id))["state"] == "running"

    await stocked.pool.execute("UPDATE api.jobs SET leased_until = now()")
    async with syncing(sync_settings(api_settings)):
        job = await stocked.over(job_id)
    assert (job["state"], counts(job["result"]["orders"])) == ("done", (MANY, MANY, 0, 0))
    inputs = await stocked.inputs()
    assert len(inputs) == len(set(inputs)) == MANY + 2


async def test_a_sync_is_cancelled_while_it_waits_for_the_store(
    stocked: Synced, api_settings: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared import jobs

    monkeypatch.setattr(jobs, "RENEW_EVERY", 0.05)
    await stocked.fake.quirks(slow=60)
    async with syncing(sync_settings(api_settings, store_seconds=120)):
        job_id = await stocked.ask("sync")
        while not await stocked.fake.requests():  # noqa: ASYNC110  # the fake store tells nobody
            await asyncio.sleep(0.02)
        cancelled = await stocked.api.request("DELETE", f"{BASE}/jobs/{job_id}")
    assert cancelled.json["state"] == "cancelled"
    assert await stocked.inputs() == []


async def test_a_store_that_hangs_holds_up_no_other(stocked: Synced, api_settings: ApiSettings, vault: Vault) -> None:
    async with fake_store.running() as hanging, syncing(sync_settings(api_settings, store_seconds=60)):
        await hanging.quirks(slow=60)
        stuck = await stocked.another(vault, hanging)
        job_id = await stuck.ask("sync")
        assert (await stocked.sync())["state"] == "done"
        assert (await stuck.job(job_id))["state"] == "running"
