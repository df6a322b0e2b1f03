"""The store that a new stack begins with, so that there is a key to use it."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from api import stores
from shared.secrets import Vault

NAME = "Local store"
URL = "https://shop.example"


@dataclass(frozen=True)
class StoreAccess:
    """What stack.env says about a store."""

    store_id: str
    api_key: str
    woocommerce_secret: str
    stripe_secret: str


def ensure(database_url: str, secret_keys: str, known: StoreAccess | None) -> StoreAccess:
    """The known one if this database has it, else a new one."""
    return asyncio.run(_ensure(database_url, Vault(secret_keys), known))


async def _ensure(database_url: str, vault: Vault, known: StoreAccess | None) -> StoreAccess:
    conn = await asyncpg.connect(database_url)
    try:
        if known is not None and await _exists(conn, UUID(known.store_id)):
            return known
        made = await stores.create_store(conn, vault, url=URL, name=NAME)
    finally:
        await conn.close()
    return StoreAccess(str(made.id), made.api_key, made.woocommerce_secret, made.stripe_secret)


async def _exists(conn: asyncpg.Connection, store_id: UUID) -> bool:
    # The file may outlive its database: deleted data, or another TRUSTLENS_DATABASE_URL than last time.
    return any(store.id == store_id for store in await stores.list_stores(conn))
