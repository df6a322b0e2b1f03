"""The SQL of reading stores: where each stands, what is known of what a page holds, what webhooks told."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shared.db import Connection, Pool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the catch-up of a store stands, as /store shows it. None: never."""

    last_webhook_at: datetime | None = None
    last_poll_at: datetime | None = None
    last_poll_error: str | None = None
    gaps: int = 0
    last_gap_at: datetime | None = None
    watermark: datetime | None = None


async def find_standing(pool: Pool, store_id: UUID) -> Standing:
    row = await pool.fetchrow(
        "SELECT webhook_at AS last_webhook_at, polled_at AS last_poll_at, poll_error AS last_poll_error, gaps,"
        " last_gap_at, watermark FROM api.syncs WHERE store_id = $1",
        store_id,
    )
    return Standing(**row) if row else Standing()


async def save_webhooks_seen(pool: Pool, seen: Mapping[UUID, datetime]) -> None:
    """When each store's latest webhook came; the later time wins, whichever replica comes last."""
    await pool.execute(
        "INSERT INTO api.syncs AS s (store_id, webhook_at)"
        " SELECT * FROM unnest($1::uuid[], $2::timestamptz[]) AS k (store_id, at) ORDER BY store_id"
        " ON CONFLICT (store_id) DO UPDATE SET webhook_at = greatest(s.webhook_at, EXCLUDED.webhook_at)",
        list(seen),
        list(seen.values()),
    )


async def take_turns(connection: Connection, store_id: UUID) -> None:
    """Until the transaction ends, whoever else calls this waits: of two, the second sees the job of the first."""
    await connection.execute("SELECT FROM api.stores WHERE id = $1 FOR NO KEY UPDATE", store_id)


async def find_unfinished(connection: Connection, store_id: UUID, kind: str, params: Mapping[str, Any]) -> UUID | None:
    """A job that was asked for in the same words and is not over."""
    found: UUID | None = await connection.fetchval(
        "SELECT id FROM api.jobs WHERE store_id = $1 AND kind = $2 AND params = $3 AND state IN ('queued', 'running')"
        " ORDER BY created_at LIMIT 1",
        store_id,
        kind,
        json.dumps(dict(params)),
    )
    return found


async def list_unfinished(connection: Connection, store_id: UUID, kind: str) -> list[tuple[UUID, dict[str, Any]]]:
    """Jobs of a kind that are not over, and what they are to do."""
    rows = await connection.fetch(
        "SELECT id, params FROM api.jobs WHERE store_id = $1 AND kind = $2 AND state IN ('queued', 'running')"
        " ORDER BY created_at",
        store_id,
        kind,
    )
    return [(row["id"], json.loads(row["params"])) for row in rows]


async def save_why_waiting(pool: Pool, store_id: UUID, words: str) -> None:
    """For whoever looks at the jobs that wait for this store; it is gone with their next page."""
    await pool.execute(
        "UPDATE api.jobs SET error = $2 WHERE store_id = $1 AND state = 'running' AND kind IN ('connect', 'sync')",
        store_id,
        words,
    )


async def forget_access(connection: Connection | Pool, job_id: UUID) -> None:
    """A job keeps no key, sealed as it is, once it is saved or was refused."""
    await connection.execute("UPDATE api.jobs SET params = params - 'access' WHERE id = $1", job_id)


@dataclass(frozen=True, slots=True)
class Left:
    """Where the latest job of its kind was given up."""

    position: str
    done: int
    total: int | None


async def find_given_up(connection: Connection, store_id: UUID, kind: str, params: Mapping[str, Any]) -> Left | None:
    """None: the latest that was asked for in the same words ended well, was cancelled, or broke for another reason."""
    row = await connection.fetchrow(
        "SELECT position, done, total FROM (SELECT * FROM api.jobs WHERE store_id = $1 AND kind = $2 AND params = $3"
        " ORDER BY created_at DESC LIMIT 1) latest WHERE state = 'failed' AND result IS NOT NULL AND position <> ''",
        store_id,
        kind,
        json.dumps(dict(params)),
    )
    return row and Left(**row)


# What a page holds ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """The version that the scorer has."""

    modified_at: datetime
    digest: bytes
    announced: bool = True
    """Of an order: it was told that it was placed."""
    card_brand: str = ""
    """Of an order: "" not known, or no card."""


async def known_orders(connection: Connection, store_id: UUID, ids: Sequence[int]) -> dict[int | str, Known]:
    rows = await connection.fetch(
        "SELECT order_id, modified_at, digest, announced, card_brand FROM scorer.orders"
        " WHERE store_id = $1 AND order_id = ANY ($2::bigint[])",
        store_id,
        list(ids),
    )
    return {
        row["order_id"]: Known(row["modified_at"], row["digest"], row["announced"], row["card_brand"]) for row in rows
    }


