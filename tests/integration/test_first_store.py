"""The store that docker-compose and Kubernetes begin with."""

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import ValidationError

from api import stores
from api.first_store import FirstStoreSettings, run
from shared.secrets import Vault


def settings(database_url: str, secret_keys: str, **given: Any) -> FirstStoreSettings:
    secrets = {name: f"{name}-of-32-characters-and-more" for name in ("api_key", "woocommerce_secret", "stripe_secret")}
    return FirstStoreSettings(
        database_url=database_url, secret_keys=secret_keys, **{"store_id": uuid4(), **secrets, **given}
    )


async def test_the_first_store_is_made_once_with_the_key_and_the_secrets_given(
    database_url: str, pool: asyncpg.Pool, secret_keys: str, vault: Vault
) -> None:
    given = settings(database_url, secret_keys)
    assert await run(given)
    assert not await run(given)
    key = await stores.find_key(pool, stores.key_digest(given.api_key))
    assert key is not None
    assert (key.store_id, "admin" in key.scopes) == (given.store_id, True)
    secrets = await stores.find_secrets(pool, vault, given.store_id)
    assert secrets is not None
    assert (secrets.woocommerce_secret, secrets.stripe_secret) == (given.woocommerce_secret, given.stripe_secret)


async def test_of_two_jobs_at_once_one_makes_the_store(database_url: str, pool: asyncpg.Pool, secret_keys: str) -> None:
    given = settings(database_url, secret_keys)
    assert sorted(await asyncio.gather(run(given), run(given))) == [False, True]
    assert await pool.fetchval("SELECT count(*) FROM api.stores") == 1


async def test_a_key_that_was_revoked_does_not_come_back(
    database_url: str, pool: asyncpg.Pool, secret_keys: str
) -> None:
    given = settings(database_url, secret_keys)
    await run(given)
    await pool.execute("UPDATE api.keys SET revoked_at = now()")
    assert not await run(given)
    assert await stores.find_key(pool, stores.key_digest(given.api_key)) is None


async def test_it_waits_for_the_migrations(database_url: str, pool: asyncpg.Pool, secret_keys: str) -> None:
    await pool.execute("ALTER TABLE alembic_version RENAME TO not_yet")
    making = asyncio.create_task(run(settings(database_url, secret_keys)))
    assert not (await asyncio.wait({making}, timeout=0.2))[0]
    await pool.execute("ALTER TABLE not_yet RENAME TO alembic_version")
    assert await making


@pytest.mark.parametrize("wrong", [{"store_url": "shop.example"}, {"store_name": " "}])
def test_what_no_store_can_be_made_of_is_a_mistake_in_the_settings(secret_keys: str, wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        settings("postgresql://nowhere", secret_keys, **wrong)
