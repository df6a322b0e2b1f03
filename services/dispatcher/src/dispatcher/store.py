"""All SQL of the dispatcher. Rows become types here; secrets are opened on the way in, sealed on the way out."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from dispatcher.classify import Answer
from dispatcher.deliveries import Delivery, Step
from dispatcher.destinations.webhook import Site
from dispatcher.endpoints import Endpoint, NewEndpoint, Target
from shared.db import Connection, Pool
from shared.secrets import NoKeyError, Vault

_ENDPOINT = (
    "id, store_id, url, description, events, enabled, disabled_reason, delivery, format, include_email, timeout,"
    " headers, secret, created_at, updated_at"
)
_DELIVERY = (
    "recorded_at, id, store_id, target_id, endpoint_id, rule_id, event, source_id, shape, email_hash, sequence,"
    " mode, max_attempts, attempts"
)


@dataclass(frozen=True, slots=True)
class Revisions:
    """The state of a store's configuration; None: there is no such store."""

    store_id: UUID
    endpoints: int
    site: int | None


@dataclass(frozen=True, slots=True)
class Body:
    """What a source's deliveries of one shape carry."""

    recorded_at: datetime
    source_id: UUID
    shape: str
    email_hash: str
    content: bytes


def body_of(delivery: Delivery, content: bytes) -> Body:
    return Body(delivery.recorded_at, delivery.source_id, delivery.shape, delivery.email_hash, content)


@dataclass(frozen=True, slots=True)
class Record:
    """One finished step of a delivery, to be stored under the lease that it was made with."""

    delivery: Delivery
    lease: UUID
    step: Step
    at: datetime
    """When the attempt began."""
    answer: Answer | None
    """None: nothing was sent."""


async def revisions(connection: Connection, store_ids: Collection[UUID]) -> list[Revisions]:
    rows = await connection.fetch(
        "SELECT s.id, coalesce(r.revision, 0) AS endpoints, t.revision AS site FROM unnest($1::uuid[]) AS s(id)"
        " LEFT JOIN dispatcher.revisions r ON r.store_id = s.id LEFT JOIN api.stores t ON t.id = s.id",
        list(store_ids),
    )
    return [Revisions(row["id"], row["endpoints"], row["site"]) for row in rows]


async def bump_revision(connection: Connection, store_ids: Collection[UUID]) -> None:
    """Tell every dispatcher that the endpoints of these stores changed."""
    await connection.execute(
        "INSERT INTO dispatcher.revisions AS r (store_id, revision)"
        " SELECT DISTINCT id, 1 FROM unnest($1::uuid[]) AS s(id) ORDER BY id"
        " ON CONFLICT (store_id) DO UPDATE SET revision = r.revision + 1",
        list(store_ids),
    )


async def sites(connection: Connection, store_ids: Collection[UUID]) -> dict[UUID, Site]:
    rows = await connection.fetch("SELECT id, url, name FROM api.stores WHERE id = ANY($1::uuid[])", list(store_ids))
    return {row["id"]: Site(url=row["url"], name=row["name"]) for row in rows}


async def endpoints(connection: Connection, vault: Vault, store_ids: Collection[UUID]) -> list[Endpoint]:
    rows = await connection.fetch(
        f"SELECT {_ENDPOINT} FROM dispatcher.endpoints WHERE store_id = ANY($1::uuid[]) ORDER BY created_at, id",
        list(store_ids),
    )
    return [_endpoint(row, vault) for row in rows]


async def endpoint(connection: Connection | Pool, vault: Vault, store_id: UUID, endpoint_id: UUID) -> Endpoint | None:
    row = await connection.fetchrow(
        f"SELECT {_ENDPOINT} FROM dispatcher.endpoints WHERE store_id = $1 AND id = $2", store_id, endpoint_id
    )
    return _endpoint(row, vault) if row else None


