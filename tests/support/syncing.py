"""The process that reads stores, in this one, and a fake store that it may call."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from api.settings import ApiSettings
from api.stores import CreatedStore, create_store, save_settings
from api.sync.__main__ import run
from api.sync.settings import SyncSettings
from shared.secrets import Vault
from support import fake_store
from support.api_client import ApiClient, serving
from support.fake_store import KEY, SECRET, FakeStore
from support.orders import order

OVER = {"done", "failed", "cancelled"}


def sync_settings(common: ApiSettings, **changes: Any) -> SyncSettings:
    """Impatient, and polling no store for a second time unless told."""
    given = common.model_dump(include={"database_url", "amqp_url", "name_prefix", "secret_keys", "pool_size"})
    quick = {"first_wait_seconds": 0.01, "sync_rate": 100, "store_seconds": 5, "catch_up_seconds": 86_400}
    local = {"allow_http": True, "allowed_targets": "127.0.0.0/8"}
    return SyncSettings(**given | quick | local | changes)


@asynccontextmanager
async def syncing(settings: SyncSettings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    service = asyncio.create_task(run(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await service


def orders(numbers: Sequence[int], *, at: datetime | None = None, **changes: Any) -> list[dict[str, Any]]:
    """Each of a customer of its own, changed at `at`, or long ago."""
    when = (at or datetime(2026, 5, 28, 16, 42, tzinfo=UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    times = {"date_created_gmt": when, "date_modified_gmt": when}
    return [
        order(id=n, number=str(n), billing={"email": f"c{n}@example.com"}, transaction_id="", **times | changes)
        for n in numbers
    ]


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


@dataclass(slots=True)
class Synced:
    """A store with its api, and what it has been told."""

    api: ApiClient
    fake: FakeStore
    pool: asyncpg.Pool

    @property
    def delivery_url(self) -> str:
        return f"{self.api.origin}/wp-json/trustlens/v1/ingest/woocommerce/{self.api.store.id}"

    async def ask(self, path: str, **body: Any) -> str:
        answer = await self.api.post(f"/store/{path}", json=body)
        assert answer.status == 202, answer.text
        return str(answer.json["job_id"])

    async def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = (await self.api.get(f"/jobs/{job_id}")).json
        return job

    async def over(self, job_id: str) -> dict[str, Any]:
        while (job := await self.job(job_id))["state"] not in OVER:  # noqa: ASYNC110  # as of a row, nothing tells of it
            await asyncio.sleep(0.05)
        return job

    async def connect(self) -> dict[str, Any]:
        return await self.over(await self.ask("connect", delivery_url=self.delivery_url))

    async def sync(self, **body: Any) -> dict[str, Any]:
        return await self.over(await self.ask("sync", **body))

    async def unpolled(self) -> None:
        """As if it had just been polled, so that what is read is what was asked for."""
        await self.pool.execute("INSERT INTO api.syncs (store_id, polled_at) VALUES ($1, now())", self.api.store.id)

    async def another(self, vault: Vault, fake: FakeStore | None = None) -> "Synced":
        """Another store, of which the fake one is the shop, too."""
        async with self.pool.acquire() as connection:
            store = await create_store(connection, vault, url="https://other.example", name="Other")
        await _connected(self.pool, vault, store, fake or self.fake)
        return Synced(replace(self.api, store=store), fake or self.fake, self.pool)

    async def inputs(self) -> list[tuple[str, int]]:
        """What came by the API of the store: topic and id."""
        rows = await self.pool.fetch(
            "SELECT topic, body FROM api.raw_input WHERE source = 'sync' AND store_id = $1 ORDER BY received_at",
            self.api.store.id,
        )
        return [(row["topic"], json.loads(row["body"]).get("id", 0)) for row in rows]

    async def scored(self) -> bool:
        """Whether the scorer has all of that."""
        outcomes = await self.pool.fetchval("SELECT count(*) FROM scorer.input_outcomes")
        return bool(outcomes == len(await self.inputs()))

    async def polled(self, times: int = 1) -> asyncpg.Record:
        """The row of the store once so many more polls have ended."""
        for _ in range(times):
            before = await self.pool.fetchval("SELECT polled_at FROM api.syncs WHERE store_id = $1", self.api.store.id)
            while True:
                row = await self.pool.fetchrow("SELECT * FROM api.syncs WHERE store_id = $1", self.api.store.id)
                if row and row["polled_at"] and row["polled_at"] != before:
                    break
                await asyncio.sleep(0.02)
        return row


@asynccontextmanager
async def opened(settings: ApiSettings, store: CreatedStore, pool: asyncpg.Pool, vault: Vault) -> AsyncIterator[Synced]:
    """The api of a store that has the fake one's address and key."""
    reach = sync_settings(settings).model_dump(include={"allow_http", "allowed_targets"})
    async with fake_store.running() as fake, serving(settings.model_copy(update=reach), store) as api:
        await _connected(pool, vault, store, fake)
        yield Synced(api, fake, pool)


async def _connected(pool: asyncpg.Pool, vault: Vault, store: CreatedStore, fake: FakeStore) -> None:
    await save_settings(pool, vault, store.id, {"url": fake.url, "woocommerce": {"key": KEY, "secret": SECRET}})
