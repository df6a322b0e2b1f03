"""The sums over a store's customers. Triggers add to them in stats_deltas; here these are folded."""

from shared.db import Connection, Pool

FOLDED = 10_000
"""Rows in one statement: more than all scorers mostly add between two looks, few enough for a short transaction."""

_SUMS = ("customers", "trust_score", "return_rate", "total_orders", "total_refunds")


async def fold_all(pool: Pool, *, at_once: int = FOLDED) -> None:
    """Until there is less than a statement's worth: readers add up whatever is left."""
    while await fold(pool, at_once) == at_once:
        pass


async def fold(connection: Connection | Pool, limit: int = FOLDED) -> int:
    """Add what the commits since the last time added to the sums, or the first of it; how many rows that were.

    Any number of scorers may do it at once: each takes rows that no other has, and readers see a row or its sum.
    """
    folded: int = await connection.fetchval(_FOLD, limit)
    return folded


_FOLD = f"""
    WITH taken AS (
        DELETE FROM scorer.stats_deltas WHERE (store_id, id) IN (
            SELECT store_id, id FROM scorer.stats_deltas ORDER BY store_id, id LIMIT $1 FOR UPDATE SKIP LOCKED
        ) RETURNING store_id, segment, is_blocked, is_allowlisted, {", ".join(_SUMS)}
    ),
    added AS (
        INSERT INTO scorer.stats AS s (store_id, segment, is_blocked, is_allowlisted, {", ".join(_SUMS)})
        SELECT store_id, segment, is_blocked, is_allowlisted, {", ".join(f"sum({name})" for name in _SUMS)}
        FROM taken GROUP BY store_id, segment, is_blocked, is_allowlisted
        ORDER BY store_id, segment, is_blocked, is_allowlisted
        ON CONFLICT (store_id, segment, is_blocked, is_allowlisted)
        DO UPDATE SET {", ".join(f"{name} = s.{name} + EXCLUDED.{name}" for name in _SUMS)}
    )
    SELECT count(*) FROM taken
"""
