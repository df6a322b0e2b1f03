"""Customers and the features they are scored by."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from scorer.changes import Rescored
from scorer.checkouts import Checkout
from scorer.customer import Customer, Key
from scorer.facts import DISPUTE_LOST
from scorer.features import CategoryOrders, CouponOrder, DisputeState, Features, Linked
from scorer.signals import Signal
from shared.db import Connection, columns
from shared.events import CheckoutAttemptFact, Snapshot
from shared.identity import FINGERPRINT_KINDS, FingerprintKind

_HERE = Path(__file__).parent
_FEATURES = (_HERE / "features.sql").read_text()
_LINKS = (_HERE / "links.sql").read_text()


async def ensure(connection: Connection, customers: Iterable[tuple[UUID, str, str, datetime]], now: datetime) -> None:
    """Create those that do not exist: (store id, email_hash, e-mail, when they did something), by hash.

    An erased customer who comes back has an e-mail again; facts from before the erasure bring none back.
    """
    rows = [(store, hashed, email, email.rpartition("@")[2], at) for store, hashed, email, at in customers]
    await connection.execute(
        "INSERT INTO scorer.customers AS c (store_id, email_hash, email, email_domain, created_at, updated_at)"
        " SELECT k.store_id, k.email_hash, k.email, k.domain, $6, $6"
        " FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])"
        "  AS k (store_id, email_hash, email, domain, at)"
        " WHERE NOT EXISTS (SELECT FROM scorer.customers o WHERE o.store_id = k.store_id"
        "  AND o.email_hash = k.email_hash AND (o.email IS NOT NULL OR o.erased_at >= k.at))"
        " ORDER BY k.email_hash, k.store_id ON CONFLICT (store_id, email_hash) DO UPDATE"
        " SET email = EXCLUDED.email, email_domain = EXCLUDED.email_domain WHERE c.erased_at IS NOT NULL",
        *columns(sorted(rows, key=lambda row: (row[1], row[0])), 5),
        now,
    )


async def lock(connection: Connection, keys: Sequence[Key]) -> dict[Key, Customer]:
    """The customers that exist, locked in the order of their hashes until the commit."""
    rows = await connection.fetch(
        "SELECT c.store_id, c.email_hash, c.email, c.email_domain, c.trust_score, c.segment, c.is_blocked,"
        " c.is_allowlisted, c.tags, c.sequence, c.own_score, c.first_coupon_at, c.linked_accounts_count,"
        " c.shipping_points, c.card_testing_at, c.erased_at FROM scorer.customers c"
        " JOIN unnest($1::uuid[], $2::text[]) AS k (store_id, email_hash)"
        " ON c.store_id = k.store_id AND c.email_hash = k.email_hash"
        " ORDER BY c.email_hash, c.store_id FOR UPDATE OF c",
        *columns(keys, 2),
    )
    found = (Customer(**{**row, "tags": tuple(row["tags"])}) for row in rows)
    return {customer.key: customer for customer in found}


# Features -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counting:
    """How a store counts, as far as the statements need to know."""

    currency: str
    critical_below: int
    """The score below which it calls a customer Critical."""


async def features(
    connection: Connection, keys: Sequence[Key], stores: Mapping[UUID, Counting], now: datetime
) -> dict[Key, Features]:
    """Features of all the given customers, also of those without facts."""
    asked = [(*key, stores[key[0]].currency) for key in keys]
    counted = await connection.fetch(_FEATURES, *columns(asked, 3), now)
    linking = await connection.fetch(_LINKS, *columns([(*key, stores[key[0]].critical_below) for key in keys], 3))
    links = {(row["store_id"], row["email_hash"]): row for row in linking}
    return {
        (row["store_id"], row["email_hash"]): _features(row, links.get((row["store_id"], row["email_hash"])))
        for row in counted
    }


_PLAIN = (
    "total_orders",
    "completed_orders",
    "cancelled_orders",
    "refunded_orders",
    "total_refunds",
    "full_refunds",
    "total_order_value",
    "total_refund_value",
    "foreign_orders",
    "first_completed_at",
    "first_order_at",
    "last_order_at",
    "next_order_at",
    "most_orders_in_an_hour",
    "last_burst_at",
    "recent_addresses",
    "oldest_recent_at",
    "last_lockout_at",
    "last_freeze_at",
    "last_decline_burst_at",
    "declines_in_burst",
    "next_checkout_at",
)
_IDS = (
    "refunded_ids",
    "fully_refunded_ids",
    "clean_ids",
    "cancelled_ids",
    "burst_ids",
    "recent_address_ids",
    "abroad_ids",
    "new_address_ids",
)


def _features(row: Mapping[str, Any], links: Mapping[str, Any] | None) -> Features:
    """The statements name their columns as the fields are named."""
    values: dict[str, Any] = {name: row[name] for name in _PLAIN}
    values |= {name: tuple(ids) for name in _IDS if (ids := row[name])}
    if row["coupon_orders"]:
        once_codes = frozenset(row["once_codes"] or ())
        values["coupon_orders"] = tuple(
            _coupon_order(*it, once_codes=once_codes) for it in json.loads(row["coupon_orders"])
        )
    if row["categories"]:
        values["categories"] = tuple(
            CategoryOrders(slug, name, orders, refunded, tuple(ids or ()))
            for slug, name, orders, refunded, ids in json.loads(row["categories"])
        )
    if row["disputes"]:
        values["disputes"] = tuple(DisputeState(*it) for it in json.loads(row["disputes"]))
    if links:
        values |= _linked(links)
    return Features(**values)


def _coupon_order(
    order_id: int,
    at: str,
    coupons: list[list[Any]],
    refunded: bool,  # noqa: FBT001  # as the row has it
    *,
    once_codes: frozenset[str],
) -> CouponOrder:
    """Limited to one use: said with the order, or by the store."""
    return CouponOrder(
        order_id,
        datetime.fromisoformat(at),
        tuple(code for code, _ in coupons),
        tuple(code for code, once in coupons if once or code in once_codes),
        refunded,
    )


def _linked(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "linked_accounts": row["linked_accounts"],
        "linked": tuple(
            Linked(other, _kinds(kinds), is_blocked, own_score)
            for other, kinds, is_blocked, own_score in json.loads(row["linked"] or "[]")
        ),
        "linked_coupon_at": row["linked_coupon_at"],
        "linked_coupon_by": row["linked_coupon_by"],
        "hub_kinds": _kinds(row["hub_kinds"] or ()),
    }


def _kinds(codes: Iterable[int]) -> tuple[FingerprintKind, ...]:
    """Fingerprints' first bytes → kinds, in the order of FINGERPRINT_KINDS."""
    return tuple(FINGERPRINT_KINDS[code - 1] for code in sorted(codes))


