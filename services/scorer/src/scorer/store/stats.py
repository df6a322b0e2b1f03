"""The sums over a store's customers, and over its orders by month. Triggers add to them; here that is folded."""

from dataclasses import dataclass

from shared.db import Connection, Pool

FOLDED = 10_000
"""Rows in one statement: more than all scorers mostly add between two looks, few enough for a short transaction."""


@dataclass(frozen=True, slots=True)
class Sums:
    """A table of sums by group, and that of what commits added to them since."""

    table: str
    deltas: str
    groups: tuple[str, ...]
    sums: tuple[str, ...]


CUSTOMERS = Sums(
    "scorer.stats",
    "scorer.stats_deltas",
    ("store_id", "segment", "is_blocked", "is_allowlisted"),
    ("customers", "trust_score", "return_rate", "total_orders", "total_refunds"),
)
ORDERS = Sums("scorer.order_months", "scorer.order_month_deltas", ("store_id", "month", "card_brand"), ("orders",))


async def fold_all(pool: Pool, *, at_once: int = FOLDED) -> None:
    """Until there is less than a statement's worth: readers add up whatever is left."""
    for kept in (CUSTOMERS, ORDERS):
        while await fold(pool, at_once, kept) == at_once:
            pass


async def fold(connection: Connection | Pool, limit: int = FOLDED, kept: Sums = CUSTOMERS) -> int:
    """Add what the commits since the last time added to the sums, or the first of it; how many rows that were.

    Any number of scorers may do it at once: each takes rows that no other has, and readers see a row or its sum.
    """
    folded: int = await connection.fetchval(_statement(kept), limit)
    return folded


def _statement(kept: Sums) -> str:
    groups, names = ", ".join(kept.groups), ", ".join(kept.sums)
    return f"""
        WITH taken AS (
            DELETE FROM {kept.deltas} WHERE (store_id, id) IN (
                SELECT store_id, id FROM {kept.deltas} ORDER BY store_id, id LIMIT $1 FOR UPDATE SKIP LOCKED
            ) RETURNING {groups}, {names}
        ),
        added AS (
            INSERT INTO {kept.table} AS s ({groups}, {names})
            SELECT {groups}, {", ".join(f"sum({name})" for name in kept.sums)}
            FROM taken GROUP BY {groups} ORDER BY {groups}
            ON CONFLICT ({groups})
            DO UPDATE SET {", ".join(f"{name} = s.{name} + EXCLUDED.{name}" for name in kept.sums)}
        )
        SELECT count(*) FROM taken
    """
