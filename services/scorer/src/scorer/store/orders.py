"""Orders, their refunds and deletions, disputes, and the payments that join the two."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from scorer.batch import DisputeKey, OrderKey
from scorer.changes import Asked
from scorer.disputes import Case
from scorer.facts import DISPUTE_LOST, Folded, Incoming, OrderState, Settled, Version, says_dispute
from shared.db import Connection, columns
from shared.events import Coupon, Dispute, OrderInfo, Refund, ReportedRefund

Payment = tuple[UUID, str]
"""(store id, what the payment provider calls it)"""


async def lock(connection: Connection, orders: Iterable[OrderKey], disputes: Iterable[DisputeKey]) -> None:
    """Until the commit, nobody else folds facts into these, also into ones not stored yet.

    In sorted order: two batches never wait for each other in a circle.
    """
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(key, 0))"
        ' FROM (SELECT DISTINCT key COLLATE "C" AS key FROM unnest($1::text[]) AS k (key) ORDER BY 1) AS sorted',
        [f"{store_id}/{order_id}" for store_id, order_id in orders]
        + [f"{store_id}/dispute/{dispute_id}" for store_id, dispute_id in disputes],
    )


async def states(connection: Connection, keys: Sequence[OrderKey]) -> dict[OrderKey, OrderState]:
    """What is known of these orders; those of which nothing is known are left out."""
    rows = await connection.fetch(
        "SELECT k.store_id, k.order_id, o.email_hash, o.number, o.status, o.currency, o.total, o.item_count,"
        " o.payment_method, o.billing_country, o.shipping_country, o.created_at, o.modified_at, o.digest,"
        " o.announced, o.coupons, o.fingerprints, d.deleted_at,"
        " (SELECT jsonb_agg(jsonb_build_array(r.refund_id, r.amount::text, r.reason)) FROM scorer.refunds r"
        "  WHERE r.store_id = k.store_id AND r.order_id = k.order_id AND o.listed_refunds > 0) AS listed,"
        " (SELECT jsonb_agg(jsonb_build_array(r.refund_id, r.amount::text, r.reason, r.reported_at))"
        "  FROM scorer.reported_refunds r WHERE r.store_id = k.store_id AND r.order_id = k.order_id) AS reported"
        " FROM unnest($1::uuid[], $2::bigint[]) AS k (store_id, order_id)"
        " LEFT JOIN scorer.orders o ON o.store_id = k.store_id AND o.order_id = k.order_id"
        " LEFT JOIN scorer.deleted_orders d ON d.store_id = k.store_id AND d.order_id = k.order_id"
        " WHERE o.digest IS NOT NULL OR d.deleted_at IS NOT NULL OR EXISTS (SELECT FROM scorer.reported_refunds r"
        "  WHERE r.store_id = k.store_id AND r.order_id = k.order_id)",
        *columns(keys, 2),
    )
    return {(row["store_id"], row["order_id"]): _state(row) for row in rows}


def _state(row: Mapping[str, Any]) -> OrderState:
    reported = (
        (ReportedRefund(id=r[0], amount=Decimal(r[1]), reason=r[2], order_id=row["order_id"]), r[3])
        for r in json.loads(row["reported"] or "[]")
    )
    return OrderState(
        version=_version(row) if row["digest"] else None,
        announced=bool(row["announced"]),
        deleted_at=row["deleted_at"],
        reported={refund.id: (datetime.fromisoformat(at), refund) for refund, at in reported},
    )


def _version(row: Mapping[str, Any]) -> Version:
    info = {name: row[name] for name in OrderInfo.model_fields if name != "id"}
    return Version(
        info=OrderInfo.model_construct(id=row["order_id"], **info),
        email_hash=row["email_hash"],
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        digest=row["digest"],
        refunds={r[0]: Refund(id=r[0], amount=Decimal(r[1]), reason=r[2]) for r in json.loads(row["listed"] or "[]")},
        coupons=tuple(Coupon(code=code, once=once) for code, once in json.loads(row["coupons"] or "[]")),
        fingerprints=tuple(map(bytes.hex, row["fingerprints"])),
    )


@dataclass(frozen=True, slots=True)
class Saved:
    """An order as a batch leaves it."""

    key: OrderKey
    folded: Folded
    settled: Settled
    disputed: bool
    forgotten: bool
    """Its customer was erased after it was placed: nothing personal of it is kept."""
    card_brand: str
    """"": not known."""


async def save(connection: Connection, orders: Sequence[Saved]) -> None:
    """Replace the stored versions by the winners, or settle anew those whose version stays."""
    with_version = [(saved, winner) for saved in orders if (winner := saved.folded.winner)]
    if with_version:
        await _save_versions(connection, with_version)
        await _save_refunds(connection, with_version)
    if rest := [saved for saved in orders if saved.folded.winner is None]:
        await _save_settled(connection, rest)


async def _save_versions(connection: Connection, orders: Sequence[tuple[Saved, Incoming]]) -> None:
    rows = [_row(saved, winner) for saved, winner in orders]
    await connection.execute(
        "INSERT INTO scorer.orders (store_id, order_id, email_hash, number, status, currency, total, item_count,"
        " payment_method, billing_country, shipping_country, created_at, modified_at, digest, announced,"
        " refund_count, full_refund_count, refund_value, listed_refunds, deleted, disputed, coupons, product_ids,"
        " categories, fingerprints, card_brand)"
        " SELECT k.store_id, k.order_id, k.email_hash, k.number, k.status, k.currency, k.total, k.item_count,"
        " k.payment_method, k.billing_country, k.shipping_country, k.created_at, k.modified_at, k.digest,"
        " k.announced, k.refund_count, k.full_refund_count, k.refund_value, k.listed_refunds, k.deleted,"
        " k.disputed, k.coupons, k.products::bigint[],"
        " CASE WHEN k.products = '{}' THEN '{}' ELSE ARRAY(SELECT DISTINCT unnest(p.categories)"
        "  FROM scorer.products p WHERE p.store_id = k.store_id AND p.product_id = ANY(k.products::bigint[])"
        "  ORDER BY 1) END,"
        " ARRAY(SELECT decode(f, 'hex') FROM unnest(k.fingerprints::text[]) AS f), k.card_brand"
        " FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],"
        " $7::numeric[], $8::int[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[],"
        " $14::bytea[], $15::boolean[], $16::int[], $17::int[], $18::numeric[], $19::int[], $20::boolean[],"
        " $21::boolean[], $22::jsonb[], $23::text[], $24::text[], $25::text[])"
        " AS k (store_id, order_id, email_hash, number, status, currency, total, item_count, payment_method,"
        " billing_country, shipping_country, created_at, modified_at, digest, announced, refund_count,"
        " full_refund_count, refund_value, listed_refunds, deleted, disputed, coupons, products, fingerprints,"
        " card_brand)"
        " ON CONFLICT (store_id, order_id) DO UPDATE SET email_hash = EXCLUDED.email_hash,"
        " number = EXCLUDED.number, status = EXCLUDED.status, currency = EXCLUDED.currency, total = EXCLUDED.total,"
        " item_count = EXCLUDED.item_count, payment_method = EXCLUDED.payment_method,"
        " billing_country = EXCLUDED.billing_country, shipping_country = EXCLUDED.shipping_country,"
        " created_at = EXCLUDED.created_at, modified_at = EXCLUDED.modified_at, digest = EXCLUDED.digest,"
        " announced = EXCLUDED.announced, refund_count = EXCLUDED.refund_count,"
        " full_refund_count = EXCLUDED.full_refund_count, refund_value = EXCLUDED.refund_value,"
        " listed_refunds = EXCLUDED.listed_refunds, deleted = EXCLUDED.deleted, disputed = EXCLUDED.disputed,"
        " coupons = EXCLUDED.coupons, product_ids = EXCLUDED.product_ids, categories = EXCLUDED.categories,"
        " fingerprints = EXCLUDED.fingerprints, card_brand = greatest(orders.card_brand, EXCLUDED.card_brand)",
        *columns(rows, 25),
    )


def _row(saved: Saved, winner: Incoming) -> tuple[object, ...]:
    order, settled = winner.order, saved.settled
    return (
        *saved.key,
        saved.folded.owner,
        order.number,
        order.status,
        order.currency,
        order.total,
        order.item_count,
        order.payment_method,
        order.billing_country,
        order.shipping_country,
        order.created_at,
        order.modified_at,
        winner.version.digest,
        saved.folded.after.announced,
        settled.count,
        settled.full,
        settled.value,
        len(winner.version.refunds),
        saved.folded.after.deleted,
        saved.disputed,
        json.dumps([[coupon.code, coupon.once] for coupon in order.coupons]) if order.coupons else None,
        _array(order.product_ids),
        "{}" if saved.forgotten else _array(order.fingerprints),
        saved.card_brand,
    )


def _array(items: Sequence[object]) -> str:
    """An array literal of numbers or hex digits: unnest would flatten an array of arrays."""
    return "{" + ",".join(map(str, items)) + "}"


async def _save_refunds(connection: Connection, winners: Sequence[tuple[Saved, Incoming]]) -> None:
    """Make the listed refunds of these orders those of the winning versions. A store may take a refund back."""
    await connection.execute(
        "DELETE FROM scorer.refunds r USING unnest($1::uuid[], $2::bigint[]) AS k (store_id, order_id)"
        " WHERE r.store_id = k.store_id AND r.order_id = k.order_id",
        *columns([saved.key for saved, _ in winners], 2),
    )
    rows = [
        (
            *saved.key,
            refund.id,
            refund.amount,
            "" if saved.forgotten and not says_dispute(refund.reason) else refund.reason,
        )
        for saved, winner in winners
        for refund in winner.version.refunds.values()
    ]
    if rows:
        await connection.execute(
            "INSERT INTO scorer.refunds (store_id, order_id, refund_id, amount, reason)"
            " SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::numeric[], $5::text[])",
            *columns(rows, 5),
        )


async def _save_settled(connection: Connection, orders: Sequence[Saved]) -> None:
    rows = [
        (
            *saved.key,
            saved.settled.count,
            saved.settled.full,
            saved.settled.value,
            saved.folded.after.deleted,
            saved.disputed,
            saved.folded.after.announced,
        )
        for saved in orders
    ]
    await connection.execute(
        "UPDATE scorer.orders o SET refund_count = k.refund_count, full_refund_count = k.full_refund_count,"
        " refund_value = k.refund_value, deleted = k.deleted, disputed = k.disputed, announced = k.announced"
        " FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[], $5::numeric[], $6::boolean[], $7::boolean[],"
        " $8::boolean[]) AS k (store_id, order_id, refund_count, full_refund_count, refund_value, deleted, disputed,"
        " announced) WHERE o.store_id = k.store_id AND o.order_id = k.order_id",
        *columns(rows, 8),
    )


async def save_deletions(connection: Connection, deletions: Sequence[tuple[UUID, int, datetime]]) -> None:
    """The latest of each order stays."""
    await connection.execute(
        "INSERT INTO scorer.deleted_orders AS d (store_id, order_id, deleted_at)"
        " SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[])"
        " ON CONFLICT (store_id, order_id) DO UPDATE SET deleted_at = greatest(d.deleted_at, EXCLUDED.deleted_at)",
        *columns(deletions, 3),
    )


async def save_reported(connection: Connection, refunds: Sequence[tuple[UUID, ReportedRefund, datetime]]) -> None:
    rows = [(store_id, r.order_id, r.id, r.amount, r.reason, at) for store_id, r, at in refunds]
    await connection.execute(
        "INSERT INTO scorer.reported_refunds (store_id, order_id, refund_id, amount, reason, reported_at)"
        " SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::numeric[], $5::text[], $6::timestamptz[])"
        " ON CONFLICT (store_id, order_id, refund_id) DO UPDATE SET amount = EXCLUDED.amount,"
        " reason = EXCLUDED.reason, reported_at = EXCLUDED.reported_at",
        *columns(rows, 6),
    )


async def forget_reports(connection: Connection, keys: Sequence[OrderKey]) -> None:
    """Empty the reasons of refunds that were reported of these orders; what says that a dispute was lost is needed."""
    await connection.execute(
        "UPDATE scorer.reported_refunds r SET reason = ''"
        " FROM unnest($1::uuid[], $2::bigint[]) AS k (store_id, order_id)"
        " WHERE r.store_id = k.store_id AND r.order_id = k.order_id AND r.reason !~* $3",
        *columns(keys, 2),
        DISPUTE_LOST,
    )


# Disputes -------------------------------------------------------------------------------------------------------------

_DISPUTE = (
    "d.store_id, d.dispute_id, d.order_id, d.payments, d.amount, d.currency, d.reason, d.status, d.opened_at,"
    " d.modified_at, d.digest, d.filed_at, d.told, d.card_brand"
)


async def disputes(connection: Connection, keys: Sequence[DisputeKey]) -> dict[DisputeKey, Case]:
    """By their own ids."""
    rows = await connection.fetch(
        f"SELECT {_DISPUTE} FROM unnest($1::uuid[], $2::text[]) AS k (store_id, dispute_id)"
        " JOIN scorer.disputes d ON d.store_id = k.store_id AND d.dispute_id = k.dispute_id",
        *columns(keys, 2),
    )
    return _cases(rows)


async def disputes_of(connection: Connection, keys: Sequence[OrderKey]) -> dict[DisputeKey, Case]:
    """Those that were joined to these orders, or name them."""
    rows = await connection.fetch(
        f"SELECT {_DISPUTE} FROM unnest($1::uuid[], $2::bigint[]) AS k (store_id, order_id)"
        " JOIN scorer.disputes d ON d.store_id = k.store_id AND d.order_id = k.order_id",
        *columns(keys, 2),
    )
    return _cases(rows)


async def disputes_without_order(connection: Connection, payments: Collection[Payment]) -> dict[DisputeKey, Case]:
    """Those of one of these payments that wait for their order."""
    rows = await connection.fetch(
        f"SELECT {_DISPUTE} FROM scorer.disputes d"
        " WHERE d.order_id IS NULL AND d.payments && $2::text[] AND d.store_id = ANY($1::uuid[])",
        list({store_id for store_id, _ in payments}),
        [payment for _, payment in payments],
    )
    return _cases(rows)


def _cases(rows: Iterable[Mapping[str, Any]]) -> dict[DisputeKey, Case]:
    return {(row["store_id"], row["dispute_id"]): _case(row) for row in rows}


def _case(row: Mapping[str, Any]) -> Case:
    dispute = Dispute.model_construct(
        id=row["dispute_id"],
        order_id=row["order_id"],
        payments=tuple(row["payments"]),
        amount=row["amount"],
        currency=row["currency"],
        reason=row["reason"],
        status=row["status"],
        card_brand=row["card_brand"] or None,
    )
    return Case(dispute, row["opened_at"], row["modified_at"], row["digest"], row["filed_at"], row["told"])


async def save_disputes(connection: Connection, cases: Mapping[DisputeKey, Case]) -> None:
    rows = [
        (
            *key,
            case.dispute.order_id,
            _texts(case.dispute.payments),
            case.dispute.amount,
            case.dispute.currency,
            case.dispute.reason,
            case.dispute.status,
            case.opened_at,
            case.modified_at,
            case.digest,
            case.told,
            case.filed_at,
            case.dispute.card_brand or "",
        )
        for key, case in sorted(cases.items())
    ]
    await connection.execute(
        "INSERT INTO scorer.disputes (store_id, dispute_id, order_id, payments, amount, currency, reason, status,"
        " opened_at, modified_at, digest, told, filed_at, card_brand)"
        " SELECT k.store_id, k.dispute_id, k.order_id, ARRAY(SELECT jsonb_array_elements_text(k.payments)), k.amount,"
        " k.currency, k.reason, k.status, k.opened_at, k.modified_at, k.digest, k.told, k.filed_at, k.card_brand"
        " FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::jsonb[], $5::numeric[], $6::text[], $7::text[],"
        " $8::text[], $9::timestamptz[], $10::timestamptz[], $11::bytea[], $12::text[], $13::timestamptz[],"
        " $14::text[])"
        " AS k (store_id, dispute_id, order_id, payments, amount, currency, reason, status, opened_at, modified_at,"
        " digest, told, filed_at, card_brand)"
        " ON CONFLICT (store_id, dispute_id) DO UPDATE SET order_id = EXCLUDED.order_id,"
        " payments = EXCLUDED.payments, amount = EXCLUDED.amount, currency = EXCLUDED.currency,"
        " reason = EXCLUDED.reason, status = EXCLUDED.status, opened_at = EXCLUDED.opened_at,"
        " modified_at = EXCLUDED.modified_at, digest = EXCLUDED.digest, told = EXCLUDED.told,"
        " filed_at = EXCLUDED.filed_at, card_brand = EXCLUDED.card_brand",
        *columns(rows, 14),
    )


def _texts(items: Sequence[str]) -> str:
    return json.dumps(list(items))


class Paid(NamedTuple):
    """A payment as it is known."""

    order_id: int
    card_brand: str
    """"": not known."""


async def orders_of_payments(connection: Connection, payments: Collection[Payment]) -> dict[Payment, Paid]:
    """Whose payments they are, as far as is known now."""
    rows = await connection.fetch(
        "SELECT p.store_id, p.payment, p.order_id, p.card_brand"
        " FROM unnest($1::uuid[], $2::text[]) AS k (store_id, payment)"
        " JOIN scorer.payments p ON p.store_id = k.store_id AND p.payment = k.payment WHERE p.order_id IS NOT NULL",
        *columns(sorted(payments), 2),
    )
    return {(row["store_id"], row["payment"]): Paid(row["order_id"], row["card_brand"]) for row in rows}


async def claim_payments(
    connection: Connection, claims: Mapping[Payment, int | None], brands: Mapping[Payment, str]
) -> set[Payment]:
    """Note which order each payment belongs to (None: somebody asks), and lock it until the commit, sorted.

    Of two orders that claim one payment the older id has it, whichever came first; likewise of two brands the last of
    the alphabet. Returns those of which the brand was not known.
    """
    rows = [(*payment, order_id, brands.get(payment, "")) for payment, order_id in sorted(claims.items(), key=_payment)]
    found = await connection.fetch(
        "WITH claimed AS (INSERT INTO scorer.payments AS p (store_id, payment, order_id, card_brand)"
        "  SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[])"
        "  ON CONFLICT (store_id, payment) DO UPDATE SET order_id = least(p.order_id, EXCLUDED.order_id),"
        "   card_brand = greatest(p.card_brand, EXCLUDED.card_brand)"
        "  WHERE p.order_id IS DISTINCT FROM least(p.order_id, EXCLUDED.order_id)"
        "   OR p.card_brand < EXCLUDED.card_brand"
        "  RETURNING p.store_id, p.payment, coalesce(old.card_brand, '') AS was, new.card_brand AS now_is)"
        " SELECT store_id, payment FROM claimed WHERE now_is <> was",
        *columns(rows, 4),
    )
    return {(row["store_id"], row["payment"]) for row in found}


def _payment(claim: tuple[Payment, int | None]) -> Payment:
    return claim[0]


async def save_brands(connection: Connection, brands: Mapping[OrderKey, str]) -> None:
    """What orders that are stored were paid with, where that is news."""
    await connection.execute(
        "UPDATE scorer.orders o SET card_brand = k.card_brand"
        " FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS k (store_id, order_id, card_brand)"
        " WHERE o.store_id = k.store_id AND o.order_id = k.order_id AND o.card_brand < k.card_brand",
        *columns([(*key, brand) for key, brand in sorted(brands.items())], 3),
    )


# Products -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A product as a fact told it."""

    store_id: UUID
    product_id: int
    categories: tuple[str, ...]
    """Slugs, rising."""
    modified_at: datetime
    digest: bytes


