"""Which customers a list shows, and how many match, from scorer.listed: a narrow copy of what lists need.

Unfiltered, or by segment, blocked or allowlisted, a list is made of whole groups whose sizes are kept, each in the
order of an index: it is merged from these. Any other filter reads the store's rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from api.schemas import CustomerListing
from api.store import stats
from api.store.stats import Group
from shared.db import Connection


@dataclass(frozen=True, slots=True)
class Matching:
    """What a list shows pages of."""

    statement: str
    """Selects each customer's (key, id), in no order of its own, with these values as $1, $2 …"""
    values: Sequence[object]
    total: int


async def matching(
    connection: Connection, store_id: UUID, listing: CustomerListing, email_hash: str | None
) -> Matching:
    conditions = _conditions(listing, email_hash)
    if not conditions:
        found = [group for group in await stats.groups(connection, store_id) if _is_wanted(group, listing)]
        return Matching(_merged(found, listing), (store_id,), sum(group.customers for group in found))
    return await _filtered(connection, store_id, listing, conditions)


def _is_wanted(group: Group, listing: CustomerListing) -> bool:
    return (
        listing.segment in {None, group.segment}
        and listing.blocked in {None, group.is_blocked}
        and listing.allowlisted in {None, group.is_allowlisted}
    )


def _merged(groups: Sequence[Group], listing: CustomerListing) -> str:
    # Each branch is sorted for itself: only then does Postgres merge them instead of sorting all.
    key, order = listing.orderby, listing.order
    return " UNION ALL ".join(
        f"(SELECT {key} AS key, id FROM scorer.listed WHERE store_id = $1 AND segment = '{group.segment}'"
        f" AND is_blocked = {group.is_blocked} AND is_allowlisted = {group.is_allowlisted}"
        f" ORDER BY {key} {order}, id {order})"
        for group in groups
    )


Condition = tuple[str, object]
"""SQL with ? for its value."""


def _conditions(listing: CustomerListing, email_hash: str | None) -> list[Condition]:
    """Those that the sizes of groups do not answer."""
    known: list[Condition] = [
        # The index leaves out who has no tags.
        ("tags <> '{}' AND tags @> ARRAY[?::text]", listing.tag),
        ("trust_score >= ?", listing.min_score),
        ("trust_score <= ?", listing.max_score),
        ("last_order_at > ?", listing.last_order_after),
        ("last_order_at < ?", listing.last_order_before),
        ("id = (SELECT id FROM scorer.customers WHERE store_id = $1 AND email_hash = ?)", email_hash),
    ]
    return [(condition, value) for condition, value in known if value is not None]


def _group_conditions(listing: CustomerListing) -> list[Condition]:
    known: list[Condition] = [
        ("segment = ?", listing.segment),
        ("is_blocked = ?", listing.blocked),
        ("is_allowlisted = ?", listing.allowlisted),
    ]
    return [(condition, value) for condition, value in known if value is not None]


async def _filtered(
    connection: Connection, store_id: UUID, listing: CustomerListing, conditions: Sequence[Condition]
) -> Matching:
    conditions = [("store_id = ?", store_id), *_group_conditions(listing), *conditions]
    where = " AND ".join(text.replace("?", f"${n}") for n, (text, _) in enumerate(conditions, 1))
    values = [value for _, value in conditions]
    total = await connection.fetchval(f"SELECT count(*) FROM scorer.listed WHERE {where}", *values)
    return Matching(f"SELECT {listing.orderby} AS key, id FROM scorer.listed WHERE {where}", values, total)
