"""Customers as the scorer keeps them, their timelines and score histories, and all that is known of one."""

import json
from collections.abc import AsyncIterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

from api.paging import Page
from api.schemas import (
    Customer,
    CustomerListing,
    ListedCustomer,
    ScoreChange,
    TimelineEntry,
    TimelineListing,
)
from api.store import listed
from api.store.listed import Matching
from shared.db import Connection, Pool
from shared.identity import FINGERPRINT_KINDS

Row = Mapping[str, Any]

_CUSTOMER = (
    "id, email_hash, trust_score, segment, total_orders, total_refunds, return_rate, total_order_value,"
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


async def find_customer(pool: Pool, store_id: UUID, email_hash: str) -> Customer | None:
    row = await pool.fetchrow(
        f"SELECT {_CUSTOMER}, signals, tags, linked_accounts_count, total_disputes FROM scorer.customers"
        " WHERE store_id = $1 AND email_hash = $2",
        store_id,
        email_hash,
    )
    if row is None:
        return None
    return Customer(
        **_customer_fields(row),
        signals=json.loads(row["signals"]),
        tags=row["tags"],
        linked_accounts_count=row["linked_accounts_count"],
        total_disputes=row["total_disputes"],
    )


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
        return [ListedCustomer(**_customer_fields(row)) for row in rows], matching.total


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


# An export is written by Postgres, row by row, so that it needs no more memory for a customer of ten thousand orders.


def _written(time: str) -> str:
    return f"to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"


_EXPORTED_CUSTOMER = f"""
    SELECT json_build_object(
        'id', id, 'email_hash', email_hash, 'email', email, 'trust_score', trust_score, 'segment', segment,
        'signals', signals, 'is_blocked', is_blocked, 'block_reason', block_reason, 'is_allowlisted', is_allowlisted,
        'tags', tags, 'total_orders', total_orders, 'completed_orders', completed_orders,
        'cancelled_orders', cancelled_orders, 'total_order_value', total_order_value, 'total_refunds', total_refunds,
        'total_refund_value', total_refund_value, 'full_refunds', full_refunds, 'return_rate', return_rate,
        'total_disputes', total_disputes, 'disputes_won', disputes_won, 'disputes_lost', disputes_lost,
        'total_coupons_used', total_coupons_used, 'first_order_coupons', first_order_coupons,
        'coupon_then_refund', coupon_then_refund, 'linked_accounts_count', linked_accounts_count,
        'first_order_date', {_written("first_order_at")}, 'last_order_date', {_written("last_order_at")},
        'created_at', {_written("created_at")}, 'updated_at', {_written("updated_at")})::text
    FROM scorer.customers WHERE store_id = $1 AND email_hash = $2
"""
_OF_ORDERS = "SELECT order_id FROM scorer.orders WHERE store_id = $1 AND email_hash = $2"
_EXPORTED_LISTS = {
    "orders": f"""
        SELECT json_build_object(
            'id', order_id, 'number', number, 'status', status, 'currency', currency, 'total', total,
            'item_count', item_count, 'product_ids', product_ids, 'categories', categories,
            'payment_method', payment_method, 'billing_country', billing_country,
            'shipping_country', shipping_country, 'deleted', deleted,
            'created_at', {_written("created_at")}, 'modified_at', {_written("modified_at")})::text
        FROM scorer.orders WHERE store_id = $1 AND email_hash = $2 ORDER BY created_at, order_id
    """,
    "refunds": f"""
        SELECT json_build_object(
            'order_id', order_id, 'id', refund_id, 'amount', amount, 'reason', reason)::text
        FROM (
            SELECT order_id, refund_id, amount, reason FROM scorer.refunds
            WHERE store_id = $1 AND order_id IN ({_OF_ORDERS})
            UNION ALL
            SELECT order_id, refund_id, amount, reason FROM scorer.reported_refunds AS reported
            WHERE store_id = $1 AND order_id IN ({_OF_ORDERS}) AND NOT EXISTS (
                SELECT FROM scorer.refunds AS listed WHERE listed.store_id = reported.store_id
                AND listed.order_id = reported.order_id AND listed.refund_id = reported.refund_id)
        ) AS refund ORDER BY order_id, refund_id
    """,
    "coupons": """
        SELECT json_build_object('order_id', order_id, 'code', coupon->>0, 'once', coupon->1)::text
        FROM scorer.orders, jsonb_array_elements(coupons) AS coupon
        WHERE store_id = $1 AND email_hash = $2 ORDER BY created_at, order_id
    """,
    "disputes": f"""
        SELECT json_build_object(
            'id', dispute_id, 'order_id', order_id, 'payments', payments, 'amount', amount, 'currency', currency,
            'reason', reason, 'status', status, 'opened_at', {_written("opened_at")},
            'modified_at', {_written("modified_at")})::text
        FROM scorer.disputes WHERE store_id = $1 AND order_id IN ({_OF_ORDERS}) ORDER BY opened_at, dispute_id
    """,
    "checkouts": f"""
        SELECT json_build_object(
            'id', id, 'kind', kind, 'at', {_written("at")}, 'decision', decision, 'reason', reason, 'code', code,
            'country', country)::text
        FROM scorer.checkouts WHERE store_id = $1 AND email_hash = $2 ORDER BY at, id
    """,
    "timeline": f"""
        SELECT json_build_object(
            'id', id, 'type', type, 'occurred_at', {_written("occurred_at")}, 'data', data)::text
        FROM scorer.timeline WHERE store_id = $1 AND email_hash = $2 ORDER BY occurred_at, id
    """,
    "score_history": f"""
        SELECT json_build_object(
            'at', {_written("at")}, 'trust_score', trust_score, 'segment', segment, 'points', points,
            'cause', cause)::text
        FROM scorer.score_history WHERE store_id = $1 AND email_hash = $2 ORDER BY id
    """,
}
_EXPORTED_ROWS = 500
"""Rows read at once."""


async def export_customer(pool: Pool, store_id: UUID, email_hash: str) -> AsyncIterator[str]:
    """The text of one JSON object, piece by piece, as all tables stood at one moment; lists are the oldest first."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        customer = await connection.fetchval(_EXPORTED_CUSTOMER, store_id, email_hash)
        links = await _links(connection, store_id, email_hash)
        yield f'{{"customer":{customer or "null"},"links":{json.dumps(links)}'
        for name, statement in _EXPORTED_LISTS.items():
            yield f',"{name}":['
            separator = ""
            async for row in connection.cursor(statement, store_id, email_hash, prefetch=_EXPORTED_ROWS):
                yield separator + row[0]
                separator = ","
            yield "]"
        yield "}"


async def _links(connection: Connection, store_id: UUID, email_hash: str) -> dict[str, int]:
    """How many fingerprints of each kind are kept of the customer: what they were made of is kept nowhere."""
    rows = await connection.fetch(
        "SELECT get_byte(hash, 0) AS kind, count(*) AS number FROM scorer.fingerprints"
        " WHERE store_id = $1 AND email_hash = $2 GROUP BY kind ORDER BY kind",
        store_id,
        email_hash,
    )
    return {FINGERPRINT_KINDS[row["kind"] - 1]: row["number"] for row in rows}
