"""Long work as rows: claimed with a lease, done in pages, with progress; another replica goes on where one died."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from shared.db import Connection

Kind = Literal["recompute", "categories"]
LEASE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Job:
    id: UUID
    store_id: UUID
    kind: Kind
    done: int
    position: str
    """Where to go on. "": at the beginning."""


_COUNTED = {
    "recompute": "SELECT count(*) FROM scorer.customers WHERE store_id = $2",
    "categories": "SELECT count(*) FROM scorer.orders WHERE store_id = $2",
}


async def queue(connection: Connection, job_id: UUID, store_id: UUID, kind: Kind, now: datetime) -> UUID:
    """The id of a job that will do this from the beginning: one that waits already, or a new one."""
    waiting = await connection.fetchval(
        "SELECT id FROM scorer.jobs WHERE store_id = $1 AND kind = $2 AND state = 'queued' LIMIT 1 FOR UPDATE",
        store_id,
        kind,
    )
    if waiting is not None:
        return UUID(str(waiting))
    await connection.execute(
        f"INSERT INTO scorer.jobs (id, store_id, kind, state, total, created_at) VALUES ($1, $2, $3, 'queued',"
        f" ({_COUNTED[kind]}), $4)",
        job_id,
        store_id,
        kind,
        now,
    )
    return job_id


async def claim(connection: Connection) -> Job | None:
    """The oldest job that nobody is doing."""
    row = await connection.fetchrow(
        "UPDATE scorer.jobs SET state = 'running', leased_until = now() + $1 WHERE id = ("
        " SELECT id FROM scorer.jobs WHERE state = 'queued' OR (state = 'running' AND leased_until < now())"
        " ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)"
        " RETURNING id, store_id, kind, done, position",
        LEASE,
    )
    return row and Job(row["id"], row["store_id"], row["kind"], row["done"], row["position"] or "")


async def advance(connection: Connection, job: Job, *, seen: int, position: str) -> bool:
    """Note a page as done, in the page's own transaction; False: it was cancelled, or the lease was lost."""
    status: str = await connection.execute(
        "UPDATE scorer.jobs SET done = done + $2, position = $3, leased_until = now() + $4"
        " WHERE id = $1 AND state = 'running' AND position IS NOT DISTINCT FROM $5",
        job.id,
        seen,
        position,
        LEASE,
        job.position or None,
    )
    return status == "UPDATE 1"


async def finish(connection: Connection, job_id: UUID, now: datetime, *, error: str | None = None) -> None:
    await connection.execute(
        "UPDATE scorer.jobs SET state = $2, error = $3, finished_at = $4, leased_until = NULL"
        " WHERE id = $1 AND state = 'running'",
        job_id,
        "failed" if error else "done",
        error,
        now,
    )


async def cancel(connection: Connection, store_id: UUID, job_id: UUID, now: datetime) -> bool:
    """False: the store has no such job. One that is over stays as it is."""
    await connection.execute(
        "UPDATE scorer.jobs SET state = 'cancelled', finished_at = $3, leased_until = NULL"
        " WHERE id = $1 AND store_id = $2 AND state IN ('queued', 'running')",
        job_id,
        store_id,
        now,
    )
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM scorer.jobs WHERE id = $1 AND store_id = $2)", job_id, store_id
        )
    )