# Saving ---------------------------------------------------------------------------------------------------------------


async def save(
    connection: Connection,
    changes: Sequence[tuple[Rescored, Snapshot, int, datetime | None]],
    now: datetime,
) -> None:
    """Write what was recalculated: (change, the customer after it, sequence of its last event, next change)."""
    rows = [_row(*change) for change in changes]
    await connection.execute(
        "UPDATE scorer.customers c SET trust_score = k.trust_score, segment = k.segment, signals = k.signals,"
        " is_blocked = k.is_blocked, is_allowlisted = k.is_allowlisted,"
        " block_reason = CASE WHEN k.is_blocked THEN coalesce(k.block_reason, c.block_reason) END,"
        " total_orders = k.total_orders, completed_orders = k.completed_orders,"
        " cancelled_orders = k.cancelled_orders, total_order_value = k.total_order_value,"
        " total_refunds = k.total_refunds, total_refund_value = k.total_refund_value,"
        " full_refunds = k.full_refunds, return_rate = k.return_rate, first_completed_at = k.first_completed_at,"
        " first_order_at = k.first_order_at, last_order_at = k.last_order_at, sequence = k.sequence,"
        " own_score = k.own_score, first_coupon_at = k.first_coupon_at, total_disputes = k.total_disputes,"
        " disputes_won = k.disputes_won, disputes_lost = k.disputes_lost,"
        " total_coupons_used = k.total_coupons_used, first_order_coupons = k.first_order_coupons,"
        " coupon_then_refund = k.coupon_then_refund, linked_accounts_count = k.linked_accounts_count,"
        " shipping_points = k.shipping_points, card_testing_at = k.card_testing_at,"
        " next_change_at = k.next_change_at, updated_at = $33"
        " FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::jsonb[], $6::boolean[], $7::boolean[],"
        " $8::text[], $9::int[], $10::int[], $11::int[], $12::numeric[], $13::int[], $14::numeric[], $15::int[],"
        " $16::numeric[], $17::timestamptz[], $18::timestamptz[], $19::timestamptz[], $20::bigint[], $21::int[],"
        " $22::timestamptz[], $23::int[], $24::int[], $25::int[], $26::int[], $27::int[], $28::int[], $29::int[],"
        " $30::int[], $31::timestamptz[], $32::timestamptz[])"
        " AS k (store_id, email_hash, trust_score, segment, signals, is_blocked, is_allowlisted, block_reason,"
        " total_orders, completed_orders, cancelled_orders, total_order_value, total_refunds, total_refund_value,"
        " full_refunds, return_rate, first_completed_at, first_order_at, last_order_at, sequence, own_score,"
        " first_coupon_at, total_disputes, disputes_won, disputes_lost, total_coupons_used, first_order_coupons,"
        " coupon_then_refund, linked_accounts_count, shipping_points, card_testing_at, next_change_at)"
        " WHERE c.store_id = k.store_id AND c.email_hash = k.email_hash",
        *columns(rows, 32),
        now,
    )


