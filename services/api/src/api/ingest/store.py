"""The SQL of what stores sent: raw input, and what has been seen."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from shared.db import Connection, Pool

RawInput = tuple[UUID, UUID, str, str, bytes]
"""id, store, source, topic, body"""


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
    if not inputs:
        return
    ids, store_ids, sources, topics, bodies = zip(*inputs, strict=True)
    await connection.execute(
        "INSERT INTO api.raw_input (received_at, id, store_id, source, topic, body)"
        " SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bytea[])",
        now,
        ids,
        store_ids,
        sources,
        topics,
        bodies,
    )


async def forget(pool: Pool, before: datetime) -> None:
    await pool.execute("DELETE FROM api.input_seen WHERE seen_at < $1", before)
