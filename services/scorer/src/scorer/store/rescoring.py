"""Customers to recalculate, marked by whoever touched them: neighbours, sweeps, settings changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from scorer.changes import Asked
from scorer.customer import Key
from shared.db import Connection, columns


@dataclass(frozen=True, slots=True)
class Due:
    """Why a customer is to be recalculated."""

    reasons: frozenset[Asked]
    depth: int = 0
    """Rules in the longest chain of causes that led to it."""


async def mark(connection: Connection, keys: Sequence[Key], *, reason: Asked, now: datetime) -> None:
    """Ask for a recalculation of customers that a batch touched but did not bring. Waits for nobody."""
    await connection.execute(
        "INSERT INTO scorer.rescore_due (store_id, email_hash, since, reason)"
        " SELECT *, $3, $4 FROM unnest($1::uuid[], $2::text[])",
        *columns(keys, 2),
        now,
        reason,
    )


async def take(connection: Connection, limit: int) -> dict[Key, Due]:
    """Claim marks, the oldest first; gone when the transaction commits. Each customer with all reasons."""
    rows = await connection.fetch(
        "DELETE FROM scorer.rescore_due WHERE id IN ("
        " SELECT id FROM scorer.rescore_due ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)"
        " RETURNING store_id, email_hash, reason, depth",
        limit,
    )
    taken: dict[Key, Due] = {}
    for row in rows:
        key = (row["store_id"], row["email_hash"])
        known = taken.get(key, Due(frozenset()))
        taken[key] = Due(known.reasons | {cast(Asked, row["reason"])}, max(known.depth, row["depth"]))
    return taken


async def mark_moved_by_time(connection: Connection, now: datetime, limit: int, store_id: UUID | None = None) -> int:
    """Mark customers whose score can have changed by time alone since; the number marked.

    Their next_change_at is cleared: the recalculation sets it anew, and no second sweep marks them again.
    """
    status: str = await connection.execute(
        "WITH due AS (SELECT store_id, email_hash FROM scorer.customers"
        "  WHERE next_change_at <= $1 AND ($3::uuid IS NULL OR store_id = $3)"
        "  ORDER BY next_change_at LIMIT $2 FOR UPDATE SKIP LOCKED),"
        " cleared AS (UPDATE scorer.customers c SET next_change_at = NULL FROM due d"
        "  WHERE c.store_id = d.store_id AND c.email_hash = d.email_hash RETURNING c.store_id, c.email_hash)"
        " INSERT INTO scorer.rescore_due (store_id, email_hash, since, reason)"
        " SELECT store_id, email_hash, $1, 'sweep' FROM cleared",
        now,
        limit,
        store_id,
    )
    return int(status.rpartition(" ")[2])


async def page(connection: Connection, store_id: UUID, after: str, limit: int) -> list[Key]:
    """Customers of a store by hash, from the one after `after` on."""
    rows = await connection.fetch(
        "SELECT store_id, email_hash FROM scorer.customers WHERE store_id = $1 AND email_hash > $2"
        " ORDER BY email_hash LIMIT $3",
        store_id,
        after,
        limit,
    )
    return [(row["store_id"], row["email_hash"]) for row in rows]