async def insert_endpoint(
    connection: Connection, vault: Vault, *, endpoint_id: UUID, store_id: UUID, new: NewEndpoint, secret: str
) -> Endpoint:
    row = await connection.fetchrow(
        f"INSERT INTO dispatcher.endpoints ({_ENDPOINT}) VALUES"
        f" ($1, $2, $3, $4, $5, $6, NULL, $7, $8, $9, $10, $11, $12, now(), now()) RETURNING {_ENDPOINT}",
        endpoint_id,
        store_id,
        new.url,
        new.description,
        new.events,
        new.enabled,
        new.delivery,
        new.format,
        new.include_email,
        new.timeout,
        vault.seal(json.dumps(new.headers).encode()) if new.headers else None,
        vault.seal(secret.encode()),
    )
    return _endpoint(row, vault)


async def disable_retried(connection: Connection, endpoint_ids: Collection[UUID], reason: str) -> list[UUID]:
    """Switch off those that promise retries and are on; the stores of those that were."""
    rows = await connection.fetch(
        "UPDATE dispatcher.endpoints SET enabled = false, disabled_reason = $2, updated_at = now()"
        " WHERE id = ANY($1::uuid[]) AND enabled AND delivery = 'retry' RETURNING store_id",
        list(endpoint_ids),
        reason,
    )
    return [row["store_id"] for row in rows]


async def rule_targets(
    connection: Connection, vault: Vault, target_ids: Collection[UUID]
) -> dict[tuple[UUID, UUID], Target]:
    """Rule actions' own targets, by store and id."""
    rows = await connection.fetch(
        "SELECT id, store_id, url, secret, headers, timeout FROM rule_engine.targets WHERE id = ANY($1::uuid[])",
        list(target_ids),
    )
    return {(row["store_id"], row["id"]): _target(row, vault, enabled=True) for row in rows}


async def insert_bodies(connection: Connection, bodies: Sequence[Body]) -> set[tuple[UUID, str]]:
    """Freeze bodies; (source, shape) of those that were not frozen before."""
    rows = await connection.fetch(
        "INSERT INTO dispatcher.bodies (recorded_at, source_id, shape, email_hash, body)"
        " SELECT * FROM unnest($1::timestamptz[], $2::uuid[], $3::text[], $4::text[], $5::bytea[])"
        " ON CONFLICT DO NOTHING RETURNING source_id, shape",
        [body.recorded_at for body in bodies],
        [body.source_id for body in bodies],
        [body.shape for body in bodies],
        [body.email_hash for body in bodies],
        [body.content for body in bodies],
    )
    return {(row["source_id"], row["shape"]) for row in rows}


async def insert_deliveries(
    connection: Connection,
    deliveries: Sequence[Delivery],
    *,
    lease: UUID,
    leased: Collection[UUID],
    lease_for: timedelta,
) -> set[UUID]:
    """Insert pending deliveries, those in `leased` under the lease; the ids of those that were not there before."""
    rows = await connection.fetch(
        f"INSERT INTO dispatcher.deliveries ({_DELIVERY}, status, due_at, lease, leased_until, created_at)"
        " SELECT recorded_at, id, store_id, target_id, endpoint_id, rule_id, event, source_id, shape, email_hash,"
        " sequence, mode, max_attempts, 0, 'pending', now(), CASE WHEN leased THEN $15::uuid END,"
        " CASE WHEN leased THEN now() + $16::interval END, now()"
        " FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[],"
        " $8::uuid[], $9::text[], $10::text[], $11::bigint[], $12::text[], $13::smallint[], $14::boolean[])"
        " AS n(recorded_at, id, store_id, target_id, endpoint_id, rule_id, event, source_id, shape, email_hash,"
        " sequence, mode, max_attempts, leased) ORDER BY id ON CONFLICT DO NOTHING RETURNING id",
        [d.recorded_at for d in deliveries],
        [d.id for d in deliveries],
        [d.store_id for d in deliveries],
        [d.target_id for d in deliveries],
        [d.endpoint_id for d in deliveries],
        [d.rule_id for d in deliveries],
        [d.event for d in deliveries],
        [d.source_id for d in deliveries],
        [d.shape for d in deliveries],
        [d.email_hash for d in deliveries],
        [d.sequence for d in deliveries],
        [d.mode for d in deliveries],
        [d.max_attempts for d in deliveries],
        [d.id in leased for d in deliveries],
        lease,
        lease_for,
    )
    return {row["id"] for row in rows}


