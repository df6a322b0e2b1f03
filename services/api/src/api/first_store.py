"""`python -m api.first_store`: the store that a new installation begins with, from settings and files of secrets."""

import asyncio
import sys
from uuid import UUID

import asyncpg
import tenacity
from pydantic import Field

from api import stores
from api.schemas import SiteName, SiteUrl
from shared import db
from shared.db import Connection
from shared.secrets import Vault
from shared.settings import DatabaseSettings, SecretKeys, load

PATIENCE = 120.0
"""Seconds: Kubernetes starts this beside Postgres and the migrations."""


class FirstStoreSettings(DatabaseSettings):
    secret_keys: SecretKeys
    """Fernet keys, comma-separated, newest first: they encrypt secrets at rest."""
    store_id: UUID
    """Of the first store; where there is a store of this id, nothing is done."""
    store_url: SiteUrl = "https://shop.example"
    """The first store's address, as it appears in every webhook."""
    store_name: SiteName = "My shop"
    """Its name, likewise."""
    api_key: str = Field(min_length=32)
    """Its first API key, which may do everything."""
    woocommerce_secret: str = Field(min_length=32)
    """What its WooCommerce webhooks are signed with."""
    stripe_secret: str = Field(min_length=32)
    """What its Stripe events are signed with."""


async def ensure(connection: Connection, settings: FirstStoreSettings) -> bool:
    """Whether the store was made now. One that is there stays as it is, with whatever has become of its key."""
    given = stores.CreatedStore(
        settings.store_id, settings.api_key, settings.woocommerce_secret, settings.stripe_secret
    )
    if any(store.id == given.id for store in await stores.list_stores(connection)):
        return False
    try:
        vault = Vault(settings.secret_keys)
        await stores.create_store(connection, vault, url=settings.store_url, name=settings.store_name, given=given)
    except asyncpg.UniqueViolationError:  # by another of these jobs
        return False
    return True


async def run(settings: FirstStoreSettings) -> bool:
    connection = await _connected(settings.database_url)
    try:
        return await ensure(connection, settings)
    finally:
        await connection.close()


def _may_come(error: BaseException) -> bool:
    return isinstance(error, db.SchemaTooOldError) or (db.is_transient(error) and not db.is_misconfigured(error))


@tenacity.retry(
    retry=tenacity.retry_if_exception(_may_come),
    wait=tenacity.wait_fixed(1),
    stop=tenacity.stop_after_delay(PATIENCE),
    reraise=True,
)
async def _connected(url: str) -> Connection:
    """To a database that has been migrated."""
    connection = await asyncpg.connect(url)
    try:
        await db.require_schema(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


def main() -> None:
    settings = load(FirstStoreSettings)
    try:
        made = asyncio.run(run(settings))
    except (OSError, db.SchemaTooOldError, asyncpg.PostgresError) as error:
        sys.exit(f"the store is not made: {error}")
    print(f"The store {settings.store_id} {'is made' if made else 'was there'}.")  # noqa: T201  # for the job's log


if __name__ == "__main__":
    main()
