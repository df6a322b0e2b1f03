"""The SQL of what the API reads. Every table here is written by another service."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

from api.paging import Page
from api.schemas import (
    Attempt,
    AttemptListing,
    Customer,
    CustomerListing,
    Delivery,
    DeliveryListing,
    DeliveryShown,
    Endpoint,
    EvaluatedAction,
    Evaluation,
    FollowedAttempt,
    Job,
    ListedCustomer,
    Rule,
    ScoreChange,
    Stats,
    TimelineEntry,
    TimelineListing,
)
from shared.db import Connection, Pool
from shared.events import SEGMENTS
from shared.identity import FINGERPRINT_KINDS
from shared.ids import derived
from shared.secrets import Vault
from shared.targets import MASK

Row = Mapping[str, Any]

# Customers ----------------------------------------------------------------------------------------------------------

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


async def list_customers(pool: Pool, store_id: UUID, listing: CustomerListing) -> tuple[list[ListedCustomer], int]:
    """A page and the number of all that match. Under equal keys the id decides, so that pages never overlap."""
    matching = (
        "FROM scorer.customers WHERE store_id = $1"
        " AND ($2::text IS NULL OR segment = $2) AND ($3::boolean IS NULL OR is_blocked = $3)"
    )
    given = (store_id, listing.segment, listing.blocked)
    # orderby and order are one of the few words that their model admits.
    rows = await pool.fetch(
        f"SELECT {_CUSTOMER} {matching}"
        f" ORDER BY {listing.orderby} {listing.order}, id {listing.order} LIMIT $4 OFFSET $5",
        *given,
        listing.page.size,
        listing.page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) {matching}", *given)
    return [ListedCustomer(**_customer_fields(row)) for row in rows], total


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


# Jobs ---------------------------------------------------------------------------------------------------------------


async def find_job(pool: Pool, store_id: UUID, job_id: UUID, schemas: Sequence[str]) -> tuple[str, Job] | None:
    """With the schema of the service that does it."""
    tables = " UNION ALL ".join(
        f"SELECT '{schema}' AS schema, id, kind, state, done, total, error FROM {schema}.jobs"
        " WHERE store_id = $1 AND id = $2"
        for schema in schemas
    )
    row = await pool.fetchrow(tables, store_id, job_id)
    return row and (row["schema"], Job(**row))


# Webhooks -----------------------------------------------------------------------------------------------------------

_ENDPOINT = (
    "id, url, description, events, enabled, disabled_reason, delivery, format, include_email, timeout, headers,"
    " filter, permanent_codes, standard_webhooks,"
    " CASE WHEN overlap_until > now() THEN overlap_until END AS overlap_until, created_at, updated_at"
)


def _endpoint(row: Row, vault: Vault) -> Endpoint:
    headers = json.loads(vault.open(row["headers"])) if row["headers"] else {}
    condition = json.loads(row["filter"]) if row["filter"] else None
    return Endpoint(
        **{
            **row,
            "headers": dict.fromkeys(headers, MASK),
            "filter": condition,
            "permanent_codes": sorted(row["permanent_codes"]),
        }
    )


async def find_endpoint(pool: Pool, vault: Vault, store_id: UUID, endpoint_id: UUID) -> Endpoint | None:
    row = await pool.fetchrow(
        f"SELECT {_ENDPOINT} FROM dispatcher.endpoints WHERE store_id = $1 AND id = $2", store_id, endpoint_id
    )
    return row and _endpoint(row, vault)


async def list_endpoints(pool: Pool, vault: Vault, store_id: UUID, page: Page) -> tuple[list[Endpoint], int]:
    rows = await pool.fetch(
        f"SELECT {_ENDPOINT} FROM dispatcher.endpoints WHERE store_id = $1"
        " ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3",
        store_id,
        page.size,
        page.offset,
    )
    total = await pool.fetchval("SELECT count(*) FROM dispatcher.endpoints WHERE store_id = $1", store_id)
    return [_endpoint(row, vault) for row in rows], total


# Deliveries -----------------------------------------------------------------------------------------------------------

_DELIVERY = (
    "d.id, d.endpoint_id AS webhook_id, d.rule_id, d.event, d.email_hash AS customer, d.sequence, d.status, d.reason,"
    " d.attempts, d.max_attempts, d.last_status_code, d.last_error, d.duration_ms,"
    # A parked one waits for its endpoint: when it will be given up is no next attempt.
    " CASE WHEN d.status <> 'parked' THEN d.due_at END AS next_attempt_at, d.created_at, d.finished_at"
)
_LONGEST_ATTEMPT = "interval '1 minute'"
"""Twice the longest timeout: so long before its end no attempt began."""
_ENDED = "a.at + a.duration_ms * interval '1 millisecond'"


def _matching(store_id: UUID, conditions: Mapping[str, object]) -> tuple[str, list[object]]:
    """WHERE for the conditions (each with $ where its value goes) that have a value, and those values."""
    given = {text: value for text, value in {"d.store_id = $": store_id, **conditions}.items() if value is not None}
    numbered = (text.replace("$", f"${number}") for number, text in enumerate(given, 1))
    return " AND ".join(numbered), list(given.values())


def _wanted(listing: DeliveryListing) -> dict[str, object]:
    return {
        "d.endpoint_id = $": listing.webhook_id,
        "d.event = $": listing.event,
        "d.status = $": listing.status,
        "d.email_hash = $": listing.customer,
    }


async def list_deliveries(pool: Pool, store_id: UUID, listing: DeliveryListing) -> tuple[list[Delivery], int]:
    """Newest first."""
    times = {"d.created_at > $": listing.after, "d.created_at < $": listing.before}
    where, given = _matching(store_id, _wanted(listing) | times)
    matching = f"FROM dispatcher.deliveries d WHERE {where}"
    rows = await pool.fetch(
        f"SELECT {_DELIVERY} {matching} ORDER BY d.created_at DESC, d.id DESC"
        f" LIMIT ${len(given) + 1} OFFSET ${len(given) + 2}",
        *given,
        listing.page.size,
        listing.page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) {matching}", *given)
    return [Delivery(**row) for row in rows], total


async def find_delivery(pool: Pool, store_id: UUID, delivery_id: UUID) -> Delivery | None:
    row = await pool.fetchrow(
        f"SELECT {_DELIVERY} FROM dispatcher.deliveries d WHERE d.store_id = $1 AND d.id = $2", store_id, delivery_id
    )
    return row and Delivery(**row)


async def show_delivery(pool: Pool, store_id: UUID, delivery_id: UUID, *, personal: bool) -> DeliveryShown | None:
    """With all its attempts. `personal`: and with what was sent and answered."""
    row = await pool.fetchrow(
        f"SELECT {_DELIVERY}, d.recorded_at, b.body FROM dispatcher.deliveries d LEFT JOIN dispatcher.bodies b"
        " ON b.recorded_at = d.recorded_at AND b.source_id = d.source_id AND b.shape = d.shape"
        " WHERE d.store_id = $1 AND d.id = $2",
        store_id,
        delivery_id,
    )
    if row is None:
        return None
    made = await pool.fetch(
        "SELECT number, at, status_code, phase, error, duration_ms, address, answer AS body FROM dispatcher.attempts"
        " WHERE recorded_at = $1 AND delivery_id = $2 ORDER BY number",
        row["recorded_at"],
        delivery_id,
    )
    attempts = [Attempt(**{**one, "body": _text(one["body"], shown=personal)}) for one in made]
    return DeliveryShown(**{**row, "attempts": attempts, "body": _text(row["body"], shown=personal)})


def _text(content: bytes | None, *, shown: bool) -> str | None:
    return content.decode("utf-8", "replace") if shown and content is not None else None


async def list_attempts(
    pool: Pool, store_id: UUID, listing: AttemptListing, *, since: datetime
) -> tuple[list[FollowedAttempt], int]:
    """Those that ended after `since`, the last one first."""
    times = {
        # The first is for the index; what ended in time is said by the others.
        f"a.at > $::timestamptz - {_LONGEST_ATTEMPT}": since,
        f"{_ENDED} > $": since,
        f"{_ENDED} < $": listing.before,
    }
    where, given = _matching(store_id, _wanted(listing) | times)
    matching = (
        "FROM dispatcher.attempts a JOIN dispatcher.deliveries d"
        f" ON d.recorded_at = a.recorded_at AND d.id = a.delivery_id WHERE {where}"
    )
    rows = await pool.fetch(
        f"SELECT {_DELIVERY}, d.id AS delivery_id, a.number, a.at, {_ENDED} AS ended_at, a.status_code, a.phase,"
        f" a.error, a.duration_ms AS attempt_ms, a.address {matching}"
        f" ORDER BY ended_at DESC, a.delivery_id, a.number DESC LIMIT ${len(given) + 1} OFFSET ${len(given) + 2}",
        *given,
        listing.page.size,
        listing.page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) {matching}", *given)
    return [FollowedAttempt(**{**row, "duration_ms": row["attempt_ms"]}) for row in rows], total


# Rules --------------------------------------------------------------------------------------------------------------

_RULE = (
    "id, version, name, description, trigger, conditions, actions, cooldown, hourly_limit, mode, created_at, updated_at"
)


def _rule(row: Row) -> Rule:
    conditions = json.loads(row["conditions"]) if row["conditions"] else None
    return Rule(**{**row, "conditions": conditions, "actions": json.loads(row["actions"])})


async def find_rule(pool: Pool, store_id: UUID, rule_id: UUID) -> Rule | None:
    row = await pool.fetchrow(
        f"SELECT {_RULE} FROM rule_engine.rules WHERE store_id = $1 AND id = $2", store_id, rule_id
    )
    return row and _rule(row)


async def list_rules(pool: Pool, store_id: UUID, page: Page) -> tuple[list[Rule], int]:
    rows = await pool.fetch(
        f"SELECT {_RULE} FROM rule_engine.rules WHERE store_id = $1"
        " ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3",
        store_id,
        page.size,
        page.offset,
    )
    total = await pool.fetchval("SELECT count(*) FROM rule_engine.rules WHERE store_id = $1", store_id)
    return [_rule(row) for row in rows], total


_EVALUATIONS = """
    SELECT recorded_at, id, event_id, rule_version, trigger, email_hash, order_id, 'fired' AS outcome, reason,
           values, actions
    FROM rule_engine.firings WHERE store_id = $1 AND rule_id = $2
    UNION ALL
    SELECT e.recorded_at, NULL, e.event_id, e.versions[n], e.trigger, e.email_hash, e.order_id,
           CASE WHEN $2 = ANY(e.failed) THEN 'failed' ELSE 'skipped' END, e.reasons[n], e.seen, '[]'
    FROM rule_engine.evaluations e, array_position(e.rule_ids, $2) AS n
    WHERE e.store_id = $1 AND n IS NOT NULL
