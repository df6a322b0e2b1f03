"""Keys, scopes, and errors in WordPress' words, over real HTTP."""

import base64
from typing import Any

import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore, create_key
from support.api_client import BASE, ApiClient, serving

CUSTOMER = "/customers/" + "a" * 64
FORBIDDEN = {"code": "rest_forbidden", "message": "Sorry, you are not allowed to do that.", "data": {"status": 401}}


async def key_with(pool: asyncpg.Pool, api: ApiClient, *scopes: str) -> str:
    async with pool.acquire() as connection:
        return (await create_key(connection, api.store.id, name="of a test", scopes=scopes)).key


def basic(password: str, user: str = "wordpress") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("scopes", "method", "path", "status"),
    [
        (["read"], "GET", "/customers", 200),
        (["read"], "GET", "/stats", 200),
        (["read"], "GET", "/webhooks", 200),
        (["read"], "GET", "/rules", 200),
        (["admin"], "GET", "/customers", 200),
        (["write"], "GET", "/customers", 403),
        (["ingest", "pii"], "GET", "/stats/segments", 403),
        (["read", "pii"], "PATCH", CUSTOMER, 403),
        (["read"], "POST", "/webhooks", 403),
        (["read"], "POST", "/webhooks/x/test", 403),
        (["read"], "POST", "/rules", 403),
        (["write"], "PATCH", CUSTOMER, 400),
        (["admin"], "PUT", CUSTOMER, 400),
        (["read", "write", "pii"], "POST", "/ingest/events", 403),
        (["ingest"], "POST", "/ingest/events", 400),
        (["read", "pii"], "DELETE", CUSTOMER, 403),
        (["read"], "POST", CUSTOMER + "/recalculate", 403),
        (["read"], "POST", CUSTOMER + "/tags", 403),
        (["read"], "DELETE", CUSTOMER + "/tags/x", 403),
        (["read"], "POST", CUSTOMER + "/notes", 403),
        (["write", "pii"], "GET", CUSTOMER + "/score-history", 403),
        (["write", "pii"], "GET", CUSTOMER + "/events", 403),
        (["read", "write"], "GET", CUSTOMER + "/export", 403),
        (["pii"], "GET", CUSTOMER + "/export", 404),
        (["write"], "GET", "/store", 403),
        (["read", "write"], "PATCH", "/store", 403),
        (["read", "write"], "POST", "/store/recompute", 403),
        (["read", "write"], "POST", "/store/sweep", 403),
        (["write"], "GET", "/jobs/x", 403),
        (["read"], "GET", "/jobs/x", 404),
        (["read"], "DELETE", "/jobs/x", 403),
        (["write"], "DELETE", "/jobs/x", 404),
    ],
)
async def test_a_key_may_do_what_its_scopes_say(
    api: ApiClient, pool: asyncpg.Pool, scopes: list[str], method: str, path: str, status: int
) -> None:
    key = await key_with(pool, api, *scopes)
    body: dict[str, object] | None = None if method == "GET" else {}

    answer = await api.request(method, BASE + path, key=key, json=body)

    assert answer.status == status
    if status == 403:
        assert answer.json["code"] == "rest_forbidden"


@pytest.mark.parametrize(
    "path",
    [
        "/customers",
        CUSTOMER,
        CUSTOMER + "/export",
        CUSTOMER + "/events",
        "/stats",
        "/store",
        "/jobs/x",
        "/webhooks",
        "/rules",
        "/webhooks/x/deliveries",
    ],
)
async def test_without_a_key_everything_is_401(api: ApiClient, path: str) -> None:
    answer = await api.get(path, key="")

    assert (answer.status, answer.json) == (401, FORBIDDEN)


@pytest.mark.parametrize("key", ["tl_unknown", "\u00e9", "x" * 5000, "' OR 1=1 --"])
async def test_an_unknown_key_is_401(api: ApiClient, key: str) -> None:
    answer = await api.get("/customers", key=key)

    assert (answer.status, answer.json) == (401, FORBIDDEN)


async def test_a_revoked_key_looks_like_an_unknown_one(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool
) -> None:
    async with serving(api_settings.model_copy(update={"memory_seconds": 0.0}), api_store) as api:
        key = await key_with(pool, api, "read")
        assert (await api.get("/customers", key=key)).status == 200
        await pool.execute("UPDATE api.keys SET revoked_at = now() WHERE name = 'of a test'")

        answer = await api.get("/customers", key=key)

    assert (answer.status, answer.json) == (401, FORBIDDEN)


async def test_basic_takes_an_admin_key_as_the_password_and_no_other(api: ApiClient, pool: asyncpg.Pool) -> None:
    reader = await key_with(pool, api, "read", "write")

    given = [basic(api.store.api_key), basic(reader), basic("wrong"), {"Authorization": "Basic %%%"}]
    answers = [await api.get("/customers", key="", headers=headers) for headers in given]

    assert [answer.status for answer in answers] == [200, 401, 401, 401]


async def test_only_the_hash_of_a_key_is_stored(api: ApiClient, pool: asyncpg.Pool) -> None:
    row = await pool.fetchrow("SELECT * FROM api.keys")

    assert api.store.api_key not in str(row)
    assert api.store.api_key.startswith(row["prefix"])
    assert len(row["prefix"]) < len(api.store.api_key) / 3


async def test_a_store_s_secrets_are_sealed(api: ApiClient, pool: asyncpg.Pool) -> None:
    row = await pool.fetchrow("SELECT * FROM api.stores")

    assert api.store.woocommerce_secret not in str(row)
    assert api.store.stripe_secret not in str(row)


@pytest.mark.parametrize(
    ("method", "path", "kwargs", "status", "code"),
    [
        ("GET", "/nothing", {}, 404, "rest_no_route"),
        ("DELETE", "/stats", {}, 405, "rest_method_not_allowed"),
        ("POST", "/webhooks", {"json": {"url": "x" * 70_000}}, 413, "rest_content_too_large"),
        ("POST", "/webhooks", {"data": {"url": "x"}}, 415, "rest_unsupported_media_type"),
        ("POST", "/rules", {"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "rest_invalid_param"),
        ("POST", "/rules", {"json": [1]}, 400, "rest_invalid_param"),
        ("POST", "/rules", {"json": {"name": "a\0b"}}, 400, "rest_invalid_param"),
        ("GET", "/customers?page=0", {}, 400, "rest_invalid_param"),
        ("GET", "/customers?per_page=101", {}, 400, "rest_invalid_param"),
        ("GET", "/customers?orderby=email;DROP", {}, 400, "rest_invalid_param"),
        ("GET", "/customers?segment=gold", {}, 400, "rest_invalid_param"),
        ("GET", "/webhooks/7", {}, 404, "trustlens_webhook_not_found"),
        ("GET", "/rules/7/evaluations", {}, 404, "trustlens_rule_not_found"),
    ],
)
async def test_every_error_is_in_wordpress_words(
    api: ApiClient, method: str, path: str, kwargs: dict[str, Any], status: int, code: str
) -> None:
    answer = await api.request(method, BASE + path, **kwargs)

    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json.keys() == {"code", "message", "data"}
    assert (answer.json["code"], answer.json["data"]["status"]) == (code, status)
    assert (status == 400) == ("params" in answer.json["data"])


async def test_a_path_outside_the_api_is_told_likewise(api: ApiClient) -> None:
    answer = await api.request("GET", "/wp-admin")

    assert (answer.status, answer.json["code"]) == (404, "rest_no_route")
