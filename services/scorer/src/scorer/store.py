"""All SQL of the scorer. One function per statement, connection first; rows become types here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from scorer.changes import Rescored
from scorer.customer import Customer, Key
from scorer.facts import Folded, Incoming, Result, Stored
from scorer.features import Features
from scorer.signals import Signal
from shared.db import Connection, columns
from shared.events import Event

_FEATURES = (Path(__file__).parent / "features.sql").read_text()

OrderKey = tuple[UUID, int]
"""(store id, order id)"""


async def hash_keys(connection: Connection, store_ids: Iterable[UUID]) -> dict[UUID, bytes]:
    """The sealed e-mail hash keys of the stores that exist."""
    rows = await connection.fetch("SELECT id, hash_key FROM api.stores WHERE id = ANY($1::uuid[])", list(store_ids))
    return {row["id"]: row["hash_key"] for row in rows}


async def lock_orders(connection: Connection, keys: Iterable[OrderKey]) -> None:
    """Until the commit, nobody else folds versions into these orders, also into ones not stored yet.

    Always the first lock of a batch, in sorted order: two batches never wait for each other in a circle.
    """
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(key, 0))"
        ' FROM (SELECT DISTINCT key COLLATE "C" AS key FROM unnest($1::text[]) AS k (key) ORDER BY 1) AS sorted',
        [f"{store_id}/{order_id}" for store_id, order_id in keys],
    )


async def orders(connection: Connection, keys: Sequence[OrderKey]) -> dict[OrderKey, Stored]:
    """The stored winning versions."""
    rows = await connection.fetch(
        "SELECT o.store_id, o.order_id, o.email_hash, o.status, o.modified_at, o.digest, o.announced,"
        " ARRAY(SELECT r.refund_id FROM scorer.refunds r WHERE r.store_id = o.store_id AND r.order_id = o.order_id"
        "       AND o.refund_count > 0) AS refund_ids"
        " FROM unnest($1::uuid[], $2::bigint[]) AS k (store_id, order_id)"
        " JOIN scorer.orders o USING (store_id, order_id)",
        *columns(keys, 2),
    )
    return {
        (row["store_id"], row["order_id"]): Stored(
            email_hash=row["email_hash"],
            status=row["status"],
            modified_at=row["modified_at"],
            digest=row["digest"],
            announced=row["announced"],
            refund_ids=frozenset(row["refund_ids"]),
        )
        for row in rows
    }


async def save_orders(connection: Connection, folded: Sequence[tuple[Incoming, Folded]]) -> None:
    """Replace the stored versions by the winners."""
    rows = [
        (
            winner.store_id,
            winner.order.id,
            winner.email_hash,
            winner.order.number,
            winner.order.status,
            winner.order.currency,
            winner.order.total,
            winner.order.item_count,
            winner.order.payment_method,
            winner.order.billing_country,
            winner.order.shipping_country,
            winner.order.created_at,
            winner.order.modified_at,
            len(winner.order.refunds),
            winner.digest,
            fold.announced,
        )
        for winner, fold in folded
    ]
    await connection.execute(
        "INSERT INTO scorer.orders (store_id, order_id, email_hash, number, status, currency, total, item_count,"
        " payment_method, billing_country, shipping_country, created_at, modified_at, refund_count, digest, announced)"
        " SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],"
        " $7::numeric[], $8::int[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[],"
        " $14::int[], $15::bytea[], $16::boolean[])"
        " ON CONFLICT (store_id, order_id) DO UPDATE SET email_hash = EXCLUDED.email_hash,"
        " number = EXCLUDED.number, status = EXCLUDED.status, currency = EXCLUDED.currency, total = EXCLUDED.total,"
        " item_count = EXCLUDED.item_count, payment_method = EXCLUDED.payment_method,"
        " billing_country = EXCLUDED.billing_country, shipping_country = EXCLUDED.shipping_country,"
        " created_at = EXCLUDED.created_at, modified_at = EXCLUDED.modified_at,"
        " refund_count = EXCLUDED.refund_count, digest = EXCLUDED.digest, announced = EXCLUDED.announced",
        *columns(rows, 16),
    )


async def save_refunds(connection: Connection, winners: Sequence[Incoming], had_refunds: Sequence[OrderKey]) -> None:
    """Make the refunds of these orders those of the winning versions. A store may take a refund back."""
    if had_refunds:
        await connection.execute(
            "DELETE FROM scorer.refunds r USING unnest($1::uuid[], $2::bigint[]) AS k (store_id, order_id)"
            " WHERE r.store_id = k.store_id AND r.order_id = k.order_id",
            *columns(had_refunds, 2),
        )
    rows = [
        (winner.store_id, winner.order.id, refund.id, refund.amount, refund.reason)
        for winner in winners
        for refund in winner.order.refunds
    ]
    if rows:
        await connection.execute(
            "INSERT INTO scorer.refunds (store_id, order_id, refund_id, amount, reason)"
            " SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::numeric[], $5::text[])"
            " ON CONFLICT (store_id, order_id, refund_id) DO NOTHING",  # the same id twice in one version
            *columns(rows, 5),
        )


async def ensure_customers(connection: Connection, customers: Iterable[tuple[UUID, str, str]], now: datetime) -> None:
    """Create those that do not exist: (store id, email_hash, e-mail), in the order of the hashes."""
    rows = [(store_id, email_hash, email, email.rpartition("@")[2]) for store_id, email_hash, email in customers]
    await connection.execute(
        "INSERT INTO scorer.customers (store_id, email_hash, email, email_domain, created_at, updated_at)"
        " SELECT k.store_id, k.email_hash, k.email, k.domain, $5, $5"
        " FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS k (store_id, email_hash, email, domain)"
        " ORDER BY k.email_hash, k.store_id ON CONFLICT DO NOTHING",
        *columns(sorted(rows, key=lambda row: (row[1], row[0])), 4),
        now,
    )


async def lock_customers(connection: Connection, keys: Sequence[Key]) -> dict[Key, Customer]:
    """The customers that exist, locked in the order of their hashes until the commit."""
    rows = await connection.fetch(
        "SELECT c.store_id, c.email_hash, c.email, c.email_domain, c.trust_score, c.segment, c.is_blocked,"
        " c.is_allowlisted, c.tags, c.sequence FROM scorer.customers c"
        " JOIN unnest($1::uuid[], $2::text[]) AS k (store_id, email_hash) USING (store_id, email_hash)"
        " ORDER BY c.email_hash, c.store_id FOR UPDATE OF c",
        *columns(keys, 2),
    )
    found = (Customer(**{**row, "tags": tuple(row["tags"])}) for row in rows)
    return {customer.key: customer for customer in found}


async def features(connection: Connection, keys: Sequence[Key], now: datetime) -> dict[Key, Features]:
    """Features of all the given customers, also of those without orders."""
    rows = await connection.fetch(_FEATURES, *columns(keys, 2), now)
    read = {(row["store_id"], row["email_hash"]): _features(row) for row in rows}
    return {key: read.get(key, Features()) for key in keys}


def _features(row: Mapping[str, Any]) -> Features:
    """features.sql names its columns as the fields are named."""
    values: dict[str, Any] = {name: _value(name, row[name]) for name in Features.__slots__}
    return Features(**values)


def _value(name: str, value: Any) -> Any:
    """Arrays become tuples, and an aggregate over no rows an empty one."""
    return tuple(value or ()) if name.endswith("_ids") else value


async def save_customers(connection: Connection, changes: Sequence[tuple[Rescored, int]], now: datetime) -> None:
    """Write what was recalculated: (change, sequence of its last event)."""
    rows = [_customer_row(change, sequence) for change, sequence in changes]
    await connection.execute(
        "UPDATE scorer.customers c SET trust_score = k.trust_score, segment = k.segment, signals = k.signals,"
        " is_blocked = k.is_blocked, is_allowlisted = k.is_allowlisted,"
        " block_reason = CASE WHEN k.is_blocked THEN coalesce(k.block_reason, c.block_reason) END,"
        " total_orders = k.total_orders, completed_orders = k.completed_orders,"
        " cancelled_orders = k.cancelled_orders, total_order_value = k.total_order_value,"
        " total_refunds = k.total_refunds, total_refund_value = k.total_refund_value,"
        " full_refunds = k.full_refunds, return_rate = k.return_rate, first_completed_at = k.first_completed_at,"
        " first_order_at = k.first_order_at, last_order_at = k.last_order_at, sequence = k.sequence,"
        " updated_at = $21"
        " FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::jsonb[], $6::boolean[], $7::boolean[],"
        " $8::text[], $9::int[], $10::int[], $11::int[], $12::numeric[], $13::int[], $14::numeric[], $15::int[],"
        " $16::numeric[], $17::timestamptz[], $18::timestamptz[], $19::timestamptz[], $20::bigint[])"
        " AS k (store_id, email_hash, trust_score, segment, signals, is_blocked, is_allowlisted, block_reason,"
        " total_orders, completed_orders, cancelled_orders, total_order_value, total_refunds, total_refund_value,"
        " full_refunds, return_rate, first_completed_at, first_order_at, last_order_at, sequence)"
        " WHERE c.store_id = k.store_id AND c.email_hash = k.email_hash",
        *columns(rows, 20),
        now,
    )


def _customer_row(change: Rescored, sequence: int) -> tuple[object, ...]:
    after, counted = change.after, change.features
    return (
        after.store_id,
        after.email_hash,
        after.trust_score,
        after.segment,
        signals_json(change.score.signals),
        after.is_blocked,
        after.is_allowlisted,
        change.reason,
        counted.total_orders,
        counted.completed_orders,
        counted.cancelled_orders,
        counted.total_order_value,
        counted.total_refunds,
        counted.total_refund_value,
        counted.full_refunds,
        counted.return_rate,
        counted.first_completed_at,
        counted.first_order_at,
        counted.last_order_at,
        sequence,
    )


def signals_json(signals: Iterable[Signal]) -> str:
    return json.dumps([asdict(signal) for signal in signals])


async def save_events(connection: Connection, events: Sequence[Event]) -> None:
    """Keep the events as they are published, for timelines and backtests."""
    await connection.copy_records_to_table(
        "events",
        schema_name="scorer",
        columns=("recorded_at", "id", "store_id", "email_hash", "sequence", "type", "occurred_at", "body"),
        records=[
            (e.recorded_at, e.id, e.store_id, e.customer.email_hash, e.sequence, e.type, e.occurred_at, e.encode())
            for e in events
        ],
    )


async def save_outcomes(
    connection: Connection, outcomes: Iterable[tuple[UUID, Result, str | None]], now: datetime
) -> None:
    """What became of accepted inputs. The first answer stays: a redelivered fact is no new input."""
    await connection.execute(
        "INSERT INTO scorer.input_outcomes (input_id, outcome, reason, at)"
        " SELECT *, $4 FROM unnest($1::uuid[], $2::text[], $3::text[]) ON CONFLICT (input_id) DO NOTHING",
        *columns(list(outcomes), 3),
        now,
    )


async def forget_outcomes(connection: Connection, days: int) -> None:
    await connection.execute("DELETE FROM scorer.input_outcomes WHERE at < now() - make_interval(days => $1)", days)


async def mark_rescore(connection: Connection, keys: Sequence[Key], now: datetime) -> None:
    """Ask for a recalculation of customers that a batch touched but did not bring."""
    await connection.execute(
        "INSERT INTO scorer.rescore_due (store_id, email_hash, since)"
        " SELECT *, $3 FROM unnest($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING",
        *columns(keys, 2),
        now,
    )


async def take_rescore_due(connection: Connection, limit: int) -> list[Key]:
    """Claim customers to recalculate; gone when the transaction commits."""
    rows = await connection.fetch(
        "DELETE FROM scorer.rescore_due WHERE (store_id, email_hash) IN ("
        " SELECT store_id, email_hash FROM scorer.rescore_due ORDER BY since LIMIT $1 FOR UPDATE SKIP LOCKED)"
        " RETURNING store_id, email_hash",
        limit,
    )
    return [(row["store_id"], row["email_hash"]) for row in rows]