async def stores_with_changes(connection: Connection, entries: Sequence[CatalogueEntry]) -> set[UUID]:
    """Stores of which some product is in other categories than is known: as far as one sees without a lock."""
    rows = await connection.fetch(
        "SELECT DISTINCT k.store_id FROM unnest($1::uuid[], $2::bigint[], $3::jsonb[]) AS k (store_id, product_id, c)"
        " LEFT JOIN scorer.products p ON p.store_id = k.store_id AND p.product_id = k.product_id"
        " WHERE ARRAY(SELECT jsonb_array_elements_text(k.c)) IS DISTINCT FROM p.categories",
        *columns([(e.store_id, e.product_id, json.dumps(e.categories)) for e in entries], 3),
    )
    return {row["store_id"] for row in rows}


async def save_products(connection: Connection, entries: Sequence[CatalogueEntry]) -> set[tuple[UUID, int]]:
    """The latest of each stays. Returns the products whose categories are others now, in an order of theirs or not."""
    rows = [(e.store_id, e.product_id, json.dumps(e.categories), e.modified_at, e.digest) for e in entries]
    found = await connection.fetch(
        "WITH given AS ("
        " SELECT k.store_id, k.product_id, ARRAY(SELECT jsonb_array_elements_text(k.categories)) AS categories,"
        "  k.modified_at, k.digest"
        " FROM unnest($1::uuid[], $2::bigint[], $3::jsonb[], $4::timestamptz[], $5::bytea[])"
        "  AS k (store_id, product_id, categories, modified_at, digest)),"
        " saved AS (INSERT INTO scorer.products AS p (store_id, product_id, categories, modified_at, digest)"
        "  SELECT * FROM given ORDER BY store_id, product_id"
        "  ON CONFLICT (store_id, product_id) DO UPDATE SET categories = EXCLUDED.categories,"
        "   modified_at = EXCLUDED.modified_at, digest = EXCLUDED.digest"
        "  WHERE (p.modified_at, p.digest) < (EXCLUDED.modified_at, EXCLUDED.digest)"
        # Not from a query beside this one: run after the change, it would not find the rows that it locks.
        "  RETURNING p.store_id, p.product_id, old.categories AS was, new.categories AS now_is)"
        " SELECT store_id, product_id FROM saved WHERE now_is <> coalesce(was, '{}')",
        *columns(rows, 5),
    )
    return {(row["store_id"], row["product_id"]) for row in found}


