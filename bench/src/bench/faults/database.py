"""What the system says of itself at the end, read from its tables."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg

from bench.faults.audit import Attempt, Customer, Delivery, Told
from bench.faults.ledger import digest
from bench.faults.orders import email
from shared.identity import email_hash, normalise_email
from shared.secrets import Vault


async def read(
    connection: asyncpg.Connection, vault: Vault, *, people: Sequence[int], unbalanced: Sequence[str]
) -> Told:
    """All of it, of the one store that there is."""
    key = vault.open(await connection.fetchval("SELECT hash_key FROM api.stores"))
    hashes = {number: email_hash(key, normalise_email(email(number))) for number in people}
    return Told(
        inputs=await _inputs(connection),
        outcomes=frozenset(str(r[0]) for r in await connection.fetch("SELECT input_id FROM scorer.input_outcomes")),
        events={str(r[0]): r[1] for r in await connection.fetch("SELECT id, type FROM scorer.events")},
        deliveries=await _deliveries(connection),
        failures=await _failures(connection),
        customers=await _customers(connection, hashes.items()),
        hashes=hashes,
        unbalanced=unbalanced,
    )


async def _inputs(connection: asyncpg.Connection) -> dict[bytes, list[str]]:
    found: dict[bytes, list[str]] = {}
    for row in await connection.fetch("SELECT id, body FROM api.raw_input"):
        found.setdefault(digest(row["body"]), []).append(str(row["id"]))
    return found


async def _deliveries(connection: asyncpg.Connection) -> dict[str, Delivery]:
    rows = await connection.fetch(
        "SELECT d.id, coalesce(e.url, t.url) AS url, d.source_id, d.event, d.mode, d.status, d.reason, d.attempts,"
        " d.max_attempts, d.recorded_at, d.finished_at, b.body FROM dispatcher.deliveries d"
        " LEFT JOIN dispatcher.endpoints e ON e.id = d.endpoint_id"
        " LEFT JOIN rule_engine.targets t ON t.id = d.target_id"
        " LEFT JOIN dispatcher.bodies b ON b.recorded_at = d.recorded_at AND b.source_id = d.source_id"
        "  AND b.shape = d.shape"
    )
    return {str(row["id"]): _delivery(row) for row in rows}


def _delivery(row: asyncpg.Record) -> Delivery:
    return Delivery(
        id=str(row["id"]),
        path=urlsplit(row["url"] or "").path,
        source_id=str(row["source_id"]),
        event=row["event"],
        mode=row["mode"],
        status=row["status"],
        reason=row["reason"],
        attempts=row["attempts"],
        max_attempts=row["max_attempts"],
        recorded_at=row["recorded_at"].timestamp(),
        finished_at=row["finished_at"].timestamp() if row["finished_at"] else None,
        digest=digest(row["body"]) if row["body"] is not None else None,
    )


async def _failures(connection: asyncpg.Connection) -> list[Attempt]:
    rows = await connection.fetch(
        "SELECT delivery_id, at, duration_ms FROM dispatcher.attempts"
        " WHERE phase IS NOT NULL OR status_code IS NULL OR status_code NOT BETWEEN 200 AND 299"
    )
    return [_attempt(row["delivery_id"], row["at"], row["duration_ms"]) for row in rows]


def _attempt(delivery_id: UUID, at: datetime, duration_ms: int) -> Attempt:
    """`at`: when it began."""
    return Attempt(str(delivery_id), at.timestamp(), (at + timedelta(milliseconds=duration_ms)).timestamp())


async def _customers(connection: asyncpg.Connection, hashes: Iterable[tuple[int, str]]) -> dict[int, Customer]:
    columns = Customer.__slots__
    rows = await connection.fetch(f"SELECT email_hash, {', '.join(columns)} FROM scorer.customers")
    found = {row["email_hash"]: Customer(*(row[column] for column in columns)) for row in rows}
    return {number: found[hash_] for number, hash_ in hashes if hash_ in found}
