"""What the demo reads back about its store, straight from Postgres: what the services stored, not what we hope."""

import json
from collections import Counter
from dataclasses import dataclass
from uuid import UUID

import asyncpg

UNFINISHED = ("pending", "retrying", "parked")
REPEATS = "repeats"
"""Suppressed because they would only have said again what the last one said: as promised, and no loss."""


@dataclass(frozen=True, slots=True)
class Signal:
    module: str
    points: int
    reason: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A customer with a low score, and why."""

    email: str
    score: int
    segment: str
    signals: tuple[Signal, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    segments: Counter[str]
    lowest: tuple[Suspect, ...]
    deliveries: Counter[str]  # per status
    delivered_ids: frozenset[str]

    @property
    def unfinished(self) -> int:
        return sum(self.deliveries[status] for status in UNFINISHED)


async def read(connection: asyncpg.Connection, store_id: UUID) -> Numbers:
    return Numbers(
        segments=await _segments(connection, store_id),
        lowest=await _lowest(connection, store_id, count=3),
        deliveries=await deliveries(connection, store_id),
        delivered_ids=await _delivered_ids(connection, store_id),
    )


async def deliveries(connection: asyncpg.Connection, store_id: UUID) -> Counter[str]:
    """How many deliveries of the store have which status; those left out as repeats are counted apart."""
    rows = await connection.fetch(
        "SELECT CASE WHEN status = 'suppressed' AND reason = 'duplicate' THEN $2 ELSE status END AS status,"
        " count(*) AS n FROM dispatcher.deliveries WHERE store_id = $1 GROUP BY 1",
        store_id,
        REPEATS,
    )
    return Counter({row["status"]: row["n"] for row in rows})


async def _segments(connection: asyncpg.Connection, store_id: UUID) -> Counter[str]:
    rows = await connection.fetch(
        "SELECT segment, count(*) AS n FROM scorer.customers WHERE store_id = $1 GROUP BY segment", store_id
    )
    return Counter({row["segment"]: row["n"] for row in rows})


async def _lowest(connection: asyncpg.Connection, store_id: UUID, *, count: int) -> tuple[Suspect, ...]:
    rows = await connection.fetch(
        """
        SELECT email, trust_score, segment, signals::text AS signals
        FROM scorer.customers
        WHERE store_id = $1
        ORDER BY trust_score, email
        LIMIT $2
        """,
        store_id,
        count,
    )
    return tuple(
        Suspect(row["email"] or "(erased)", row["trust_score"], row["segment"], _signals(row["signals"]))
        for row in rows
    )


def _signals(text: str) -> tuple[Signal, ...]:
    return tuple(Signal(signal["module"], signal["points"], signal["reason"]) for signal in json.loads(text))


async def _delivered_ids(connection: asyncpg.Connection, store_id: UUID) -> frozenset[str]:
    rows = await connection.fetch(
        "SELECT id FROM dispatcher.deliveries WHERE store_id = $1 AND status = 'delivered'", store_id
    )
    return frozenset(str(row["id"]) for row in rows)