async def save_categories(connection: Connection, names: Mapping[tuple[UUID, str], str]) -> None:
    await connection.execute(
        "INSERT INTO scorer.categories AS c (store_id, slug, name)"
        " SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])"
        " ON CONFLICT (store_id, slug) DO UPDATE SET name = EXCLUDED.name WHERE c.name <> EXCLUDED.name",
        *columns([(*key, name) for key, name in sorted(names.items())], 3),
    )


async def recategorise(
    connection: Connection, store_id: UUID, after: int, limit: int, reason: Asked
) -> tuple[int, int | None]:
    """Bring a page of orders (ids above `after`) to the catalogue of now, and mark their customers with `reason`.

    Returns how many orders were looked at, and the last id (None: there are no more). An order that somebody has
    locked ends the page before it: whoever settles it anew leaves its categories as they were.
    """
    row = await connection.fetchrow(
        "WITH page AS MATERIALIZED ("
        " SELECT order_id, product_ids FROM scorer.orders WHERE store_id = $1 AND order_id > $2"
        " ORDER BY order_id LIMIT $3),"
        " wanted AS (SELECT o.order_id, o.product_ids, ARRAY(SELECT DISTINCT unnest(p.categories)"
        "  FROM scorer.products p WHERE p.store_id = $1 AND p.product_id = ANY(o.product_ids) ORDER BY 1) AS categories"
        "  FROM page o),"
        # With other products it was saved meanwhile, from the catalogue of now.
        " found AS (SELECT o.order_id, w.categories, w.product_ids FROM scorer.orders o JOIN wanted w USING (order_id)"
        "  WHERE o.store_id = $1 AND o.categories <> w.categories),"
        " stale AS MATERIALIZED (SELECT o.order_id, f.categories FROM scorer.orders o JOIN found f USING (order_id)"
        "  WHERE o.store_id = $1 AND o.product_ids = f.product_ids ORDER BY o.order_id FOR UPDATE OF o SKIP LOCKED),"
        " locked AS (SELECT min(order_id) AS first FROM found WHERE order_id NOT IN (SELECT order_id FROM stale)),"
        " changed AS (UPDATE scorer.orders o SET categories = s.categories FROM stale s"
        "  WHERE o.store_id = $1 AND o.order_id = s.order_id RETURNING o.email_hash),"
        " marked AS (INSERT INTO scorer.rescore_due (store_id, email_hash, since, reason)"
        "  SELECT DISTINCT $1::uuid, email_hash, now(), $4 FROM changed WHERE email_hash IS NOT NULL)"
        " SELECT count(*) FILTER (WHERE first IS NULL OR order_id < first) AS seen,"
        "  least(max(order_id), max(first) - 1) AS last FROM page CROSS JOIN locked",
        store_id,
        after,
        limit,
        reason,
    )
    return row["seen"], row["last"]