async def unfinished_targets(connection: Connection) -> list[UUID]:
    """Targets that have unfinished deliveries, due or not: one step in the index for each."""
    rows = await connection.fetch(
        "WITH RECURSIVE t AS ("
        " (SELECT target_id FROM dispatcher.deliveries WHERE due_at IS NOT NULL ORDER BY target_id LIMIT 1)"
        " UNION ALL SELECT (SELECT d.target_id FROM dispatcher.deliveries d"
        "  WHERE d.due_at IS NOT NULL AND d.target_id > t.target_id ORDER BY d.target_id LIMIT 1)"
        " FROM t WHERE t.target_id IS NOT NULL) SELECT target_id FROM t WHERE target_id IS NOT NULL"
    )
    return [row["target_id"] for row in rows]


async def claim(
    connection: Connection, rooms: Mapping[UUID, int], *, lease: UUID, lease_for: timedelta
) -> list[Delivery]:
    """Lease what is due, per target at most its room: first tries before retries, then by due time."""
    rows = await connection.fetch(
        "WITH claimed AS MATERIALIZED ("
        " SELECT d.recorded_at, d.id FROM unnest($1::uuid[], $2::integer[]) AS r(target_id, room)"
        " CROSS JOIN LATERAL (SELECT recorded_at, id FROM dispatcher.deliveries"
        "  WHERE target_id = r.target_id AND status IN ('pending', 'retrying') AND due_at <= now()"
        "  AND (leased_until IS NULL OR leased_until < now())"
        "  ORDER BY status, due_at LIMIT r.room FOR UPDATE SKIP LOCKED) d),"
        " leased AS (UPDATE dispatcher.deliveries d SET lease = $3, leased_until = now() + $4::interval FROM claimed c"
        " WHERE d.recorded_at = c.recorded_at AND d.id = c.id RETURNING d.*)"
        f" SELECT {_DELIVERY} FROM leased ORDER BY status, due_at",
        list(rooms),
        list(rooms.values()),
        lease,
        lease_for,
    )
    return [_delivery(row) for row in rows]


async def bodies(connection: Connection, deliveries: Sequence[Delivery]) -> dict[tuple[UUID, str], bytes]:
    """The frozen bodies, by source and shape."""
    rows = await connection.fetch(
        "SELECT b.source_id, b.shape, b.body FROM (SELECT DISTINCT * FROM unnest($1::timestamptz[], $2::uuid[],"
        " $3::text[]) AS k(recorded_at, source_id, shape)) k JOIN dispatcher.bodies b USING (recorded_at, source_id,"
        " shape)",
        [d.recorded_at for d in deliveries],
        [d.source_id for d in deliveries],
        [d.shape for d in deliveries],
    )
    return {(row["source_id"], row["shape"]): row["body"] for row in rows}


async def release(connection: Connection | Pool, leased: Sequence[tuple[Delivery, UUID]]) -> None:
    """Give deliveries back that were not started, each under its lease."""
    await connection.execute(
        "UPDATE dispatcher.deliveries d SET lease = NULL, leased_until = NULL"
        " FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[]) AS r(recorded_at, id, lease)"
        " WHERE d.recorded_at = r.recorded_at AND d.id = r.id AND d.lease = r.lease",
        [d.recorded_at for d, _ in leased],
        [d.id for d, _ in leased],
        [lease for _, lease in leased],
    )


