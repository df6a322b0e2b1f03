"""The scorer's erasures, as far as the api has followed them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.db import Connection, Pool


@dataclass(frozen=True, slots=True)
class Erasure:
    store_id: UUID
    email_hash: str
    erased_at: datetime


async def unfollowed(pool: Pool) -> list[Erasure]:
    """Some, the newest first: old ones may have to wait for a dead queue to be emptied, and keep no other waiting."""
    rows = await pool.fetch(
        "SELECT c.store_id, c.email_hash, c.erased_at FROM scorer.customers c WHERE c.erased_at IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM api.erasures e WHERE e.store_id = c.store_id AND e.email_hash = c.email_hash"
        "  AND e.erased_at = c.erased_at) ORDER BY c.erased_at DESC LIMIT 100"
    )
    return [Erasure(**row) for row in rows]


async def empty_raw(connection: Connection, erasure: Erasure) -> int:
    """Bodies that tell of the customer, or of their orders; how many that were.

    Whoever is storing some is waited for, and nobody stores any until the commit.
    """
    await connection.execute("LOCK TABLE api.raw_input IN SHARE ROW EXCLUSIVE MODE")
    emptied = 0
    for of_whom in (
        "r.email_hash = $2",
        "r.order_id = ANY (ARRAY(SELECT order_id FROM scorer.orders WHERE store_id = $1 AND email_hash = $2))",
    ):
        status: str = await connection.execute(
            f"UPDATE api.raw_input r SET body = '' WHERE r.store_id = $1 AND {of_whom} AND r.body <> ''",
            erasure.store_id,
            erasure.email_hash,
        )
        emptied += int(status.rpartition(" ")[2])
    return emptied


async def save_followed(
    pool: Pool, erasure: Erasure, *, raw_inputs: int, dead_messages: int, followed_at: datetime
) -> None:
    """The latest of a customer."""
    await pool.execute(
        "INSERT INTO api.erasures (store_id, email_hash, erased_at, followed_at, raw_inputs, dead_messages)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (store_id, email_hash) DO UPDATE"
        " SET erased_at = $3, followed_at = $4, raw_inputs = $5, dead_messages = $6",
        erasure.store_id,
        erasure.email_hash,
        erasure.erased_at,
        followed_at,
        raw_inputs,
        dead_messages,
    )