# Coupons --------------------------------------------------------------------------------------------------------------

CouponRow = tuple[UUID, str, bool, datetime, bytes]
"""(store id, code, once, when the store said so, what decides between two of one time)"""


async def save_coupons(connection: Connection, rows: Sequence[CouponRow]) -> set[tuple[UUID, str]]:
    """The latest of each stays. Returns those of which it was not known whether they may be used once only."""
    found = await connection.fetch(
        "WITH saved AS (INSERT INTO scorer.coupons AS c (store_id, code, once, modified_at, digest)"
        "  SELECT * FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::timestamptz[], $5::bytea[])"
        "  AS k (store_id, code, once, modified_at, digest) ORDER BY store_id, code"
        "  ON CONFLICT (store_id, code) DO UPDATE SET once = EXCLUDED.once,"
        "   modified_at = EXCLUDED.modified_at, digest = EXCLUDED.digest"
        "  WHERE (c.modified_at, c.digest) < (EXCLUDED.modified_at, EXCLUDED.digest)"
        "  RETURNING c.store_id, c.code, old.once AS was, new.once AS now_is)"
        " SELECT store_id, code FROM saved WHERE now_is <> coalesce(was, false)",
        *columns(rows, 5),
    )
    return {(row["store_id"], row["code"]) for row in found}


async def mark_users(
    connection: Connection, coupons: Iterable[tuple[UUID, str]], *, reason: Asked, now: datetime
) -> None:
    """Ask for a recalculation of the customers whose orders have one of these coupons."""
    rows = [(store_id, json.dumps([[code]])) for store_id, code in sorted(coupons)]
    await connection.execute(
        "INSERT INTO scorer.rescore_due (store_id, email_hash, since, reason)"
        " SELECT DISTINCT o.store_id, o.email_hash, $3::timestamptz, $4"
        " FROM unnest($1::uuid[], $2::jsonb[]) AS k (store_id, coupon)"
        " JOIN scorer.orders o ON o.store_id = k.store_id AND o.coupons @> k.coupon"
        " WHERE o.email_hash IS NOT NULL",
        *columns(rows, 2),
        now,
        reason,
    )
