"""Who changed what, and who read what is personal, as the audit log tells it, over real HTTP."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote
from uuid import UUID

import asyncpg
import pytest

from api import audit
from api.settings import ApiSettings
from api.stores import CreatedStore, create_key
from integration.conftest import Until
from shared.broker import Broker
from shared.commands import Command, invalid
from shared.ids import uuid7
from shared.outbox import Transaction
from shared.secrets import Vault
from support.api_client import BASE, ApiClient, serving
from support.delivery_rows import insert_delivery, insert_endpoint
from support.owner import owning

HASH = "ab" * 32
MADE = str(uuid7())


async def entries(api: ApiClient, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get("/audit", params={"per_page": "100", **query})).json
    return found


async def told(api: ApiClient, **query: str) -> list[tuple[str, int | None]]:
    return [(entry["action"], entry["status"]) for entry in reversed(await entries(api, **query))]


async def insert_customer(pool: asyncpg.Pool, store_id: UUID) -> None:
    await pool.execute(
        "INSERT INTO scorer.customers (store_id, email_hash, email, created_at, updated_at)"
        " VALUES ($1, $2, 'jane@example.com', now(), now())",
        store_id,
        HASH,
    )


async def test_a_change_is_told_with_who_what_whence_when_and_its_end(api: ApiClient) -> None:
    made = (await api.post("/keys", json={"name": "Zendesk", "scopes": ["read"]})).json
    await api.request("DELETE", f"{BASE}/keys/{made['id']}")

    answer = await api.get("/audit")

    assert answer.headers["X-WP-Total"] == "2"
    revoked, created = answer.json
    assert list(created) == [
        "id", "at", "actor", "key_id", "key_name", "action", "objects", "address", "status",
    ]  # fmt: skip
    assert created["actor"] == f"key:{api.store.api_key[:11]}"
    assert created["key_name"] == "first key"
    assert abs(datetime.now(UTC) - datetime.fromisoformat(created["at"] + "+00:00")) < timedelta(minutes=1)
    assert (created["action"], created["objects"], created["status"]) == ("POST /keys", [made["id"]], 201)
    assert (revoked["action"], revoked["objects"], revoked["status"]) == ("DELETE /keys/{id}", [made["id"]], 204)
    assert (created["address"], revoked["address"]) == ("127.0.0.1", "127.0.0.1")


async def test_what_was_refused_is_told_with_what_it_was_answered(api: ApiClient, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        reader = await create_key(connection, api.store.id, name="reader", scopes=["read"])

    await api.post("/keys", json={"name": ""})
    await api.post("/keys", data=b"text")
    await api.request("DELETE", f"{BASE}/customers/{HASH}", key=reader.key)
    await api.request("PATCH", f"{BASE}/customers/jane@example.com", json={"is_blocked": True})
    await api.request("DELETE", f"{BASE}/customers/{HASH}", key="tl_unknown")

    assert await told(api) == [
        ("POST /keys", 400),
        ("POST /keys", 415),
        ("DELETE /customers/{email_hash}", 403),
        ("PATCH /customers/{email_hash}", 400),
    ]
    assert [entry["objects"] for entry in await entries(api)] == [[], [HASH], [], []]


async def test_what_only_reads_or_brings_in_what_stores_send_is_not_told(api: ApiClient, pool: asyncpg.Pool) -> None:
    await insert_customer(pool, api.store.id)
    for path in ("/customers", f"/customers/{HASH}", "/keys", "/dead"):
        assert (await api.get(path)).status == 200
    await api.post("/ingest/events", json={"events": [{"id": "1"}]})
    await api.deliver(b"{}")
    await api.request("OPTIONS", BASE + "/keys")
    await api.get("/audit")

    assert await entries(api) == []


async def test_reading_what_is_personal_is_told(api: ApiClient, pool: asyncpg.Pool, vault: Vault) -> None:
    await insert_customer(pool, api.store.id)
    endpoint = await insert_endpoint(pool, vault, api.store.id)
    delivery = await insert_delivery(pool, api.store.id, endpoint_id=endpoint)
    async with pool.acquire() as connection:
        reader = await create_key(connection, api.store.id, name="reader", scopes=["read"])

    assert (await api.get(f"/customers/{HASH}/export")).status == 200
    assert (await api.request("HEAD", f"{BASE}/customers/{HASH}/export")).status == 200
    assert (await api.get(f"/deliveries/{delivery}")).status == 200
    assert (await api.get(f"/deliveries/{delivery}", key=reader.key)).status == 200  # without bodies: not told
    assert (await api.get("/dead/7")).status == 404

    assert await told(api) == [
        ("GET /customers/{email_hash}/export", 200),
        ("HEAD /customers/{email_hash}/export", 200),
        ("GET /deliveries/{id}", 200),
        ("GET /dead/{id}", 404),
    ]
    assert (await entries(api))[-1]["objects"] == [HASH]


async def test_nothing_that_was_sent_is_in_the_log(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    async def create(_: Transaction, command: Command) -> Mapping[str, Any]:
        return {"id": MADE, "secret": "s3cret-made", "url": command.data["url"]}

    async with owning("dispatcher", pool, broker, {"webhook.create": create}):
        await api.post("/webhooks", json={"url": "https://h.example/?t=s3cret", "secret": "s3cret-given"})
    await api.post("/customers/jane@example.com/tags", json={"tag": "jane@example.com"})
    await api.request("DELETE", f"{BASE}/customers/{HASH}/tags/jane@example.com")
    await api.request("DELETE", f"{BASE}/keys/jane@example.com?email=jane@example.com")

    rows = str(await pool.fetch("SELECT * FROM api.audit"))
    assert "jane" not in rows
    assert "s3cret" not in rows
    assert (await entries(api, action="POST /webhooks"))[0]["objects"] == [MADE]


async def test_what_is_begun_is_in_the_log_before_its_owner_hears_of_it(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    seen: list[int | None] = []

    async def create(_: Transaction, __: Command) -> Any:
        seen.append(await pool.fetchval("SELECT status FROM api.audit"))
        raise invalid({"url": "is missing"})

    async with owning("dispatcher", pool, broker, {"webhook.create": create}):
        await api.post("/webhooks", json={})

    assert seen == [None]
    assert await told(api) == [("POST /webhooks", 400)]


async def test_where_the_log_cannot_be_written_nothing_is_done(api: ApiClient, pool: asyncpg.Pool) -> None:
    await pool.execute("ALTER TABLE api.audit RENAME TO away")
    answer = await api.post("/keys", json={"name": "a", "scopes": ["read"]})
    await pool.execute("ALTER TABLE api.away RENAME TO audit")

    assert answer.status == 503
    assert await pool.fetchval("SELECT count(*) FROM api.keys") == 1


async def test_an_answer_is_given_also_where_its_end_cannot_be_told(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    async def create(_: Transaction, __: Command) -> Any:
        await pool.execute("ALTER TABLE api.audit RENAME TO away")
        return {"id": MADE}

    async with owning("dispatcher", pool, broker, {"webhook.create": create}):
        answer = await api.post("/webhooks", json={})
    await pool.execute("ALTER TABLE api.away RENAME TO audit")

    assert answer.status == 201
    assert await told(api) == [("POST /webhooks", None)]


async def test_the_log_is_filtered_by_key_action_object_and_time_and_paged(api: ApiClient, pool: asyncpg.Pool) -> None:
    made = [(await api.post("/keys", json={"name": "a", "scopes": ["admin"]})).json for _ in range(3)]
    await api.request("DELETE", f"{BASE}/keys/{made[0]['id']}", key=made[1]["key"])
    await pool.execute("UPDATE api.audit SET at = '2026-01-01T12:00:00Z' WHERE action LIKE 'DELETE%'")

    async def number(**query: str) -> int:
        return len(await entries(api, **query))

    assert await number() == 4
    assert await number(key=made[1]["id"]) == 1
    assert await number(key=made[1]["prefix"]) == 1
    assert await number(key=made[2]["prefix"]) == 0
    assert await number(action="POST /keys") == 3
    assert await number(object=made[0]["id"]) == 2
    assert await number(object=made[0]["id"].upper()) == 2
    assert await number(key=made[1]["id"].upper()) == 1
    assert await number(**{"from": "2026-01-01 12:00:00", "to": "2026-01-01 12:00:01"}) == 1
    assert await number(to="2026-01-01 12:00:00") == 0
    page = await api.get("/audit?per_page=3&page=2")
    assert (len(page.json), page.headers["X-WP-Total"], page.headers["X-WP-TotalPages"]) == (1, "4", "2")


async def test_an_id_is_told_in_one_way_however_the_path_has_it(api: ApiClient) -> None:
    made = (await api.post("/keys", json={"name": "a", "scopes": ["read"]})).json["id"]
    ways = [made, made.upper(), made.replace("-", ""), f"urn:uuid:{made}"]
    for way in ways:
        assert (await api.request("DELETE", f"{BASE}/keys/{quote(way)}")).status == 204

    assert await told(api, object=made) == [("POST /keys", 201), *[("DELETE /keys/{id}", 204)] * len(ways)]


@pytest.mark.parametrize(
    "query", ["from=soon", "key=" + "x" * 65, "action=" + "x" * 10_000, "page=0", "object=" + "x" * 65]
)
async def test_a_filter_that_is_none_is_refused(api: ApiClient, query: str) -> None:
    answer = await api.get(f"/audit?{query}")

    assert (answer.status, list(answer.json["data"]["params"])) == (400, [query.partition("=")[0]])


async def test_the_log_of_another_store_is_not_shown(api: ApiClient, pool: asyncpg.Pool) -> None:
    await api.post("/keys", json={"name": "a", "scopes": ["read"]})
    await pool.execute("UPDATE api.audit SET store_id = gen_random_uuid()")

    assert await entries(api) == []


async def test_behind_trusted_proxies_the_caller_is_who_they_say(
    api_settings: ApiSettings, api_store: CreatedStore
) -> None:
    forwarded = {"X-Forwarded-For": "6.6.6.6, 198.51.100.1"}
    given = {"name": "a", "scopes": ["read"]}
    async with serving(api_settings, api_store) as api:
        await api.post("/keys", json=given, headers=forwarded)
    trusting = api_settings.model_copy(update={"trusted_proxies": (ip_network("127.0.0.0/8"),)})
    async with serving(trusting, api_store) as api:
        await api.post("/keys", json=given, headers=forwarded)
        found = await entries(api)

    assert [entry["address"] for entry in found] == ["198.51.100.1", "127.0.0.1"]


async def test_entries_older_than_the_retention_are_forgotten(api: ApiClient, pool: asyncpg.Pool) -> None:
    for _ in range(2):
        await api.post("/keys", json={"name": "a", "scopes": ["read"]})
    await pool.execute("UPDATE api.audit SET at = now() - interval '31 days' WHERE ctid = '(0,1)' OR status = 201")
    await api.post("/keys", json={"name": "a", "scopes": ["read"]})

    await audit.forget(pool, 30)

    assert await pool.fetchval("SELECT count(*) FROM api.audit") == 1


async def test_the_service_forgets_by_itself(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool, until: Until
) -> None:
    async with serving(api_settings, api_store) as api:
        await api.post("/keys", json={"name": "a", "scopes": ["read"]})
    await pool.execute("UPDATE api.audit SET at = now() - interval '400 days'")
    async with serving(api_settings, api_store):

        async def forgotten() -> bool:
            return not await pool.fetchval("SELECT count(*) FROM api.audit")

        await until(forgotten)


async def test_many_changes_at_once_are_each_told_once(api: ApiClient) -> None:
    await asyncio.gather(*(api.post("/keys", json={"name": "a", "scopes": ["read"]}) for _ in range(30)))

    found = await entries(api)
    assert len(found) == 30
    assert len({tuple(entry["objects"]) for entry in found}) == 30
