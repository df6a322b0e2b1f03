"""All that is known of one customer, in all services, as one JSON."""

import json
from collections.abc import AsyncIterator
from uuid import UUID

from api.store.times import written
from shared.db import Connection, Pool
from shared.identity import FINGERPRINT_KINDS

# An export is written by Postgres, row by row, so that it needs no more memory for a customer of ten thousand orders.

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
        'erased_at', {written("erased_at")},
        'first_order_date', {written("first_order_at")}, 'last_order_date', {written("last_order_at")},
        'created_at', {written("created_at")}, 'updated_at', {written("updated_at")})::text
    FROM scorer.customers WHERE store_id = $1 AND email_hash = $2
"""
_OF_ORDERS = "SELECT order_id FROM scorer.orders WHERE store_id = $1 AND email_hash = $2"
_EXPORTED_LISTS = {
    "orders": f"""
        SELECT json_build_object(
            'id', order_id, 'number', number, 'status', status, 'currency', currency, 'total', total,
            'item_count', item_count, 'product_ids', product_ids, 'categories', categories,
            'payment_method', payment_method, 'card_brand', card_brand, 'billing_country', billing_country,
            'shipping_country', shipping_country, 'deleted', deleted,
            'created_at', {written("created_at")}, 'modified_at', {written("modified_at")})::text
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
            'reason', reason, 'status', status, 'card_brand', card_brand, 'opened_at', {written("opened_at")},
            'filed_at', {written("filed_at")}, 'modified_at', {written("modified_at")})::text
        FROM scorer.disputes WHERE store_id = $1 AND order_id IN ({_OF_ORDERS}) ORDER BY opened_at, dispute_id
    """,
    "checkouts": f"""
        SELECT json_build_object(
            'id', id, 'kind', kind, 'at', {written("at")}, 'decision', decision, 'reason', reason, 'code', code,
            'country', country)::text
        FROM scorer.checkouts WHERE store_id = $1 AND email_hash = $2 ORDER BY at, id
    """,
    "timeline": f"""
        SELECT json_build_object(
            'id', id, 'type', type, 'occurred_at', {written("occurred_at")}, 'data', data)::text
        FROM scorer.timeline WHERE store_id = $1 AND email_hash = $2 ORDER BY occurred_at, id
    """,
    "score_history": f"""
        SELECT json_build_object(
            'at', {written("at")}, 'trust_score', trust_score, 'segment', segment, 'points', points,
            'cause', cause)::text
        FROM scorer.score_history WHERE store_id = $1 AND email_hash = $2 ORDER BY id
    """,
    "events": f"""
        SELECT json_build_object(
            'id', id, 'type', type, 'occurred_at', {written("occurred_at")}, 'recorded_at', {written("recorded_at")},
            'sequence', sequence, 'data', convert_from(body, 'UTF8')::json->'data')::text
        FROM scorer.events WHERE store_id = $1 AND email_hash = $2 ORDER BY sequence, id
    """,
    "evaluations": f"""
        SELECT json_build_object(
            'event_id', event_id, 'trigger', trigger, 'order_id', order_id, 'at', {written("recorded_at")},
            'values', seen, 'rules', (SELECT json_agg(json_build_object(
                'id', r.id, 'name', known.name, 'version', r.version, 'reason', r.reason,
                'outcome', CASE WHEN r.id = ANY (failed) THEN 'failed' ELSE 'skipped' END) ORDER BY r.position)
                FROM unnest(rule_ids, versions, reasons) WITH ORDINALITY AS r (id, version, reason, position)
                LEFT JOIN rule_engine.rules known ON known.id = r.id))::text
        FROM rule_engine.evaluations WHERE store_id = $1 AND email_hash = $2 ORDER BY recorded_at, event_id
    """,
    "firings": f"""
        SELECT json_build_object(
            'event_id', f.event_id, 'trigger', f.trigger, 'order_id', f.order_id, 'at', {written("f.recorded_at")},
            'values', f.values, 'rule', json_build_object(
                'id', f.rule_id, 'name', r.name, 'version', f.rule_version, 'reason', f.reason),
            'actions', f.actions)::text
        FROM rule_engine.firings f LEFT JOIN rule_engine.rules r ON r.id = f.rule_id
        WHERE f.store_id = $1 AND f.email_hash = $2 ORDER BY f.recorded_at, f.id
    """,
    "deliveries": f"""
        SELECT json_build_object(
            'id', d.id, 'event', d.event, 'webhook_id', d.endpoint_id, 'url', e.url, 'rule_id', d.rule_id,
            'kind', d.shape, 'status', d.status, 'reason', d.reason, 'attempts', d.attempts,
            'created_at', {written("d.created_at")}, 'finished_at', {written("d.finished_at")})::text
        FROM dispatcher.deliveries d LEFT JOIN dispatcher.endpoints e ON e.id = d.endpoint_id
        WHERE d.store_id = $1 AND d.email_hash = $2 AND d.recorded_at = ANY (ARRAY(
            SELECT recorded_at FROM scorer.events WHERE store_id = $1 AND email_hash = $2
            UNION SELECT recorded_at FROM scorer.timeline WHERE store_id = $1 AND email_hash = $2))
        ORDER BY d.recorded_at, d.id
    """,
    "raw_input": f"""
        SELECT json_build_object(
            'id', id, 'source', source, 'topic', topic, 'received_at', {written("received_at")},
            'body', convert_from(body, 'UTF8'))::text
        FROM api.raw_input WHERE store_id = $1 AND body <> ''
        AND (email_hash = $2 OR order_id = ANY (ARRAY({_OF_ORDERS})))
        ORDER BY received_at, id
    """,
}
_EXPORTED_ROWS = 500
"""Rows read at once."""


async def export_customer(pool: Pool, store_id: UUID, email_hash: str) -> AsyncIterator[str]:
    """The text of one JSON object, piece by piece, as all tables stood at one moment; lists are the oldest first."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # a slow reader locks nobody out
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
