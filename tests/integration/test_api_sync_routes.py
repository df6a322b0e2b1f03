"""/store/connect and /store/sync: jobs are queued, once, where they can be done; /store tells how it stands."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore, save_settings
from api.sync.store import find_standing
from cli.jobs import find_unfinished
from shared.secrets import Vault
from support.api_client import BASE, ApiClient, serving

Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

KEYS = {"key": "ck_1", "secret": "cs_1"}
DELIVERY = "https://trustlens.example/ingest"
ASKED: list[tuple[str, dict[str, str]]] = [("connect", {"delivery_url": DELIVERY}), ("sync", {})]


@pytest.fixture
async def reachable(api: ApiClient, pool: asyncpg.Pool, vault: Vault) -> ApiClient:
    await save_settings(pool, vault, api.store.id, {"woocommerce": KEYS})
    return api


@pytest.mark.parametrize(("path", "body"), ASKED)
async def test_without_a_key_of_the_store_nothing_is_queued(api: ApiClient, path: str, body: object) -> None:
    answer = await api.post(f"/store/{path}", json=body)
    assert (answer.status, answer.json["code"]) == (409, "trustlens_no_credentials")


async def test_a_store_at_an_address_that_may_not_be_called_is_refused(
    reachable: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    await save_settings(pool, vault, reachable.store.id, {"url": "https://127.0.0.1"})
    answer = await reachable.post("/store/sync", json={})
    assert (answer.status, answer.json["code"]) == (409, "trustlens_no_url")
    assert "loopback" in answer.json["message"]


async def test_a_sync_asked_for_twice_is_one_job_and_of_another_span_another(reachable: ApiClient) -> None:
    first, again = await asyncio.gather(*(reachable.post("/store/sync") for _ in range(2)))
    other = await reachable.post("/store/sync", json={"after": "2025-01-01"})

    assert (first.status, first.json) == (202, again.json)
    assert other.json != first.json
    job = (await reachable.get(f"/jobs/{other.json['job_id']}")).json
    assert (job["kind"], job["state"], job["done"]) == ("sync", "queued", 0)


async def test_a_sync_that_was_given_up_is_gone_on_with_and_one_that_broke_begins_again(
    reachable: ApiClient, pool: asyncpg.Pool
) -> None:
    for result, position, done in (('{"requests": 3}', "third page", 200), (None, None, 0)):
        old = UUID((await reachable.post("/store/sync")).json["job_id"])
        await pool.execute(
            "UPDATE api.jobs SET state = 'failed', position = 'third page', done = 200, result = $2 WHERE id = $1",
            old,
            result,
        )
        new = UUID((await reachable.post("/store/sync")).json["job_id"])
        row = await pool.fetchrow("SELECT state, position, done FROM api.jobs WHERE id = $1", new)
        assert (new != old, *row) == (True, "queued", position, done)


async def test_a_connect_that_tries_another_key_ends_the_one_before_and_of_two_alike_there_is_one(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    async def asked(secret: str) -> str:
        given = {"delivery_url": DELIVERY, "url": "https://shop.example", "woocommerce": {**KEYS, "secret": secret}}
        return str((await api.post("/store/connect", json=given)).json["job_id"])

    wrong = await asked("cs_wrong")
    first, again = await asyncio.gather(asked("cs_1"), asked("cs_1"))

    assert wrong != first == again
    assert [(await api.get(f"/jobs/{job}")).json["state"] for job in (wrong, first)] == ["cancelled", "queued"]
    await api.request("DELETE", f"{BASE}/jobs/{first}")
    assert await pool.fetchval("SELECT count(*) FROM api.jobs WHERE params ? 'access'") == 0


async def test_jobs_that_are_not_over_are_found_for_the_command_line(reachable: ApiClient, pool: asyncpg.Pool) -> None:
    asked = [(await reachable.post(f"/store/{path}", json=body)).json["job_id"] for path, body in ASKED]
    await reachable.request("DELETE", f"{BASE}/jobs/{asked[0]}")
    async with pool.acquire() as connection:
        found = await find_unfinished(connection)
    assert [(str(job.id), job.kind, job.state) for _, job in found] == [(asked[1], "sync", "queued")]


async def test_a_shop_that_may_not_be_called_is_refused_by_its_field(reachable: ApiClient) -> None:
    given = {"delivery_url": DELIVERY, "url": "https://127.0.0.1"}
    answer = await reachable.post("/store/connect", json=given)
    assert (answer.status, list(answer.json["data"]["params"])) == (400, ["url"])


async def test_a_job_of_the_api_is_cancelled_by_it_and_takes_an_admin(reachable: ApiClient) -> None:
    job_id = (await reachable.post("/store/connect", json={"delivery_url": DELIVERY})).json["job_id"]
    writer = (await reachable.post("/keys", json={"name": "crm", "scopes": ["read", "write"]})).json["key"]

    assert (await reachable.request("DELETE", f"{BASE}/jobs/{job_id}", key=writer)).status == 403
    assert (await reachable.request("DELETE", f"{BASE}/jobs/{job_id}")).json["state"] == "cancelled"


async def test_webhooks_to_plain_http_are_for_local_stacks(reachable: ApiClient, api_settings: ApiSettings) -> None:
    body = {"delivery_url": "http://127.0.0.1:8080/ingest"}
    assert list((await reachable.post("/store/connect", json=body)).json["data"]["params"]) == ["delivery_url"]
    async with serving(api_settings.model_copy(update={"allow_http": True}), reachable.store) as local:
        assert (await local.post("/store/connect", json=body)).status == 202


async def test_the_time_of_the_last_webhook_is_written_at_the_latest_at_the_end(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool
) -> None:
    assert (await find_standing(pool, api_store.id)).last_webhook_at is None
    before = datetime.now(UTC)
    async with serving(api_settings, api_store) as api:
        await api.deliver(json.dumps({"id": 7}).encode(), topic="order.deleted")
    told = (await find_standing(pool, api_store.id)).last_webhook_at
    assert told
    assert before <= told <= datetime.now(UTC)


async def test_what_became_of_a_job_is_forgotten_after_a_month(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool, until: Until
) -> None:
    for days in (31, 29, None):
        await pool.execute(
            "INSERT INTO api.jobs (id, store_id, kind, params, state, created_at, finished_at)"
            " SELECT gen_random_uuid(), $1, 'sync', '{}', 'done', now() - interval '1 year',"
            " now() - make_interval(days => $2)",
            api_store.id,
            days,
        )

    async def forgotten() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM api.jobs") == 2)

    async with serving(api_settings, api_store):
        await until(forgotten)
    assert await pool.fetchval("SELECT count(*) FROM api.jobs WHERE finished_at < now() - interval '30 days'") == 0