"""


async def list_evaluations(pool: Pool, store_id: UUID, rule_id: UUID, page: Page) -> tuple[list[Evaluation], int]:
    """Newest first, fired and skipped, each action with what became of it."""
    rows = await pool.fetch(
        f"{_EVALUATIONS} ORDER BY recorded_at DESC, event_id DESC LIMIT $3 OFFSET $4",
        store_id,
        rule_id,
        page.size,
        page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) FROM ({_EVALUATIONS}) AS evaluation", store_id, rule_id)
    results = await _results(pool, rule_id, [row for row in rows if row["outcome"] == "fired"])
    return [_evaluation(row, rule_id, _evaluated(row, results)) for row in rows], total


def _evaluation(row: Row, rule_id: UUID, actions: list[EvaluatedAction]) -> Evaluation:
    return Evaluation(
        id=row["id"] or derived(rule_id, row["event_id"]),
        rule_id=rule_id,
        rule_version=row["rule_version"],
        event_id=row["event_id"],
        trigger=row["trigger"],
        customer=row["email_hash"],
        order_id=row["order_id"],
        outcome=row["outcome"],
        reason=row["reason"],
        values=json.loads(row["values"]),
        actions=actions,
        at=row["recorded_at"],
    )


async def _results(pool: Pool, rule_id: UUID, firings: Sequence[Row]) -> dict[str, Row]:
    """The deliveries that a rule's actions became, by the action's id. They lie in the partition of the firing."""
    asked = [action["id"] for firing in firings for action in json.loads(firing["actions"])]
    if not asked:
        return {}
    rows = await pool.fetch(
        "SELECT source_id, id, status, coalesce(last_error, reason) AS detail FROM dispatcher.deliveries"
        " WHERE recorded_at = ANY($1::timestamptz[]) AND source_id = ANY($2::uuid[]) AND rule_id = $3",
        [firing["recorded_at"] for firing in firings],
        asked,
        rule_id,
    )
    return {str(row["source_id"]): row for row in rows}


def _evaluated(row: Row, results: Mapping[str, Row]) -> list[EvaluatedAction]:
    return [_action(action["type"], results.get(action["id"])) for action in json.loads(row["actions"])]


def _action(kind: str, delivery: Row | None) -> EvaluatedAction:
    if delivery is None:
        return EvaluatedAction(type=kind, status="pending", detail=None, delivery_id=None)
    return EvaluatedAction(type=kind, status=delivery["status"], detail=delivery["detail"], delivery_id=delivery["id"])
