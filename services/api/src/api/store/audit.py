"""The audit log's rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api.schemas import Audited, AuditListing
from shared.db import Connection, Pool


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that is about to be done."""

    id: UUID
    store_id: UUID
    at: datetime
    actor: str
    """`key:<prefix>`, or `cli`."""
    action: str
    objects: Sequence[str] = ()
    key_id: UUID | None = None
    key_name: str | None = None
    address: str | None = None
    status: int | None = None


async def begin(connection: Connection | Pool, entry: Entry) -> None:
    await connection.execute(
        "INSERT INTO api.audit (id, store_id, at, actor, action, objects, key_id, key_name, address, status)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        entry.id,
        entry.store_id,
        entry.at,
        entry.actor,
        entry.action,
        list(entry.objects),
        entry.key_id,
        entry.key_name,
        entry.address,
        entry.status,
    )


async def complete(pool: Pool, entry_id: UUID, *, status: int, made: Sequence[str]) -> None:
    """What came of it. `made`: ids of what did not exist before."""
    await pool.execute(
        "UPDATE api.audit SET status = $2, objects = objects || $3::text[] WHERE id = $1", entry_id, status, list(made)
    )


async def list_entries(pool: Pool, store_id: UUID, listing: AuditListing) -> tuple[list[Audited], int]:
    """A page, the newest first, and the number of all that match."""
    matching = (
        "FROM api.audit WHERE store_id = $1 AND ($2::text IS NULL OR key_id::text = $2 OR actor = 'key:' || $2)"
        " AND ($3::text IS NULL OR action = $3) AND ($4::text IS NULL OR $4 = ANY (objects))"
        " AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)"
    )
    given = (store_id, listing.key, listing.action, listing.object, listing.from_, listing.to)
    rows = await pool.fetch(
        f"SELECT id, at, actor, key_id, key_name, action, objects, address, status {matching}"
        " ORDER BY at DESC, id DESC LIMIT $7 OFFSET $8",
        *given,
        listing.page.size,
        listing.page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) {matching}", *given)
    return [Audited(**row) for row in rows], total


async def forget(pool: Pool, before: datetime) -> None:
    await pool.execute("DELETE FROM api.audit WHERE at < $1", before)
