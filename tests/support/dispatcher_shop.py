"""One store with its endpoints and rule targets, and a look at what became of its deliveries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from uuid import UUID

import asyncpg

from api.stores import create_store
from dispatcher import store
from dispatcher.endpoints import NewEndpoint
from shared.ids import uuid7
from shared.secrets import Vault
from shared.targets import Reach
from support.dispatching import Receiver, eventually, receiving

SECRET = "a secret of thirty-two characters"
LOCAL = Reach(allow_http=True, allowed=(ip_network("127.0.0.0/8"),))


@dataclass
class Shop:
    pool: asyncpg.Pool
    vault: Vault
    id: UUID
    receiver: Receiver

    async def endpoint(self, path: str = "/hook", **fields: object) -> UUID:
        new = NewEndpoint.model_validate({"url": self.receiver.url + path, **fields}, context=LOCAL)
        async with self.pool.acquire() as connection, connection.transaction():
            made = await store.insert_endpoint(
                connection, self.vault, endpoint_id=uuid7(), store_id=self.id, new=new, secret=SECRET
            )
            await store.bump_revision(connection, [self.id])
        return made.id

    async def rule_target(self, path: str = "/rule", *, unsigned: bool = False) -> UUID:
        target_id = uuid7()
        await self.pool.execute(
            "INSERT INTO rule_engine.targets (id, store_id, rule_id, url, secret, headers, timeout)"
            " VALUES ($1, $2, $3, $4, $5, NULL, 5)",
            target_id,
            self.id,
            uuid7(),
            self.receiver.url + path,
            None if unsigned else self.vault.seal(SECRET.encode()),
        )
        return target_id

    async def finished(self, delivery_id: UUID) -> asyncpg.Record:
        """The delivery's row, once it is finished."""
        return await eventually(
            lambda: self.pool.fetchrow(
                "SELECT * FROM dispatcher.deliveries WHERE id = $1 AND finished_at IS NOT NULL", delivery_id
            )
        )

    async def attempts(self, delivery_id: UUID) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.pool.fetch(
            "SELECT * FROM dispatcher.attempts WHERE delivery_id = $1 ORDER BY number", delivery_id
        )
        return rows

    async def idle(self) -> None:
        """Once no delivery is unfinished."""
        await eventually(
            lambda: self.pool.fetchval(
                "SELECT count(*) = 0 FROM dispatcher.deliveries WHERE due_at IS NOT NULL OR lease IS NOT NULL"
            )
        )


@asynccontextmanager
async def opened(pool: asyncpg.Pool, vault: Vault) -> AsyncIterator[Shop]:
    """A new store with a receiver of its own."""
    async with pool.acquire() as connection:
        made = await create_store(connection, vault, url="https://shop.example", name="Shop")
    async with receiving() as receiver:
        yield Shop(pool, vault, made.id, receiver)
