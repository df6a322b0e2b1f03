"""Customers as the scorer keeps them, their timelines and score histories."""

import json
from uuid import UUID

from api.paging import Page
from api.schemas import CustomerListing, ScoreChange, TimelineEntry, TimelineListing
from api.store import listed
from api.store.listed import Matching
from api.store.times import written
from shared.db import Pool

# Postgres writes a customer's JSON, as schemas.ListedCustomer and schemas.Customer describe it. Made here, it takes
# longer than the rest of a look-up without Postgres.

_LISTED = f"""
    id, email_hash, trust_score, segment, CASE segment WHEN 'vip' THEN 'VIP' ELSE initcap(segment) END AS segment_label,
    total_orders, total_refunds, round(return_rate, 1) AS return_rate,
    round(total_order_value, 2) AS total_order_value, round(total_refund_value, 2) AS total_refund_value,
    is_blocked, is_allowlisted, {written("first_order_at")} AS first_order_date,
    {written("last_order_at")} AS last_order_date, {written("created_at")} AS created_at,
    {written("updated_at")} AS updated_at
"""
_SHOWN = f"{_LISTED}, signals, tags, linked_accounts_count, total_disputes"


async def find_customer(pool: Pool, store_id: UUID, email_hash: str, *, email: bool = False) -> str | None:
    """The text of the customer's JSON; `email`: with the plain address."""
    text: str | None = await pool.fetchval(_FIND_WITH_EMAIL if email else _FIND, store_id, email_hash)
    return text


def _find(fields: str) -> str:
    row = f"SELECT {fields} FROM scorer.customers WHERE store_id = $1 AND email_hash = $2"
    return f"SELECT row_to_json(customer)::text FROM ({row}) AS customer"


_FIND, _FIND_WITH_EMAIL = _find(_SHOWN), _find(f"{_SHOWN}, email")


async def customer_exists(pool: Pool, store_id: UUID, email_hash: str) -> bool:
    found = await pool.fetchval(
        "SELECT true FROM scorer.customers WHERE store_id = $1 AND email_hash = $2", store_id, email_hash
    )
    return bool(found)


async def list_customers(
    pool: Pool, store_id: UUID, listing: CustomerListing, email_hash: str | None
) -> tuple[list[str], int]:
    """A page, as texts of JSON, and the number of all that match, as of one moment.

    Under equal keys the id decides, so that pages never overlap.
    """
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        matching = await listed.matching(connection, store_id, listing, email_hash)
        if listing.page.offset >= matching.total:
            return [], matching.total
        values = (*matching.values, listing.page.size, listing.page.offset)
        rows = await connection.fetch(_page(matching, listing), *values)
        return [row[0] for row in rows], matching.total


def _page(matching: Matching, listing: CustomerListing) -> str:
    """Of keys and ids first: whoever is on another page is not read."""
    order, given = listing.order, len(matching.values)
    fields = f"{_LISTED}, email" if listing.include == "email" else _LISTED
    return (
        f"SELECT row_to_json(customer)::text FROM (SELECT key, id FROM ({matching.statement}) AS matching"
        f" ORDER BY key {order}, id {order} LIMIT ${given + 1} OFFSET ${given + 2}) AS page"
        f" JOIN (SELECT {fields} FROM scorer.customers) AS customer USING (id) ORDER BY key {order}, id {order}"
    )


async def list_score_history(pool: Pool, store_id: UUID, email_hash: str, page: Page) -> tuple[list[ScoreChange], int]:
    """Newest first."""
    matching = "FROM scorer.score_history WHERE store_id = $1 AND email_hash = $2"
    rows = await pool.fetch(
        f"SELECT at, trust_score, segment, points, cause {matching} ORDER BY id DESC LIMIT $3 OFFSET $4",
        store_id,
        email_hash,
        page.size,
        page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) {matching}", store_id, email_hash)
    return [ScoreChange(**{**row, "points": json.loads(row["points"])}) for row in rows], total


async def list_timeline(
    pool: Pool, store_id: UUID, email_hash: str, listing: TimelineListing
) -> tuple[list[TimelineEntry], int]:
    """Newest first."""
    matching = (
        "FROM scorer.timeline WHERE store_id = $1 AND email_hash = $2 AND ($3::text IS NULL OR type = $3)"
        " AND ($4::timestamptz IS NULL OR occurred_at > $4) AND ($5::timestamptz IS NULL OR occurred_at < $5)"
    )
    given = (store_id, email_hash, listing.type, listing.after, listing.before)
    rows = await pool.fetch(
        f"SELECT id, type, occurred_at, data {matching} ORDER BY occurred_at DESC, id DESC LIMIT $6 OFFSET $7",
        *given,
        listing.page.size,
        listing.page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) {matching}", *given)
    return [TimelineEntry(**{**row, "data": json.loads(row["data"])}) for row in rows], total