async def record(connection: Connection, records: Sequence[Record]) -> set[tuple[UUID, UUID]]:
    """Store steps and their attempts; (delivery, lease) of those whose lease still held. The others change nothing."""
    answers = [r.answer for r in records]
    rows = await connection.fetch(
        "WITH result AS (SELECT * FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::text[], $5::text[],"
        " $6::interval[], $7::smallint[], $8::timestamptz[], $9::smallint[], $10::text[], $11::text[], $12::integer[],"
        " $13::text[], $14::bytea[]) AS r(recorded_at, id, held, status, reason, wait, number, at, status_code, phase,"
        " error, duration_ms, address, answer)),"
        " moved AS (UPDATE dispatcher.deliveries d SET status = r.status, reason = r.reason,"
        "  attempts = coalesce(r.number, d.attempts), due_at = now() + r.wait, lease = NULL, leased_until = NULL,"
        "  last_status_code = r.status_code, last_error = r.error, duration_ms = r.duration_ms,"
        "  finished_at = CASE WHEN r.wait IS NULL THEN now() END"
        "  FROM result r WHERE d.recorded_at = r.recorded_at AND d.id = r.id AND d.lease = r.held"
        "  RETURNING d.id, r.held),"
        " logged AS (INSERT INTO dispatcher.attempts (recorded_at, delivery_id, number, at, status_code, phase, error,"
        "  duration_ms, address, answer) SELECT recorded_at, id, number, at, status_code, phase, error, duration_ms,"
        "  address, answer FROM result JOIN moved USING (id, held) WHERE number IS NOT NULL)"
        " SELECT id, held FROM moved",
        [r.delivery.recorded_at for r in records],
        [r.delivery.id for r in records],
        [r.lease for r in records],
        [r.step.status for r in records],
        [r.step.reason for r in records],
        [r.step.wait for r in records],
        [r.delivery.attempts + 1 if r.answer else None for r in records],
        [r.at for r in records],
        [a and a.status_code for a in answers],
        [a and a.phase for a in answers],
        [a and a.complaint for a in answers],
        [a and a.duration_ms for a in answers],
        [a and a.address for a in answers],
        [a and a.body for a in answers],
    )
    return {(row["id"], row["held"]) for row in rows}


def _delivery(row: asyncpg.Record) -> Delivery:
    return Delivery(
        recorded_at=row["recorded_at"],
        id=row["id"],
        store_id=row["store_id"],
        target_id=row["target_id"],
        endpoint_id=row["endpoint_id"],
        rule_id=row["rule_id"],
        event=row["event"],
        source_id=row["source_id"],
        shape=row["shape"],
        email_hash=row["email_hash"],
        sequence=row["sequence"],
        mode=row["mode"],
        max_attempts=row["max_attempts"],
        attempts=row["attempts"],
    )


def _endpoint(row: asyncpg.Record, vault: Vault) -> Endpoint:
    return Endpoint(
        target=_target(row, vault, enabled=row["enabled"]),
        store_id=row["store_id"],
        description=row["description"],
        events=tuple(row["events"]),
        disabled_reason=row["disabled_reason"],
        mode=row["delivery"],
        format=row["format"],
        include_email=row["include_email"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _target(row: asyncpg.Record, vault: Vault, *, enabled: bool) -> Target:
    secret, headers = _opened(row["secret"], vault), _opened(row["headers"], vault)
    return Target(
        id=row["id"],
        url=row["url"],
        timeout=row["timeout"],
        secret=secret,
        headers=json.loads(headers) if headers else {},
        enabled=enabled,
    )


def _opened(sealed: bytes | None, vault: Vault) -> str | None:
    """Text that was sealed; None where no key opens it: that fails deliveries visibly, never a whole batch."""
    if sealed is None:
        return None
    try:
        return vault.open(sealed).decode()
    except NoKeyError:
        return None
