"""The SQL of what stores sent: raw input, and what has been seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api.ingest.about import About
from shared.db import Connection, Pool, columns


@dataclass(frozen=True, slots=True)
class RawInput:
    """What a store sent, and of whom it tells."""

    id: UUID
    store_id: UUID
    source: str
    topic: str
    body: bytes
    about: About


async def remember(connection: Connection, digests: Sequence[tuple[bytes, UUID]], now: datetime) -> set[UUID]:
    """The ids of the inputs whose digest was not known; of two alike in one call the first is new."""
    # In the order of the digests: two processes given the same deliveries must not wait for each other in a circle.
    ordered = sorted(digests, key=lambda pair: pair[0])
    rows = await connection.fetch(
        "INSERT INTO api.input_seen (digest, input_id, seen_at)"
        " SELECT digest, input_id, $3 FROM unnest($1::bytea[], $2::uuid[]) AS given (digest, input_id)"
        " ON CONFLICT (digest) DO NOTHING RETURNING input_id",
        [digest for digest, _ in ordered],
        [input_id for _, input_id in ordered],
        now,
    )
    return {row["input_id"] for row in rows}


async def save_raw(connection: Connection, inputs: Sequence[RawInput], now: datetime) -> None:
    """Without its body where it tells of what happened before its customer's erasure.

    The statement sees every erasure that was followed before it could lock the table: see `api.erasure`.
    """
    if not inputs:
        return
    await connection.execute(
        "INSERT INTO api.raw_input (received_at, id, store_id, source, topic, body, email_hash, order_id)"
        " SELECT $9, k.id, k.store_id, k.source, k.topic, CASE WHEN EXISTS (SELECT FROM scorer.customers c"
        "  WHERE c.store_id = k.store_id AND c.email_hash = k.email_hash AND c.erased_at >= k.at)"
        " OR EXISTS (SELECT FROM scorer.orders o JOIN scorer.customers c USING (store_id, email_hash)"
        "  WHERE o.store_id = k.store_id AND o.order_id = k.order_id AND c.erased_at >= o.created_at)"
        " THEN '' ELSE k.body END, k.email_hash, k.order_id"
        " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bigint[],"
        " $8::timestamptz[]) AS k (id, store_id, source, topic, body, email_hash, order_id, at)",
        *columns(
            [
                (i.id, i.store_id, i.source, i.topic, i.body, i.about.email_hash, i.about.order_id, i.about.at)
                for i in inputs
            ],
            8,
        ),
        now,
    )


async def forget(pool: Pool, before: datetime) -> None:
    await pool.execute("DELETE FROM api.input_seen WHERE seen_at < $1", before)
