"""`trustlens secrets reseal`: everything sealed comes under the first key, and what changed meanwhile stays."""

import json
import re
from uuid import uuid4

import asyncpg
import pytest
from cryptography.fernet import Fernet

from api.stores import CreatedStore, find_secrets, renew_woocommerce_secret
from cli.secrets import SEALED, Sealed, _replace, renew
from local_stack.folder import CHECKOUT
from shared.secrets import NoKeyError, Vault
from support.dispatcher_shop import Shop


@pytest.fixture
def new_key() -> str:
    return Fernet.generate_key().decode()


async def renew_all(pool: asyncpg.Pool, vault: Vault) -> dict[str, int]:
    async with pool.acquire() as connection:
        return {str(sealed): await renew(connection, vault, sealed) for sealed in SEALED}


async def test_after_it_the_old_key_is_needed_no_more(
    pool: asyncpg.Pool, api_store: CreatedStore, shop: Shop, vault: Vault, secret_keys: str, new_key: str
) -> None:
    endpoint = await shop.endpoint()
    answer = json.dumps(vault.seal(b'{"secret": "s"}').decode())
    for kept in (answer, '{"open": true}'):
        await pool.execute(
            "INSERT INTO dispatcher.commands_seen (id, type, actor, answer, seen_at) VALUES ($1, 'x', 'x', $2, now())",
            uuid4(),
            kept,
        )
    before = await find_secrets(pool, vault, api_store.id)

    counts = await renew_all(pool, Vault(f"{new_key},{secret_keys}"))

    alone = Vault(new_key)
    assert counts["api.stores.hash_key"] == 2, "the shop's too"
    assert await find_secrets(pool, alone, api_store.id) == before
    assert alone.open(await pool.fetchval("SELECT secret FROM dispatcher.endpoints WHERE id = $1", endpoint))
    answers = {row["answer"] for row in await pool.fetch("SELECT answer FROM dispatcher.commands_seen")}
    answers.remove('{"open": true}')
    assert [alone.open(json.loads(token).encode()) for token in answers] == [b'{"secret": "s"}']
    assert await renew_all(pool, alone) == counts


async def test_what_none_of_the_keys_opens_is_named(pool: asyncpg.Pool, api_store: CreatedStore, new_key: str) -> None:
    with pytest.raises(NoKeyError, match=r"api\.stores\.hash_key"):
        await renew_all(pool, Vault(new_key))


async def test_what_is_changed_while_it_runs_is_not_written_over(
    pool: asyncpg.Pool, api_store: CreatedStore, secret_keys: str, new_key: str
) -> None:
    keys = Vault(f"{new_key},{secret_keys}")

    changed = keys.seal(b"changed")
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT id, stripe_secret AS token FROM api.stores")
        await pool.execute("UPDATE api.stores SET stripe_secret = $1", changed)
        await _replace(connection, Sealed("api.stores", "stripe_secret"), rows, [keys.seal(b"old")])
    assert await pool.fetchval("SELECT stripe_secret FROM api.stores") == changed


def test_every_column_that_the_migrations_call_sealed_is_renewed() -> None:
    told: set[str] = set()
    for path in sorted((CHECKOUT / "shared/src/shared/migrations/versions").glob("*.sql")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := re.match(r"(?:CREATE|ALTER) TABLE (\S+)", line):
                table = found[1]
            if found := re.match(r"\s+(?:ADD )?(\w+) bytea.*-- .*sealed", line):
                told.add(f"{table}.{found[1]}")
    assert told == {str(sealed) for sealed in SEALED if not sealed.as_json}


async def test_a_new_woocommerce_secret_takes_the_old_ones_place(
    pool: asyncpg.Pool, api_store: CreatedStore, vault: Vault
) -> None:
    async with pool.acquire() as connection:
        made = await renew_woocommerce_secret(connection, vault, api_store.id)
        with pytest.raises(LookupError):
            await renew_woocommerce_secret(connection, vault, uuid4())
    kept = await find_secrets(pool, vault, api_store.id)
    assert kept is not None
    assert made == kept.woocommerce_secret != api_store.woocommerce_secret
