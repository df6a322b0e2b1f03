"""Customers as the scorer keeps them, their timelines and score histories."""

import json
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

from api.paging import Page
from api.schemas import (
    Customer,
    CustomerListing,
    CustomerWithEmail,
    ListedCustomer,
    ListedCustomerWithEmail,
    ScoreChange,
    TimelineEntry,
    TimelineListing,
)
from api.store import listed
from api.store.listed import Matching
from shared.db import Pool

Row = Mapping[str, Any]

_CUSTOMER = (
    "id, email_hash, email, trust_score, segment, total_orders, total_refunds, return_rate, total_order_value,"
    " total_refund_value, is_blocked, is_allowlisted, first_order_at, last_order_at, created_at, updated_at"
)


def money(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def segment_label(segment: str) -> str:
    return "VIP" if segment == "vip" else segment.capitalize()


def _customer_fields(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "email_hash": row["email_hash"],
        "trust_score": row["trust_score"],
        "segment": row["segment"],
        "segment_label": segment_label(row["segment"]),
        "total_orders": row["total_orders"],
        "total_refunds": row["total_refunds"],
        "return_rate": row["return_rate"].quantize(Decimal("0.1")),
        "total_order_value": money(row["total_order_value"]),
        "total_refund_value": money(row["total_refund_value"]),
        "is_blocked": row["is_blocked"],
        "is_allowlisted": row["is_allowlisted"],
        "first_order_date": row["first_order_at"],
        "last_order_date": row["last_order_at"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


async def find_customer(pool: Pool, store_id: UUID, email_hash: str, *, email: bool = False) -> Customer | None:
    """`email`: with the plain address."""
    row = await pool.fetchrow(
        f"SELECT {_CUSTOMER}, signals, tags, linked_accounts_count, total_disputes FROM scorer.customers"
        " WHERE store_id = $1 AND email_hash = $2",
        store_id,
        email_hash,
    )
    if row is None:
        return None
    fields = _customer_fields(row) | {
        "signals": json.loads(row["signals"]),
        "tags": row["tags"],
        "linked_accounts_count": row["linked_accounts_count"],
        "total_disputes": row["total_disputes"],
    }
    return CustomerWithEmail(**fields, email=row["email"]) if email else Customer(**fields)


async def customer_exists(pool: Pool, store_id: UUID, email_hash: str) -> bool:
    found = await pool.fetchval(
        "SELECT true FROM scorer.customers WHERE store_id = $1 AND email_hash = $2", store_id, email_hash
    )
    return bool(found)


async def list_customers(
    pool: Pool, store_id: UUID, listing: CustomerListing, email_hash: str | None
) -> tuple[list[ListedCustomer], int]:
    """A page and the number of all that match, as of one moment.

    Under equal keys the id decides, so that pages never overlap.
    """
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        matching = await listed.matching(connection, store_id, listing, email_hash)
        if listing.page.offset >= matching.total:
            return [], matching.total
        rows = await connection.fetch(
            _page(matching, listing), *matching.values, listing.page.size, listing.page.offset
        )
        return [_listed(row, email=listing.include == "email") for row in rows], matching.total


def _listed(row: Row, *, email: bool) -> ListedCustomer:
    fields = _customer_fields(row)
    return ListedCustomerWithEmail(**fields, email=row["email"]) if email else ListedCustomer(**fields)


def _page(matching: Matching, listing: CustomerListing) -> str:
    """Of keys and ids first: whoever is on another page is not read."""
    order, given = listing.order, len(matching.values)
    return (
        f"SELECT {_CUSTOMER} FROM (SELECT key, id FROM ({matching.statement}) AS matching"
        f" ORDER BY key {order}, id {order} LIMIT ${given + 1} OFFSET ${given + 2}) AS page"
        f" JOIN scorer.customers USING (id) ORDER BY key {order}, id {order}"
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
