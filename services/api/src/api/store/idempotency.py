"""The rows of what was asked for with an Idempotency-Key."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from shared.db import Connection, Pool

KEPT = timedelta(hours=24)
"""How long an answer is remembered."""


@dataclass(frozen=True, slots=True)
class Known:
    """What somebody asked for before."""

    body: bytes
    status: int | None
    """None: it is being done, or was, and nobody knows the end."""
    answer: bytes | None = field(repr=False)
    """Sealed."""


async def claim(pool: Pool, asked_id: UUID, body: bytes, lease: timedelta) -> datetime | None:
    """Since when it is ours to do: from now, or since it was begun by somebody who left it undone. None: it is not."""
    since: datetime | None = await pool.fetchval(
        "INSERT INTO api.idempotency AS known (id, body, claimed_until, created_at)"
        " VALUES ($1, $2, now() + $3::interval, now())"
        " ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body, claimed_until = EXCLUDED.claimed_until,"
        " status = NULL, answer = NULL,"
        " created_at = CASE WHEN known.created_at < now() - $4::interval"
        " THEN EXCLUDED.created_at ELSE known.created_at END"
        " WHERE known.created_at < now() - $4::interval"
        " OR (known.body = EXCLUDED.body AND known.status IS NULL AND known.claimed_until < now())"
        " RETURNING created_at",
        asked_id,
        body,
        lease,
        KEPT,
    )
    return since


async def find(pool: Pool, asked_id: UUID) -> Known | None:
    row = await pool.fetchrow("SELECT body, status, answer FROM api.idempotency WHERE id = $1", asked_id)
    return row and Known(**row)


async def keep(connection: Connection | Pool, asked_id: UUID, *, status: int, answer: bytes) -> None:
    await connection.execute(
        "UPDATE api.idempotency SET status = $2, answer = $3, claimed_until = NULL WHERE id = $1",
        asked_id,
        status,
        answer,
    )


async def leave(pool: Pool, asked_id: UUID) -> None:
    """Whoever asks again may go on at once."""
    await pool.execute("UPDATE api.idempotency SET claimed_until = now() WHERE id = $1 AND status IS NULL", asked_id)


async def drop(pool: Pool, asked_id: UUID) -> None:
    """Nothing was done."""
    await pool.execute("DELETE FROM api.idempotency WHERE id = $1 AND status IS NULL", asked_id)


async def forget(pool: Pool) -> None:
    await pool.execute("DELETE FROM api.idempotency WHERE created_at < now() - $1::interval", KEPT)
