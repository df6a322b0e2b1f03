"""Endpoints, deliveries, bodies and attempts as the dispatcher would have written them, for tests that read them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from shared.db import Partitions
from shared.ids import uuid7
from shared.secrets import Vault

NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
HASH = "a3f2" + "0" * 60


async def insert(pool: asyncpg.Pool, table: str, **row: Any) -> None:
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await pool.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


async def insert_endpoint(pool: asyncpg.Pool, vault: Vault, store_id: UUID, **changes: Any) -> UUID:
    row: dict[str, Any] = {
        "id": uuid7(),
        "store_id": store_id,
        "url": "https://crm.example/hook",
        "description": "CRM",
        "events": ["score_updated"],
        "enabled": True,
        "delivery": "fire_and_log",
        "format": "trustlens",
        "include_email": True,
        "timeout": 1,
        "headers": vault.seal(b'{"Authorization": "Bearer hush"}'),
        "secret": vault.seal(b"s" * 32),
        "created_at": NOW,
        "updated_at": NOW,
    } | changes
    await insert(pool, "dispatcher.endpoints", **row)
    return UUID(str(row["id"]))


async def insert_delivery(pool: asyncpg.Pool, store_id: UUID, **changes: Any) -> UUID:
    await Partitions("dispatcher.deliveries").cover(pool, [changes.get("recorded_at", NOW)])
    row: dict[str, Any] = {
        "recorded_at": NOW,
        "id": uuid7(),
        "store_id": store_id,
        "target_id": uuid7(),
        "event": "score_updated",
        "source_id": uuid7(),
        "shape": "trustlens",
        "email_hash": HASH,
        "sequence": 7,
        "mode": "fire_and_log",
        "status": "delivered",
        "attempts": 1,
        "max_attempts": 1,
        "last_status_code": 200,
        "duration_ms": 31,
        "created_at": NOW,
        "finished_at": NOW + timedelta(seconds=1),
    } | changes
    await insert(pool, "dispatcher.deliveries", **row)
    return UUID(str(row["id"]))


async def insert_body(pool: asyncpg.Pool, source_id: UUID, body: bytes, *, shape: str = "trustlens") -> None:
    await Partitions("dispatcher.bodies").cover(pool, [NOW])
    await insert(
        pool, "dispatcher.bodies", recorded_at=NOW, source_id=source_id, shape=shape, email_hash=HASH, body=body
    )


async def insert_attempt(pool: asyncpg.Pool, delivery_id: UUID, **changes: Any) -> None:
    row: dict[str, Any] = {
        "recorded_at": NOW,
        "delivery_id": delivery_id,
        "store_id": await pool.fetchval("SELECT store_id FROM dispatcher.deliveries WHERE id = $1", delivery_id),
        "number": 1,
        "at": NOW,
        "status_code": 200,
        "duration_ms": 31,
        "address": "203.0.113.7",
        "answer": b"thanks",
    } | changes
    await Partitions("dispatcher.attempts").cover(pool, [row["recorded_at"]])
    await insert(pool, "dispatcher.attempts", **row)