def _row(change: Rescored, shown: Snapshot, sequence: int, next_change_at: datetime | None) -> tuple[object, ...]:
    after, counted = change.after, change.features
    return (
        after.store_id,
        after.email_hash,
        after.trust_score,
        after.segment,
        signals_json(change.score.signals),
        after.is_blocked,
        after.is_allowlisted,
        change.reason if after.is_blocked and not change.before.is_blocked else None,
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
        after.own_score,
        after.first_coupon_at,
        shown.total_disputes,
        shown.disputes_won,
        shown.disputes_lost,
        shown.total_coupons_used,
        shown.first_order_coupons,
        shown.coupon_then_refund,
        after.linked_accounts_count,
        after.shipping_points,
        after.card_testing_at,
        next_change_at,
    )


def signals_json(signals: Iterable[Signal]) -> str:
    return json.dumps(
        [{"module": s.module, "points": s.points, "reason": s.reason, "evidence": s.evidence} for s in signals]
    )


async def save_tags(connection: Connection, customer: Customer) -> None:
    await connection.execute(
        "UPDATE scorer.customers SET tags = $3 WHERE store_id = $1 AND email_hash = $2",
        customer.store_id,
        customer.email_hash,
        list(customer.tags),
    )


async def save_checkouts(connection: Connection, checkouts: Sequence[Checkout]) -> set[UUID]:
    """Keep them; the ids of those that are new."""
    rows = [_checkout_row(checkout) for checkout in checkouts]
    found = await connection.fetch(
        "INSERT INTO scorer.checkouts (store_id, id, email_hash, kind, at, decision, reason, code, country,"
        " fingerprints) SELECT k.store_id, k.id, k.email_hash, k.kind, k.at, k.decision, k.reason, k.code, k.country,"
        " ARRAY(SELECT decode(f, 'hex') FROM unnest(k.fingerprints::text[]) AS f)"
        " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[],"
        " $8::text[], $9::text[], $10::text[]) AS k (store_id, id, email_hash, kind, at, decision, reason, code,"
        " country, fingerprints) ON CONFLICT (store_id, id) DO NOTHING RETURNING id",
        *columns(rows, 10),
    )
    return {row["id"] for row in found}


