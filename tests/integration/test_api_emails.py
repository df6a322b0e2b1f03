"""Plain addresses: told only where they are asked for, to keys that may know them, and written down."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from api.stores import create_key, find_secrets
from shared.identity import email_hash
from shared.secrets import Vault
from support.api_client import ApiClient

EMAIL = "jane@example.com"
NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)


@pytest.fixture
async def jane(api: ApiClient, pool: asyncpg.Pool, vault: Vault) -> str:
    """Her hash."""
    secrets = await find_secrets(pool, vault, api.store.id)
    assert secrets
    hashed = email_hash(secrets.hash_key, EMAIL)
    await insert(pool, api, hashed, EMAIL)
    return hashed


async def insert(pool: asyncpg.Pool, api: ApiClient, hashed: str, email: str | None) -> None:
    await pool.execute(
        "INSERT INTO scorer.customers (store_id, email_hash, email, created_at, updated_at)"
        " VALUES ($1, $2, $3, $4, $4)",
        api.store.id,
        hashed,
        email,
        NOW,
    )


async def key(pool: asyncpg.Pool, api: ApiClient, *scopes: str) -> str:
    async with pool.acquire() as connection:
        return (await create_key(connection, api.store.id, name="crm", scopes=scopes)).key


async def audited(api: ApiClient) -> list[tuple[Any, ...]]:
    """Oldest first."""
    entries = (await api.get("/audit?per_page=100")).json
    return [(entry["key_name"], entry["action"], entry["objects"], entry["status"]) for entry in reversed(entries)]


@pytest.mark.parametrize("path", ["/customers?", f"/customers/lookup?email={EMAIL}&", "/customers/{hash}?"])
async def test_an_address_is_told_only_where_it_is_asked_for(api: ApiClient, jane: str, path: str) -> None:
    path = path.format(hash=jane)
    without, with_it = await api.get(path), await api.get(path + "include=email")

    one, other = (answer.json[0] if isinstance(answer.json, list) else answer.json for answer in (without, with_it))
    assert other == one | {"email": EMAIL}
    assert EMAIL not in without.text


async def test_of_an_erased_customer_the_address_is_null(api: ApiClient, pool: asyncpg.Pool) -> None:
    await insert(pool, api, "e" * 64, None)

    assert (await api.get(f"/customers/{'e' * 64}?include=email")).json["email"] is None


async def test_who_read_which_addresses_is_written_down_and_also_who_tried(
    api: ApiClient, pool: asyncpg.Pool, jane: str
) -> None:
    may, may_not = await key(pool, api, "read", "pii"), await key(pool, api, "read")
    paths = [f"/customers/lookup?email={EMAIL}", f"/customers/{jane}", "/customers", f"/customers?email={EMAIL}"]

    for path in paths:
        asked = f"{path}{'&' if '?' in path else '?'}include=email"
        assert (await api.get(asked, key=may)).status == 200
        assert (await api.get(asked, key=may_not)).json["code"] == "rest_forbidden"
        assert (await api.get(path, key=may_not)).status == 200

    routes = ["GET /customers/lookup", "GET /customers/{email_hash}", "GET /customers", "GET /customers"]
    objects = [[jane], [jane], [], [jane]]
    assert await audited(api) == [
        ("crm", route, of, status) for route, of in zip(routes, objects, strict=True) for status in (200, 403)
    ]


@pytest.mark.parametrize("asked", ["include=", "include=phone", "include=EMAIL", "include=email,phone"])
async def test_nothing_else_can_be_included(api: ApiClient, jane: str, asked: str) -> None:
    for path in ("/customers", f"/customers/lookup?email={EMAIL}", f"/customers/{jane}"):
        answer = await api.get(f"{path}{'&' if '?' in path else '?'}{asked}")

        assert (answer.status, list(answer.json["data"]["params"])) == (400, ["include"])


async def test_an_unknown_customer_s_address_is_not_found(api: ApiClient) -> None:
    assert (await api.get(f"/customers/{'a' * 64}?include=email")).status == 404
