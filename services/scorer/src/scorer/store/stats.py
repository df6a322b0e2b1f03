"""The sums over a store's customers. Triggers add to them in stats_deltas; here these are folded."""

from shared.db import Connection, Pool

FOLDED = 10_000
"""Rows in one statement: more than all scorers add between two looks, few enough for a short transaction."""

_SUMS = ("customers", "trust_score", "return_rate", "total_orders", "total_refunds")


async def fold(connection: Connection | Pool) -> int:
    """Add what the commits since the last time added to the sums; how many rows that were.

    Any number of scorers may do it at once: each takes rows that no other has, and readers see a row or its sum.
    """
    folded: int = await connection.fetchval(_FOLD, FOLDED)
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
