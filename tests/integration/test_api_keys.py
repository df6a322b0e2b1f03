"""Keys are made, shown without themselves, and revoked, over real HTTP and on the command line."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore, create_key, save_last_used
from api.usage import Usage
from support.api_client import BASE, ApiClient, serving

TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def made(api: ApiClient, *scopes: str) -> dict[str, Any]:
    answer = await api.post("/keys", json={"name": "of a test", "scopes": list(scopes)})
    assert answer.status == 201
    key: dict[str, Any] = answer.json
    return key


async def test_a_key_is_shown_once_works_at_once_and_is_kept_as_a_hash(api: ApiClient, pool: asyncpg.Pool) -> None:
    key = await made(api, "write", "read", "read")

    assert list(key) == ["id", "name", "scopes", "prefix", "key"]
    assert (key["name"], key["scopes"]) == ("of a test", ["read", "write"])
    assert key["key"].startswith(key["prefix"])
    assert (await api.get("/customers", key=key["key"])).status == 200
    assert key["key"] not in str(await pool.fetch("SELECT * FROM api.keys, api.audit"))


async def test_the_list_has_every_key_the_newest_first_and_none_itself(api: ApiClient) -> None:
    key = await made(api, "read")
    other = await made(api, "ingest")
    await api.request("DELETE", f"{BASE}/keys/{key['id']}")

    answer = await api.get("/keys?per_page=2")

    assert (answer.headers["X-WP-Total"], answer.headers["X-WP-TotalPages"]) == ("3", "2")
    newest, revoked = answer.json
    assert list(newest) == ["id", "name", "scopes", "prefix", "created_at", "last_used_at", "revoked_at"]
    assert (newest["id"], newest["scopes"], newest["revoked_at"]) == (other["id"], ["ingest"], None)
    assert revoked["id"] == key["id"]
    assert TIME.fullmatch(revoked["revoked_at"])
    assert key["key"] not in answer.text


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"scopes": ["read"]}, "name"),
        ({"name": "a"}, "scopes"),
        ({"name": "  ", "scopes": ["read"]}, "name"),
        ({"name": "a\nb", "scopes": ["read"]}, "name"),
        ({"name": "x" * 101, "scopes": ["read"]}, "name"),
        ({"name": 7, "scopes": ["read"]}, "name"),
        ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "scopes": "read"}, "scopes"),
        ({"name": "a", "scopes": ["root"]}, "scopes.0"),
        ({"name": "a", "scopes": ["read"], "key": "tl_mine"}, "key"),
    ],
)
async def test_a_bad_key_is_refused_by_field(api: ApiClient, given: dict[str, object], field: str) -> None:
    answer = await api.post("/keys", json=given)

    assert (answer.status, answer.json["code"]) == (400, "rest_invalid_param")
    assert answer.json["data"]["params"].keys() == {field}


async def test_only_keys_with_the_scope_admin_manage_keys(api: ApiClient) -> None:
    key = await made(api, "read", "write", "ingest", "pii")

    answers = [
        await api.get("/keys", key=key["key"]),
        await api.post("/keys", key=key["key"], json={"name": "a", "scopes": ["admin"]}),
        await api.request("DELETE", f"{BASE}/keys/{key['id']}", key=key["key"]),
        await api.get("/audit", key=key["key"]),
    ]

    assert [(answer.status, answer.json["code"]) for answer in answers] == [(403, "rest_forbidden")] * 4


async def test_a_revoked_key_is_unknown_at_once_and_to_revoke_it_again_changes_nothing(api: ApiClient) -> None:
    key = await made(api, "read")
    assert (await api.get("/stats", key=key["key"])).status == 200

    first = await api.request("DELETE", f"{BASE}/keys/{key['id']}")
    shown = (await api.get("/keys")).json
    again = await api.request("DELETE", f"{BASE}/keys/{key['id']}")

    assert (first.status, first.text, again.status) == (204, "", 204)
    assert (await api.get("/stats", key=key["key"])).status == 401
    assert [(it["id"], it["revoked_at"]) for it in (await api.get("/keys")).json] == [
        (it["id"], it["revoked_at"]) for it in shown
    ]


async def test_a_key_may_revoke_itself(api: ApiClient) -> None:
    key = await made(api, "admin")

    assert (await api.request("DELETE", f"{BASE}/keys/{key['id']}", key=key["key"])).status == 204
    assert (await api.get("/keys", key=key["key"])).status == 401


async def test_the_last_admin_key_cannot_be_revoked(api: ApiClient, pool: asyncpg.Pool) -> None:
    await made(api, "read", "write", "pii", "ingest")
    first = await pool.fetchval("SELECT id FROM api.keys WHERE name = 'first key'")

    answer = await api.request("DELETE", f"{BASE}/keys/{first}")

    assert (answer.status, answer.json["code"]) == (409, "trustlens_last_admin_key")
    assert (await api.get("/keys")).status == 200


async def test_of_two_admin_keys_that_revoke_each_other_at_once_one_is_left(api: ApiClient, pool: asyncpg.Pool) -> None:
    for _ in range(5):
        other = await made(api, "admin")
        first = await pool.fetchval("SELECT id FROM api.keys WHERE prefix = $1", api.store.api_key[:11])

        await asyncio.gather(
            api.request("DELETE", f"{BASE}/keys/{first}", key=other["key"]),
            api.request("DELETE", f"{BASE}/keys/{other['id']}"),
        )

        left = await pool.fetch("SELECT prefix FROM api.keys WHERE revoked_at IS NULL AND 'admin' = ANY (scopes)")
        assert len(left) == 1
        if left[0]["prefix"] == other["prefix"]:
            return


async def test_the_keys_of_another_store_are_not_there(api: ApiClient, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        stranger = await connection.fetchval(
            "INSERT INTO api.stores SELECT (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid()))).*"
            " FROM api.stores AS s RETURNING id"
        )
        theirs = await create_key(connection, stranger, name="theirs", scopes=["admin"])

    answer = await api.request("DELETE", f"{BASE}/keys/{theirs.id}")

    assert (answer.status, answer.json["code"]) == (404, "trustlens_key_not_found")
    assert (await api.request("DELETE", f"{BASE}/keys/7")).status == 404
    assert str(theirs.id) not in (await api.get("/keys")).text
    assert (await api.get("/keys", key=theirs.key)).json[0]["id"] == str(theirs.id)


# When a key was used last ---------------------------------------------------------------------------------------------


async def test_when_a_key_was_used_is_written_at_the_latest_when_the_service_ends(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool
) -> None:
    began = datetime.now(UTC)
    async with serving(api_settings, api_store) as api:
        unused = await made(api, "read")
        for _ in range(20):
            await api.get("/stats")
        assert await pool.fetchval("SELECT count(*) FROM api.keys WHERE last_used_at IS NOT NULL") == 0

    used = dict(await pool.fetch("SELECT id::text, last_used_at FROM api.keys"))
    assert used.pop(unused["id"]) is None
    assert all(began <= at <= datetime.now(UTC) for at in used.values())


async def test_it_is_written_now_and_then(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool, until: Until
) -> None:
    async with serving(api_settings.model_copy(update={"last_used_seconds": 0.05}), api_store) as api:
        await api.get("/stats")

        async def written() -> bool:
            return bool(await pool.fetchval("SELECT true FROM api.keys WHERE last_used_at IS NOT NULL"))

        await until(written)


async def test_the_later_use_wins_whichever_replica_writes_last(api_store: CreatedStore, pool: asyncpg.Pool) -> None:
    key_id = await pool.fetchval("SELECT id FROM api.keys")
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    stop = asyncio.Event()
    stop.set()
    for at in (late, early):
        usage = Usage(pool, save_last_used)
        usage.note(key_id, at)
        await usage.run(60, stop)

    assert await pool.fetchval("SELECT last_used_at FROM api.keys") == late


# The command line -----------------------------------------------------------------------------------------------------


async def trustlens(database_url: str, *words: str) -> tuple[int, str]:
    """Exit code and what is printed. A process of its own: what the api logs in ours meanwhile would be among it."""
    env = os.environ | {"TRUSTLENS_DATABASE_URL": database_url, "COLUMNS": "200"}
    command = Path(sys.executable).with_name("trustlens")
    process = await asyncio.create_subprocess_exec(command, *words, env=env, stdout=PIPE, stderr=STDOUT)
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


async def test_keys_are_made_listed_and_revoked_on_the_command_line(api: ApiClient, database_url: str) -> None:
    store = ["--store", str(api.store.id)]
    _, created = await trustlens(database_url, "keys", "create", *store, "--name", "Zendesk", "--scopes", "read,pii")
    key = created.strip()
    assert (await api.get("/stats", key=key)).status == 200

    _, listed = await trustlens(database_url, "keys", "list", *store)
    assert "Zendesk" in listed
    assert key[:11] in listed
    assert key not in listed

    assert await trustlens(database_url, "keys", "revoke", key[:11], *store) == (0, "Revoked.\n")
    assert [it["revoked_at"] is None for it in (await api.get("/keys")).json] == [False, True]


async def test_the_command_line_also_revokes_the_last_admin_key_and_the_audit_log_says_who_did(
    api: ApiClient, database_url: str, pool: asyncpg.Pool
) -> None:
    first = await pool.fetchval("SELECT id::text FROM api.keys")

    assert await trustlens(database_url, "keys", "revoke", first, "--store", str(api.store.id)) == (0, "Revoked.\n")

    entry = await pool.fetchrow("SELECT actor, action, objects, status FROM api.audit")
    assert tuple(entry) == ("cli", "DELETE /keys/{id}", [first], 204)


async def test_a_key_that_is_not_there_is_told_with_where_to_look(api: ApiClient, database_url: str) -> None:
    code, told = await trustlens(database_url, "keys", "revoke", "tl_nothing", "--store", str(api.store.id))

    assert code == 1
    assert "trustlens keys list" in told
