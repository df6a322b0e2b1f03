"""A store as a whole."""

from uuid import UUID

from api.schemas import (
    Stats,
)
from shared.db import Pool
from shared.events import SEGMENTS


async def segment_counts(pool: Pool, store_id: UUID) -> dict[str, int]:
    """All six, highest first."""
    rows = await pool.fetch(
        "SELECT segment, count(*) AS customers FROM scorer.customers WHERE store_id = $1 GROUP BY segment", store_id
    )
    counted = {row["segment"]: row["customers"] for row in rows}
    return {segment: counted.get(segment, 0) for segment in SEGMENTS}


async def stats(pool: Pool, store_id: UUID) -> Stats:
    row = await pool.fetchrow(
        "SELECT count(*) AS total_customers,"
        " round(coalesce(avg(trust_score), 0), 1) AS average_trust_score,"
        " count(*) FILTER (WHERE is_blocked) AS blocked_count,"
        " count(*) FILTER (WHERE is_allowlisted) AS allowlisted_count,"
        " round(coalesce(avg(return_rate), 0), 1) AS average_return_rate,"
        " coalesce(sum(total_orders), 0) AS total_orders,"
        " coalesce(sum(total_refunds), 0) AS total_refunds"
        " FROM scorer.customers WHERE store_id = $1",
        store_id,
    )
    return Stats(**row)