def _checkout_row(checkout: Checkout) -> tuple[object, ...]:
    fact = checkout.fact
    hashes = "{" + ",".join(fact.data.fingerprints) + "}"
    if isinstance(fact, CheckoutAttemptFact):
        kind, decision, reason, code, country = "attempt", fact.data.decision, fact.data.reason, "", ""
    else:
        kind, decision, reason, code, country = "decline", None, None, fact.data.code, fact.data.country
    return (
        fact.store_id, fact.id, checkout.email_hash, kind, fact.occurred_at, decision, reason, code, country, hashes
    )  # fmt: skip


async def forget_checkouts(connection: Connection, checkouts: Sequence[Checkout]) -> None:
    await connection.execute(
        "UPDATE scorer.checkouts c SET fingerprints = '{}'"
        " FROM unnest($1::uuid[], $2::uuid[]) AS k (store_id, id) WHERE c.store_id = k.store_id AND c.id = k.id",
        *columns([(checkout.fact.store_id, checkout.fact.id) for checkout in checkouts], 2),
    )


# Erasure --------------------------------------------------------------------------------------------------------------


async def erase(connection: Connection, key: Key, now: datetime) -> None:
    """Null the e-mail and forget what is personal; the hash and the numbers stay."""
    for statement in _ERASURES:
        await connection.execute(statement, *key)
    await connection.execute(
        "UPDATE scorer.customers SET email = NULL, email_domain = NULL, tags = '{}', block_reason = NULL,"
        " erased_at = $3 WHERE store_id = $1 AND email_hash = $2",
        *key,
        now,
    )


_ERASURES = (
    "UPDATE scorer.orders SET fingerprints = '{}' WHERE store_id = $1 AND email_hash = $2 AND fingerprints <> '{}'",
    "UPDATE scorer.checkouts SET fingerprints = '{}' WHERE store_id = $1 AND email_hash = $2 AND fingerprints <> '{}'",
    (
        "UPDATE scorer.timeline SET data = data - 'text' - 'tag' - 'reason' #- '{refund,reason}'"
        " WHERE store_id = $1 AND email_hash = $2"
    ),
    (
        "UPDATE scorer.refunds r SET reason = '' FROM scorer.orders o WHERE o.store_id = $1 AND o.email_hash = $2"
        f" AND r.store_id = o.store_id AND r.order_id = o.order_id AND r.reason !~* '{DISPUTE_LOST}'"
    ),
    (
        "UPDATE scorer.reported_refunds r SET reason = '' FROM scorer.orders o WHERE o.store_id = $1"
        " AND o.email_hash = $2 AND r.store_id = o.store_id AND r.order_id = o.order_id"
        f" AND r.reason !~* '{DISPUTE_LOST}'"
    ),
)


async def event_bodies(connection: Connection, key: Key) -> list[tuple[datetime, UUID, bytes]]:
    """The events that are kept of a customer: (recorded_at, id, body)."""
    rows = await connection.fetch(
        "SELECT recorded_at, id, body FROM scorer.events WHERE store_id = $1 AND email_hash = $2", *key
    )
    return [(row["recorded_at"], row["id"], row["body"]) for row in rows]


async def replace_event_bodies(connection: Connection, bodies: Sequence[tuple[datetime, UUID, bytes]]) -> None:
    """Also of those that still wait to be published."""
    await connection.execute(
        "UPDATE scorer.outbox o SET body = k.body FROM unnest($1::uuid[], $2::bytea[]) AS k (id, body)"
        " WHERE o.id = k.id",
        *columns([(event_id, body) for _, event_id, body in bodies], 2),
    )
    await connection.execute(
        "UPDATE scorer.events e SET body = k.body"
        " FROM unnest($1::timestamptz[], $2::uuid[], $3::bytea[]) AS k (recorded_at, id, body)"
        " WHERE e.recorded_at = k.recorded_at AND e.id = k.id",
        *columns(bodies, 3),
    )
