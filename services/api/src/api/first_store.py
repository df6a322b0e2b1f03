"""`python -m api.first_store`: the store that a new installation begins with, from settings and files of secrets."""

import asyncio
from uuid import UUID

import asyncpg
from pydantic import Field

from api import stores
from shared.db import Connection
from shared.secrets import Vault
from shared.settings import DatabaseSettings, SecretKeys, load


class FirstStoreSettings(DatabaseSettings):
    secret_keys: SecretKeys
    """Fernet keys, comma-separated, newest first: they encrypt secrets at rest."""
    store_id: UUID
    """Of the first store; where there is a store of this id, nothing is done."""
    store_url: str = Field(default="https://shop.example", min_length=1)
    """The first store's address, as it appears in every webhook."""
    store_name: str = Field(default="My shop", min_length=1)
    """Its name, likewise."""
    api_key: str = Field(min_length=32)
    """Its first API key, which may do everything."""
    woocommerce_secret: str = Field(min_length=32)
    """What its WooCommerce webhooks are signed with."""
    stripe_secret: str = Field(min_length=32)
    """What its Stripe events are signed with."""


async def ensure(connection: Connection, settings: FirstStoreSettings) -> bool:
    """Whether the store was made now. One that is there stays as it is, with whatever has become of its key.

    Raises:
        ValueError: the URL is no http(s) address, or the name is empty.
    """
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
    connection = await asyncpg.connect(settings.database_url)
    try:
        return await ensure(connection, settings)
    finally:
        await connection.close()


def main() -> None:
    settings = load(FirstStoreSettings)
    made = asyncio.run(run(settings))
    print(f"The store {settings.store_id} {'is made' if made else 'was there'}.")  # noqa: T201  # for the job's log


if __name__ == "__main__":
    main()
