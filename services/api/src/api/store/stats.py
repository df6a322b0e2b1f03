"""A store as a whole, from the sums that are kept: nothing is counted here."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID

from api.schemas import Stats
from shared.db import Connection, Pool
from shared.events import SEGMENTS, Segment


@dataclass(frozen=True, slots=True)
class Group:
    """The customers of a store who share these three, and sums over them."""

    segment: Segment
    is_blocked: bool
    is_allowlisted: bool
    customers: int
    trust_score: int
    return_rate: Decimal
    total_orders: int
    total_refunds: int


_GROUPS = """
    SELECT segment, is_blocked, is_allowlisted, sum(customers)::bigint AS customers,
        sum(trust_score)::bigint AS trust_score, sum(return_rate) AS return_rate,
        sum(total_orders)::bigint AS total_orders, sum(total_refunds)::bigint AS total_refunds
    FROM (
        SELECT segment, is_blocked, is_allowlisted, customers, trust_score, return_rate, total_orders, total_refunds
        FROM scorer.stats WHERE store_id = $1
        UNION ALL
        SELECT segment, is_blocked, is_allowlisted, customers, trust_score, return_rate, total_orders, total_refunds
        FROM scorer.stats_deltas WHERE store_id = $1
    ) AS kept
    GROUP BY segment, is_blocked, is_allowlisted HAVING sum(customers) > 0
"""


async def groups(connection: Connection | Pool, store_id: UUID) -> list[Group]:
    """All that have a customer."""
    return [Group(**row) for row in await connection.fetch(_GROUPS, store_id)]


async def segment_counts(pool: Pool, store_id: UUID) -> dict[str, int]:
    """All six, highest first."""
    found = await groups(pool, store_id)
    return {segment: sum(group.customers for group in found if group.segment == segment) for segment in SEGMENTS}


async def stats(pool: Pool, store_id: UUID) -> Stats:
    found = await groups(pool, store_id)
    customers = sum(group.customers for group in found)
    return Stats(
        total_customers=customers,
        average_trust_score=_mean([Decimal(group.trust_score) for group in found], customers),
        blocked_count=sum(group.customers for group in found if group.is_blocked),
        allowlisted_count=sum(group.customers for group in found if group.is_allowlisted),
        average_return_rate=_mean([group.return_rate for group in found], customers),
        total_orders=sum(group.total_orders for group in found),
        total_refunds=sum(group.total_refunds for group in found),
    )


def _mean(sums: Sequence[Decimal], count: int) -> Decimal:
    """One decimal, half up; 0.0 of nothing."""
    return (sum(sums, Decimal(0)) / max(count, 1)).quantize(Decimal("0.1"), rounding=ROUND_HALF_UP)