async def known_products(connection: Connection, store_id: UUID, ids: Sequence[int]) -> dict[int | str, Known]:
    rows = await connection.fetch(
        "SELECT product_id, modified_at, digest FROM scorer.products"
        " WHERE store_id = $1 AND product_id = ANY ($2::bigint[])",
        store_id,
        list(ids),
    )
    return {row["product_id"]: Known(row["modified_at"], row["digest"]) for row in rows}


async def known_coupons(connection: Connection, store_id: UUID, codes: Sequence[str]) -> dict[int | str, Known]:
    rows = await connection.fetch(
        "SELECT code, modified_at, digest FROM scorer.coupons WHERE store_id = $1 AND code = ANY ($2::text[])",
        store_id,
        list(codes),
    )
    return {row["code"]: Known(row["modified_at"], row["digest"]) for row in rows}


async def told_orders(connection: Connection, store_id: UUID, hashes: Sequence[str], *, since: datetime) -> list[bytes]:
    """The bodies of webhooks about orders of these customers, or of nobody, as deletions are, that came since."""
    rows = await connection.fetch(
        "SELECT body FROM api.raw_input WHERE store_id = $1 AND source = 'woocommerce' AND topic LIKE 'order.%'"
        " AND received_at >= $3 AND (email_hash = ANY ($2::text[]) OR email_hash IS NULL)",
        store_id,
        list(hashes),
        since,
    )
    return [row["body"] for row in rows]


# Catch-up -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claimed:
    """A store whose turn it is, and which nobody else polls until the lease is over."""

    store_id: UUID
    lease: UUID
    watermark: datetime | None
    delivery_url: str | None


async def claim_due(pool: Pool, lease: UUID, *, every: timedelta, held: timedelta, most: int) -> list[Claimed]:
    """Stores with keys to their REST API that were not polled for so long, the longest waiting first."""
    rows = await pool.fetch(
        "INSERT INTO api.syncs AS s (store_id, lease, leased_until) SELECT t.id, $1, now() + $3"
        " FROM api.stores t LEFT JOIN api.syncs known ON known.store_id = t.id WHERE t.woocommerce_api IS NOT NULL"
        " AND coalesce(known.polled_at <= now() - $2::interval, true) AND coalesce(known.leased_until < now(), true)"
        " ORDER BY known.polled_at NULLS FIRST, t.id LIMIT $4"
        " ON CONFLICT (store_id) DO UPDATE SET lease = EXCLUDED.lease, leased_until = EXCLUDED.leased_until"
        " WHERE coalesce(s.leased_until < now(), true)"
        " RETURNING store_id, lease, watermark, delivery_url",
        lease,
        every,
        held,
        most,
    )
    return [Claimed(**row) for row in rows]


async def hold(connection: Connection | Pool, claimed: Claimed, held: timedelta) -> bool:
    """False: another polls this store by now."""
    status = await connection.execute(
        "UPDATE api.syncs SET leased_until = now() + $3 WHERE store_id = $1 AND lease = $2",
        claimed.store_id,
        claimed.lease,
        held,
    )
    return bool(status == "UPDATE 1")


async def release(pool: Pool, leases: Sequence[UUID]) -> None:
    await pool.execute(
        "UPDATE api.syncs SET lease = NULL, leased_until = NULL WHERE lease = ANY ($1::uuid[])", list(leases)
    )


async def add_gaps(connection: Connection, claimed: Claimed, gaps: int, now: datetime) -> None:
    await connection.execute(
        "UPDATE api.syncs SET gaps = gaps + $3, last_gap_at = $4 WHERE store_id = $1 AND lease = $2",
        claimed.store_id,
        claimed.lease,
        gaps,
        now,
    )


async def finish_poll(
    pool: Pool, claimed: Claimed, now: datetime, *, watermark: datetime | None, error: str | None
) -> None:
    """`watermark`: None leaves it where it was; it goes back where the store's clock was put back. Does nothing where
    another polls this store by now.
    """
    await pool.execute(
        "UPDATE api.syncs SET polled_at = $3, watermark = coalesce($4, watermark),"
        " poll_error = $5, lease = NULL, leased_until = NULL WHERE store_id = $1 AND lease = $2",
        claimed.store_id,
        claimed.lease,
        now,
        watermark,
        error,
    )


async def save_delivery_url(connection: Connection, store_id: UUID, url: str) -> None:
    """A store whose last poll failed is polled again at once: what was wrong may be mended."""
    await connection.execute(
        "INSERT INTO api.syncs AS s (store_id, delivery_url) VALUES ($1, $2)"
        " ON CONFLICT (store_id) DO UPDATE SET delivery_url = EXCLUDED.delivery_url,"
        " polled_at = CASE WHEN s.poll_error IS NULL THEN s.polled_at END",
        store_id,
        url,
    )
