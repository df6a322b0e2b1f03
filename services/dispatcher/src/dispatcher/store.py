"""All SQL of the dispatcher. Rows become types here; secrets are opened on the way in, sealed on the way out."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg

from dispatcher.breaker import HEALTHY, Breaker
from dispatcher.bursts import Key as BurstKey
from dispatcher.bursts import Sent
from dispatcher.classify import Answer
from dispatcher.deliveries import DOWN, DUPLICATE, Delivery, Step
from dispatcher.destinations.means import Credentials, Smtp
from dispatcher.destinations.webhook import Site
from dispatcher.endpoints import PACE, Endpoint, NewEndpoint, Target, parse_filter
from dispatcher.schedule import RAMP_FIRST
from shared.db import Connection, Pool, columns
from shared.secrets import NoKeyError, Vault
from shared.targets import SLACK_HOST
from shared.traces import Headers

if TYPE_CHECKING:  # it asks this file for its pages
    from dispatcher.replay import Replay

_ENDPOINT = (
    "id, store_id, url, description, events, enabled, disabled_reason, delivery, format, include_email, timeout,"
    " headers, secret, filter, permanent_codes, standard_webhooks, next_secret, overlap_until, created_at, updated_at"
)
_DELIVERY = (
    "recorded_at, id, store_id, target_id, endpoint_id, rule_id, event, source_id, shape, email_hash, sequence,"
    " mode, max_attempts, attempts"
)
_STATE = "parked_until, asked"
_DELIVERY_OF_D = ", ".join(f"d.{name.strip()}" for name in f"{_DELIVERY}, {_STATE}".split(","))


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


@dataclass(frozen=True, slots=True)
class Inserted:
    """What inserting deliveries and their bodies came to."""

    deliveries: frozenset[UUID]
    """The ids of the new ones."""
    bodies: frozenset[tuple[UUID, str]]
    """(source, shape) of those that were not frozen before."""
    troubled: bool
    """Whether any of their targets has a breaker."""


@dataclass(frozen=True, slots=True)
class Recorded:
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


@dataclass(frozen=True, slots=True)
class Means:
    """What a store lets us reach its own servers with; None: it did not say."""

    smtp: Smtp | None
    orders: Credentials | None


async def means(connection: Connection, vault: Vault, store_ids: Collection[UUID]) -> dict[UUID, Means]:
    rows = await connection.fetch(
        "SELECT id, smtp, woocommerce_api FROM api.stores WHERE id = ANY($1::uuid[])", list(store_ids)
    )
    return {
        row["id"]: Means(
            Smtp(**json.loads(smtp)) if (smtp := _opened(row["smtp"], vault)) else None,
            Credentials(**json.loads(orders)) if (orders := _opened(row["woocommerce_api"], vault)) else None,
        )
        for row in rows
    }


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
        f"INSERT INTO dispatcher.endpoints ({_ENDPOINT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
        f" $13, $14, $15, $16, NULL, NULL, now(), now()) RETURNING {_ENDPOINT}",
        endpoint_id,
        store_id,
        *_wanted(new, vault),
        vault.seal(secret.encode()),
        *_more_wanted(new),
    )
    return _endpoint(row, vault)


def _wanted(new: NewEndpoint, vault: Vault) -> tuple[object, ...]:
    """From url to headers, in the order of _ENDPOINT."""
    return (
        new.url,
        new.description,
        new.events,
        new.enabled,
        new.disabled_reason,
        new.delivery,
        new.format,
        new.include_email,
        new.timeout,
        vault.seal(json.dumps(new.headers).encode()) if new.headers else None,
    )


def _more_wanted(new: NewEndpoint) -> tuple[object, ...]:
    condition = new.filter.model_dump_json(by_alias=True) if new.filter else None
    return condition, new.permanent_codes, new.standard_webhooks


async def replace_endpoint(
    connection: Connection, vault: Vault, endpoint_id: UUID, new: NewEndpoint, *, keep_headers: bool
) -> Endpoint:
    """Everything but the secrets. `keep_headers`: those that are stored stay, whatever `new` has."""
    row = await connection.fetchrow(
        "UPDATE dispatcher.endpoints SET url = $2, description = $3, events = $4, enabled = $5, disabled_reason = $6,"
        " delivery = $7, format = $8, include_email = $9, timeout = $10,"
        " headers = CASE WHEN $15 THEN headers ELSE $11 END, filter = $12, permanent_codes = $13,"
        f" standard_webhooks = $14, updated_at = now() WHERE id = $1 RETURNING {_ENDPOINT}",
        endpoint_id,
        *_wanted(new, vault),
        *_more_wanted(new),
        keep_headers,
    )
    return _endpoint(row, vault)


async def rotate_secret(
    connection: Connection, vault: Vault, endpoint_id: UUID, *, secret: str, overlap: timedelta, now: datetime
) -> Endpoint:
    """A next secret, the only one when the overlap ends. One of a rotation that is over is the old one now."""
    row = await connection.fetchrow(
        "UPDATE dispatcher.endpoints SET"
        " secret = CASE WHEN overlap_until <= $4 OR $3::interval = '0' THEN coalesce(CASE WHEN $3::interval = '0'"
        "  THEN $2::bytea END, next_secret, secret) ELSE secret END,"
        " next_secret = CASE WHEN $3::interval = '0' THEN NULL ELSE $2::bytea END,"
        " overlap_until = CASE WHEN $3::interval = '0' THEN NULL ELSE $4::timestamptz + $3::interval END,"
        f" updated_at = now() WHERE id = $1 RETURNING {_ENDPOINT}",
        endpoint_id,
        vault.seal(secret.encode()),
        overlap,
        now,
    )
    return _endpoint(row, vault)


async def end_overlap(connection: Connection, vault: Vault, endpoint_id: UUID) -> Endpoint:
    """The next secret is the only one from now on."""
    row = await connection.fetchrow(
        "UPDATE dispatcher.endpoints SET secret = coalesce(next_secret, secret), next_secret = NULL,"
        f" overlap_until = NULL, updated_at = now() WHERE id = $1 RETURNING {_ENDPOINT}",
        endpoint_id,
    )
    return _endpoint(row, vault)


async def lock_endpoint(connection: Connection, vault: Vault, store_id: UUID, endpoint_id: UUID) -> Endpoint | None:
    row = await connection.fetchrow(
        f"SELECT {_ENDPOINT} FROM dispatcher.endpoints WHERE store_id = $1 AND id = $2 FOR UPDATE",
        store_id,
        endpoint_id,
    )
    return _endpoint(row, vault) if row else None


async def delete_endpoint(connection: Connection, store_id: UUID, endpoint_id: UUID) -> bool:
    """Its unfinished deliveries are cancelled; what was delivered stays in the log."""
    gone = await connection.fetchval(
        "DELETE FROM dispatcher.endpoints WHERE store_id = $1 AND id = $2 RETURNING true", store_id, endpoint_id
    )
    if not gone:
        return False
    await connection.execute(
        "UPDATE dispatcher.deliveries SET status = 'cancelled', reason = 'the endpoint was deleted', due_at = NULL,"
        " lease = NULL, leased_until = NULL, finished_at = now() WHERE target_id = $1 AND due_at IS NOT NULL",
        endpoint_id,
    )
    await connection.execute("DELETE FROM dispatcher.breakers WHERE target_id = $1", endpoint_id)
    return True


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


async def insert_deliveries(
    connection: Connection,
    deliveries: Sequence[tuple[Delivery, Step | None]],
    bodies: Mapping[tuple[UUID, str], bytes],
    *,
    lease: UUID,
    leased: Collection[UUID],
    lease_for: timedelta,
    now: datetime,
) -> Inserted:
    """Freeze bodies, and insert their deliveries, pending or ended by their step, those in `leased` under the lease.

    One statement for all of it: a round trip costs a batch more than what is done in it.
    """
    unfrozen = dict(bodies)
    rows = [
        (
            d.recorded_at,
            d.id,
            d.store_id,
            d.target_id,
            d.endpoint_id,
            d.rule_id,
            d.event,
            d.source_id,
            d.shape,
            d.email_hash,
            d.sequence,
            d.mode,
            d.max_attempts,
            d.id in leased,
            step.status if step else "pending",
            step.reason if step else None,
            unfrozen.pop((d.source_id, d.shape), None),
        )
        for d, step in deliveries
    ]
    row = await connection.fetchrow(
        "WITH n AS MATERIALIZED (SELECT * FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::uuid[],"
        "  $5::uuid[], $6::uuid[], $7::text[], $8::uuid[], $9::text[], $10::text[], $11::bigint[], $12::text[],"
        "  $13::smallint[], $14::boolean[], $15::text[], $16::text[], $17::bytea[])"
        "  AS n(recorded_at, id, store_id, target_id, endpoint_id, rule_id, event, source_id, shape, email_hash,"
        "  sequence, mode, max_attempts, leased, status, reason, body)),"
        " frozen AS (INSERT INTO dispatcher.bodies (recorded_at, source_id, shape, email_hash, body)"
        "  SELECT recorded_at, source_id, shape, email_hash, body FROM n WHERE body IS NOT NULL"
        "  ON CONFLICT DO NOTHING RETURNING source_id, shape),"
        f" inserted AS (INSERT INTO dispatcher.deliveries ({_DELIVERY}, status, reason, due_at, lease, leased_until,"
        "  created_at, finished_at)"
        "  SELECT recorded_at, id, store_id, target_id, endpoint_id, rule_id, event, source_id, shape, email_hash,"
        "  sequence, mode, max_attempts, 0, status, reason, CASE WHEN status = 'pending' THEN $20::timestamptz END,"
        "  CASE WHEN leased THEN $18::uuid END, CASE WHEN leased THEN now() + $19::interval END, now(),"
        "  CASE WHEN status <> 'pending' THEN now() END FROM n ORDER BY id ON CONFLICT DO NOTHING RETURNING id)"
        " SELECT (SELECT array_agg(id) FROM inserted) AS deliveries,"
        "  (SELECT array_agg(source_id) FROM frozen) AS sources, (SELECT array_agg(shape) FROM frozen) AS shapes,"
        "  EXISTS (SELECT FROM dispatcher.breakers WHERE target_id = ANY($4::uuid[])) AS troubled",
        *columns(rows, 17),
        lease,
        lease_for,
        now,
    )
    return Inserted(
        frozenset(row["deliveries"] or ()),
        frozenset(zip(row["sources"] or (), row["shapes"] or (), strict=True)),
        row["troubled"],
    )


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


async def oldest_due(connection: Connection, targets: Collection[UUID]) -> datetime | None:
    """When the first of what these targets are to get is, or was, due: two steps in the index for each."""
    oldest: datetime | None = await connection.fetchval(
        "SELECT min(d.due_at) FROM unnest($1::uuid[]) AS t (id) CROSS JOIN unnest('{pending,retrying}'::text[])"
        " AS s (status) CROSS JOIN LATERAL (SELECT due_at FROM dispatcher.deliveries WHERE target_id = t.id"
        "  AND status = s.status AND due_at IS NOT NULL ORDER BY due_at LIMIT 1) AS d",
        list(targets),
    )
    return oldest


async def count_parked(connection: Connection, targets: Collection[UUID]) -> int:
    found: int = await connection.fetchval(
        "SELECT count(*) FROM dispatcher.deliveries WHERE target_id = ANY($1::uuid[]) AND status = 'parked'"
        " AND due_at IS NOT NULL",
        list(targets),
    )
    return found


async def claim(
    connection: Connection,
    rooms: Mapping[UUID, int],
    *,
    down: Collection[UUID],
    lease: UUID,
    lease_for: timedelta,
    now: datetime,
) -> list[Delivery]:
    """Lease what is due, per target at most its room: first tries before retries, then by due time.

    Of targets that are down only what is sent once and logged.
    """
    rows = await connection.fetch(
        "WITH claimed AS MATERIALIZED ("
        " SELECT d.recorded_at, d.id FROM unnest($1::uuid[], $2::integer[]) AS r(target_id, room)"
        " CROSS JOIN LATERAL (SELECT recorded_at, id FROM dispatcher.deliveries"
        "  WHERE target_id = r.target_id AND status IN ('pending', 'retrying') AND due_at <= $6"
        "  AND (leased_until IS NULL OR leased_until < now())"
        "  AND (mode = 'fire_and_log' OR asked OR NOT r.target_id = ANY($5::uuid[]))"
        "  ORDER BY status, due_at LIMIT r.room FOR UPDATE SKIP LOCKED) d),"
        " leased AS (UPDATE dispatcher.deliveries d SET lease = $3, leased_until = now() + $4::interval FROM claimed c"
        " WHERE d.recorded_at = c.recorded_at AND d.id = c.id RETURNING d.*)"
        f" SELECT {_DELIVERY}, {_STATE} FROM leased ORDER BY status, due_at",
        list(rooms),
        list(rooms.values()),
        lease,
        lease_for,
        list(down),
        now,
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


async def record(
    connection: Connection, records: Sequence[Recorded], *, now: datetime, unless_troubled: Collection[UUID] = ()
) -> set[tuple[UUID, UUID]]:
    """Store steps and their attempts; (delivery, lease) of those whose lease still held. The others change nothing.

    Nothing at all is stored where one of the targets in `unless_troubled` has a breaker.
    """
    answers = [r.answer for r in records]
    rows = await connection.fetch(
        "WITH result AS (SELECT * FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::text[], $5::text[],"
        " $6::interval[], $7::smallint[], $8::timestamptz[], $9::smallint[], $10::text[], $11::text[], $12::integer[],"
        " $13::text[], $14::bytea[], $15::smallint[], $16::timestamptz[]) AS r(recorded_at, id, held, status, reason,"
        " wait, number, at, status_code, phase, error, duration_ms, address, answer, uncounted, until)),"
        " moved AS (UPDATE dispatcher.deliveries d SET status = r.status, reason = r.reason,"
        "  attempts = coalesce(r.number, d.attempts), max_attempts = d.max_attempts + r.uncounted,"
        "  due_at = $17::timestamptz + r.wait, lease = NULL, leased_until = NULL,"
        "  parked_until = r.until,"
        "  last_status_code = CASE WHEN r.number IS NULL THEN d.last_status_code ELSE r.status_code END,"
        "  last_error = CASE WHEN r.number IS NULL THEN d.last_error ELSE r.error END,"
        "  duration_ms = coalesce(r.duration_ms, d.duration_ms),"
        "  finished_at = CASE WHEN r.wait IS NULL THEN now() END"
        "  FROM result r WHERE d.recorded_at = r.recorded_at AND d.id = r.id AND d.lease = r.held"
        "  AND NOT EXISTS (SELECT FROM dispatcher.breakers WHERE target_id = ANY($18::uuid[]))"
        "  RETURNING d.id, r.held, d.store_id),"
        " logged AS (INSERT INTO dispatcher.attempts (recorded_at, delivery_id, number, at, status_code, phase, error,"
        "  duration_ms, address, answer, store_id) SELECT recorded_at, id, number, at, status_code, phase, error,"
        "  duration_ms, address, answer, store_id FROM result JOIN moved USING (id, held) WHERE number IS NOT NULL)"
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
        [a and a.words for a in answers],
        [a and a.duration_ms for a in answers],
        [a and a.address for a in answers],
        [a and a.body for a in answers],
        [int(r.step.uncounted) for r in records],
        [r.step.until for r in records],
        now,
        list(unless_troubled),
    )
    return {(row["id"], row["held"]) for row in rows}


# Recovery -------------------------------------------------------------------------------------------------------------

_AGAIN = (
    "status = 'pending', reason = NULL, asked = true, max_attempts = greatest(attempts + 1, max_attempts),"
    " finished_at = NULL, parked_until = NULL, lease = NULL, leased_until = NULL"
)


_SENDABLE = (
    "(d.endpoint_id IS NULL OR EXISTS (SELECT FROM dispatcher.endpoints e WHERE e.id = d.endpoint_id AND e.enabled))"
)
_SWITCHED_OFF = "EXISTS (SELECT FROM dispatcher.endpoints e WHERE e.id = d.endpoint_id AND NOT e.enabled)"
AskedAgain = Literal["due", "off", "not_now", "unknown"]
"""off: its endpoint is. not_now: it is under way, was erased, or its endpoint was deleted."""


async def ask_again(connection: Connection, store_id: UUID, delivery_id: UUID, *, now: datetime) -> AskedAgain:
    """Make a finished or parked delivery due now."""
    status: str = await connection.execute(
        f"UPDATE dispatcher.deliveries d SET {_AGAIN}, due_at = $3 WHERE store_id = $1 AND id = $2"
        " AND (finished_at IS NOT NULL OR status IN ('parked', 'retrying'))"
        " AND (leased_until IS NULL OR leased_until < now())"
        f" AND reason IS DISTINCT FROM 'erased' AND {_SENDABLE}",
        store_id,
        delivery_id,
        now,
    )
    if status == "UPDATE 1":
        return "due"
    switched_off = await connection.fetchval(
        f"SELECT {_SWITCHED_OFF} FROM dispatcher.deliveries d WHERE store_id = $1 AND id = $2", store_id, delivery_id
    )
    if switched_off is None:
        return "unknown"
    return "off" if switched_off else "not_now"


_REPLAYABLE = (
    "d.store_id = $1 AND d.recorded_at >= $2 AND d.recorded_at < $3 AND d.status = ANY($4::text[])"
    " AND ($5::uuid IS NULL OR d.endpoint_id = $5) AND ($6::text IS NULL OR d.event = $6)"
    " AND ($7::text IS NULL OR d.email_hash = $7) AND d.event <> 'test'"
    " AND d.reason IS DISTINCT FROM 'erased'"
)
"""If it is also _SENDABLE: where its endpoint was deleted or is off, it would only lose what came of it."""


def _replayable(store_id: UUID, asked: "Replay") -> tuple[object, ...]:
    return (store_id, asked.from_, asked.to, list(asked.statuses), asked.webhook_id, asked.event, asked.customer)


async def is_off(connection: Connection, store_id: UUID, endpoint_id: UUID) -> bool:
    """Whether the store has the endpoint, and it is switched off."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM dispatcher.endpoints WHERE store_id = $1 AND id = $2 AND NOT enabled)",
        store_id,
        endpoint_id,
    )
    return found


async def count_replayable(connection: Connection, store_id: UUID, asked: "Replay") -> tuple[int, int]:
    """How many there are, and how many more whose endpoints are off."""
    count, off = await connection.fetchrow(
        f"SELECT count(*) FILTER (WHERE {_SENDABLE}), count(*) FILTER (WHERE {_SWITCHED_OFF})"
        f" FROM dispatcher.deliveries d WHERE {_REPLAYABLE}",
        *_replayable(store_id, asked),
    )
    return count, off


async def ask_page_again(
    connection: Connection,
    store_id: UUID,
    asked: "Replay",
    *,
    after: tuple[datetime | None, UUID | None],
    begin: datetime,
    limit: int,
) -> list[tuple[datetime, UUID]]:
    """Make the next deliveries due again, one after the other from `begin` on, at the rate asked for.

    Locked first: one that somebody else asks for at the same moment may be under way by the time we get it.
    """
    rows = await connection.fetch(
        "WITH page AS (SELECT d.recorded_at, d.id FROM dispatcher.deliveries d"
        f" WHERE {_REPLAYABLE} AND {_SENDABLE}"
        " AND ($8::timestamptz IS NULL OR (d.recorded_at, d.id) > ($8, $9::uuid))"
        " ORDER BY d.recorded_at, d.id LIMIT $10 FOR UPDATE),"
        " numbered AS (SELECT recorded_at, id, row_number() OVER (ORDER BY recorded_at, id) AS nth FROM page)"
        f" UPDATE dispatcher.deliveries d SET {_AGAIN},"
        "  due_at = $12::timestamptz + make_interval(secs => (n.nth / $11::numeric)::double precision)"
        " FROM numbered n WHERE d.recorded_at = n.recorded_at AND d.id = n.id RETURNING d.recorded_at, d.id",
        *_replayable(store_id, asked),
        *after,
        limit,
        asked.rate,
        begin,
    )
    return [(row["recorded_at"], row["id"]) for row in rows]


# Erasure --------------------------------------------------------------------------------------------------------------


async def hash_key(connection: Connection, vault: Vault, store_id: UUID) -> bytes:
    """The key that makes a store's e-mail hashes."""
    return vault.open(await connection.fetchval("SELECT hash_key FROM api.stores WHERE id = $1", store_id))


async def times_of(connection: Connection, store_id: UUID, email_hash: str) -> list[datetime]:
    """When anything was recorded of a customer: `recorded_at` of everything here that tells of them."""
    rows = await connection.fetch(
        "SELECT recorded_at FROM scorer.events WHERE store_id = $1 AND email_hash = $2"
        " UNION SELECT recorded_at FROM scorer.timeline WHERE store_id = $1 AND email_hash = $2",
        store_id,
        email_hash,
    )
    return [row["recorded_at"] for row in rows]


async def bodies_of(connection: Connection, times: Sequence[datetime], email_hash: str) -> list[Body]:
    rows = await connection.fetch(
        "SELECT recorded_at, source_id, shape, email_hash, body FROM dispatcher.bodies"
        " WHERE recorded_at = ANY($1::timestamptz[]) AND email_hash = $2",
        times,
        email_hash,
    )
    return [Body(row["recorded_at"], row["source_id"], row["shape"], row["email_hash"], row["body"]) for row in rows]


async def replace_bodies(connection: Connection, bodies: Sequence[Body]) -> None:
    await connection.execute(
        "UPDATE dispatcher.bodies b SET body = k.body FROM unnest($1::timestamptz[], $2::uuid[], $3::text[],"
        " $4::bytea[]) AS k (recorded_at, source_id, shape, body)"
        " WHERE b.recorded_at = k.recorded_at AND b.source_id = k.source_id AND b.shape = k.shape",
        *columns([(body.recorded_at, body.source_id, body.shape, body.content) for body in bodies], 4),
    )


async def end_erased(connection: Connection, bodies: Sequence[Body]) -> None:
    """What can only be sent to the customer is not sent any more, nor again."""
    await connection.execute(
        "UPDATE dispatcher.deliveries d SET status = CASE WHEN finished_at IS NULL THEN 'cancelled' ELSE status END,"
        " reason = 'erased', due_at = NULL, lease = NULL, leased_until = NULL, parked_until = NULL,"
        " finished_at = coalesce(finished_at, now())"
        " FROM unnest($1::timestamptz[], $2::uuid[], $3::text[]) AS k (recorded_at, source_id, shape)"
        " WHERE d.recorded_at = k.recorded_at AND d.source_id = k.source_id AND d.shape = k.shape",
        *columns([(body.recorded_at, body.source_id, body.shape) for body in bodies], 3),
    )


async def take_away(connection: Connection, times: Sequence[datetime], email_hash: str) -> None:
    """Unfinished deliveries of a customer are out of everybody's hands: what comes of attempts that are under way is
    not recorded, and they are made again once the leases would have ended.

    Also those without a lease: one that somebody takes at this moment is waited for.
    """
    await connection.execute(
        "UPDATE dispatcher.deliveries SET lease = NULL"
        " WHERE recorded_at = ANY($1::timestamptz[]) AND email_hash = $2 AND due_at IS NOT NULL",
        times,
        email_hash,
    )


async def forget_answers(connection: Connection, times: Sequence[datetime], email_hash: str) -> None:
    """What receivers answered may repeat what they were sent; why a delivery was filtered, who the customer is."""
    await connection.execute(
        "UPDATE dispatcher.attempts a SET answer = NULL FROM dispatcher.deliveries d"
        " WHERE d.recorded_at = ANY($1::timestamptz[]) AND d.email_hash = $2"
        " AND a.recorded_at = d.recorded_at AND a.delivery_id = d.id AND a.answer IS NOT NULL",
        times,
        email_hash,
    )
    await connection.execute(
        "UPDATE dispatcher.deliveries SET reason = 'filtered: the customer was erased'"
        " WHERE recorded_at = ANY($1::timestamptz[]) AND email_hash = $2"
        " AND reason ~ '^filtered: .*(email_domain|tags)'",
        times,
        email_hash,
    )


# Breakers -------------------------------------------------------------------------------------------------------------

_BREAKER = "target_id, failures, failing, opened_at, probes, probe_at, slow_until"


async def breakers(connection: Connection, targets: Collection[UUID]) -> dict[UUID, Breaker]:
    """Of those that are in trouble."""
    rows = await connection.fetch(
        f"SELECT {_BREAKER} FROM dispatcher.breakers WHERE target_id = ANY($1::uuid[])", list(targets)
    )
    return {row["target_id"]: _breaker(row) for row in rows}


async def lock_breakers(connection: Connection, targets: Collection[UUID]) -> dict[UUID, Breaker]:
    """The same, locked in the order of their ids until the commit."""
    rows = await connection.fetch(
        f"SELECT {_BREAKER} FROM dispatcher.breakers WHERE target_id = ANY($1::uuid[]) ORDER BY target_id FOR UPDATE",
        list(targets),
    )
    return {row["target_id"]: _breaker(row) for row in rows}


async def lock_free_breakers(connection: Connection, targets: Collection[UUID]) -> dict[UUID, Breaker]:
    """The same, without those that somebody else is deciding about: nobody waits, and no two wait for each other."""
    rows = await connection.fetch(
        f"SELECT {_BREAKER} FROM dispatcher.breakers WHERE target_id = ANY($1::uuid[]) FOR UPDATE SKIP LOCKED",
        list(targets),
    )
    return {row["target_id"]: _breaker(row) for row in rows}


async def ensure_breakers(
    connection: Connection, targets: Collection[UUID], troubled: Collection[UUID], *, endpoints: Collection[UUID]
) -> dict[UUID, Breaker]:
    """Rows for the troubled ones, which had none, and all of `targets` locked.

    None for those of `endpoints` that were deleted meanwhile: nobody would delete it.
    """
    await connection.execute(
        "INSERT INTO dispatcher.breakers (target_id, failures, failing, probes)"
        " SELECT id, 0, '{}', 0 FROM unnest($1::uuid[]) AS t (id) WHERE id <> ALL($2::uuid[])"
        " OR EXISTS (SELECT FROM dispatcher.endpoints e WHERE e.id = t.id) ORDER BY id ON CONFLICT DO NOTHING",
        list(troubled),
        list(endpoints),
    )
    return await lock_breakers(connection, targets)


async def save_breakers(connection: Connection, changed: Mapping[UUID, Breaker]) -> None:
    """Those in good health again need no row."""
    well = [target for target, breaker in changed.items() if breaker == HEALTHY]
    if well:
        await connection.execute("DELETE FROM dispatcher.breakers WHERE target_id = ANY($1::uuid[])", well)
    troubled = [
        (target, b.failures, list(b.failing), b.opened_at, b.probes, b.probe_at, b.slow_until)
        for target, b in changed.items()
        if b != HEALTHY
    ]
    if troubled:
        await connection.executemany(  # in one round trip
            "UPDATE dispatcher.breakers SET failures = $2, failing = $3, opened_at = $4, probes = $5, probe_at = $6,"
            " slow_until = $7 WHERE target_id = $1",
            troubled,
        )


def _breaker(row: asyncpg.Record) -> Breaker:
    return Breaker(
        failures=row["failures"],
        failing=tuple(row["failing"]),
        opened_at=row["opened_at"],
        probes=row["probes"],
        probe_at=row["probe_at"],
        slow_until=row["slow_until"],
    )


async def park(connection: Connection, targets: Collection[UUID], park_for: timedelta, *, now: datetime) -> None:
    """What is promised to targets that are down, and in nobody's hands, waits for their end.

    `due_at` stays: no attempt before it, though the target may be back.
    """
    await connection.execute(
        "UPDATE dispatcher.deliveries SET status = 'parked', reason = $4,"
        " parked_until = coalesce(parked_until, $3::timestamptz + $2::interval), lease = NULL, leased_until = NULL"
        " WHERE target_id = ANY($1::uuid[]) AND mode = 'retry' AND NOT asked AND status IN ('pending', 'retrying')"
        " AND due_at IS NOT NULL AND (leased_until IS NULL OR leased_until < now())",
        list(targets),
        park_for,
        now,
        DOWN,
    )


async def stranded(connection: Connection, targets: Collection[UUID]) -> list[UUID]:
    """Of these targets, those that have parked deliveries and are not down."""
    rows = await connection.fetch(
        "SELECT t.id FROM unnest($1::uuid[]) AS t (id) WHERE EXISTS (SELECT FROM dispatcher.deliveries d"
        "  WHERE d.target_id = t.id AND d.status = 'parked' AND d.due_at IS NOT NULL)"
        " AND NOT EXISTS (SELECT FROM dispatcher.breakers b WHERE b.target_id = t.id AND b.opened_at IS NOT NULL)",
        list(targets),
    )
    return [row["id"] for row in rows]


async def let_out(connection: Connection, target: UUID, *, now: datetime) -> int:
    """An outage is over: what was parked is due again, the oldest first, in a ramp that doubles each second.

    What had to wait for longer anyway does so.
    """
    status: str = await connection.execute(
        "UPDATE dispatcher.deliveries d SET status = CASE WHEN d.attempts = 0 THEN 'pending' ELSE 'retrying' END,"
        " reason = NULL, parked_until = NULL,"
        " due_at = greatest(d.due_at, $3::timestamptz + make_interval(secs => log(2, 1 + w.nth / $2::numeric)))"
        " FROM (SELECT recorded_at, id, row_number() OVER (ORDER BY recorded_at, id) - 1 AS nth"
        "  FROM dispatcher.deliveries WHERE target_id = $1 AND status = 'parked' AND due_at IS NOT NULL) AS w"
        " WHERE d.recorded_at = w.recorded_at AND d.id = w.id AND d.status = 'parked'",
        target,
        RAMP_FIRST,
        now,
    )
    return int(status.rpartition(" ")[2])


async def give_up_parked(connection: Connection, target: UUID, *, now: datetime) -> int:
    """Those that have waited as long as an outage may last."""
    status: str = await connection.execute(
        "UPDATE dispatcher.deliveries SET status = 'exhausted', reason = 'expired', due_at = NULL, finished_at = now()"
        " WHERE target_id = $1 AND status = 'parked' AND due_at IS NOT NULL AND parked_until <= $2"
        " AND (leased_until IS NULL OR leased_until < now())",
        target,
        now,
    )
    return int(status.rpartition(" ")[2])


async def claim_probe(
    connection: Connection, target: UUID, *, lease: UUID, lease_for: timedelta, now: datetime
) -> Delivery | None:
    """The parked delivery that has waited longest since it came or was last tried, leased.

    So one that makes its receiver fail by itself is not the only one that is ever tried.
    """
    row = await connection.fetchrow(
        "UPDATE dispatcher.deliveries d SET lease = $2, leased_until = now() + $3::interval FROM ("
        " SELECT recorded_at, id FROM dispatcher.deliveries WHERE target_id = $1 AND status = 'parked'"
        "  AND due_at <= $4 AND (leased_until IS NULL OR leased_until < now())"
        "  ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS c"
        f" WHERE d.recorded_at = c.recorded_at AND d.id = c.id RETURNING {_DELIVERY_OF_D}",
        target,
        lease,
        lease_for,
        now,
    )
    return row and _delivery(row)


# Bursts ---------------------------------------------------------------------------------------------------------------


async def insert_bursts(connection: Connection, first: Mapping[BurstKey, Sent]) -> set[BurstKey]:
    """The first delivery recorded for each, in key order; the keys of those that were the first."""
    rows = [(*key, sent.delivery_id, sent.digest, sent.sequence, sent.recorded_at) for key, sent in first.items()]
    new = await connection.fetch(
        "INSERT INTO dispatcher.bursts (endpoint_id, email_hash, delivery_id, digest, sequence, recorded_at)"
        " SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bytea[], $5::bigint[], $6::timestamptz[])"
        " AS k (endpoint_id, email_hash) ORDER BY endpoint_id, email_hash"
        " ON CONFLICT DO NOTHING RETURNING endpoint_id, email_hash",
        *columns(rows, 6),
    )
    return {(row["endpoint_id"], row["email_hash"]) for row in new}


async def lock_bursts(connection: Connection, keys: Collection[BurstKey]) -> dict[BurstKey, Sent]:
    """The last delivery recorded for each, locked in key order."""
    rows = await connection.fetch(
        "SELECT b.endpoint_id, b.email_hash, b.delivery_id, b.digest, b.sequence, b.recorded_at"
        " FROM unnest($1::uuid[], $2::text[]) AS k (endpoint_id, email_hash) JOIN dispatcher.bursts b"
        " ON b.endpoint_id = k.endpoint_id AND b.email_hash = k.email_hash"
        " ORDER BY b.endpoint_id, b.email_hash FOR UPDATE OF b",
        [endpoint for endpoint, _ in keys],
        [email_hash for _, email_hash in keys],
    )
    return {
        (row["endpoint_id"], row["email_hash"]): Sent(
            row["delivery_id"], row["digest"], row["sequence"], row["recorded_at"]
        )
        for row in rows
    }


async def save_bursts(connection: Connection, last: Mapping[BurstKey, Sent]) -> None:
    rows = [(*key, sent.delivery_id, sent.digest, sent.sequence, sent.recorded_at) for key, sent in last.items()]
    await connection.execute(
        "UPDATE dispatcher.bursts b SET delivery_id = k.delivery_id, digest = k.digest, sequence = k.sequence,"
        " recorded_at = k.recorded_at FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bytea[], $5::bigint[],"
        " $6::timestamptz[]) AS k (endpoint_id, email_hash, delivery_id, digest, sequence, recorded_at)"
        " WHERE b.endpoint_id = k.endpoint_id AND b.email_hash = k.email_hash",
        *columns(rows, 6),
    )


async def send_after_all(connection: Connection, last: Sequence[Sent], *, now: datetime) -> None:
    """Of these, those that were left out as repeats."""
    await connection.execute(
        "UPDATE dispatcher.deliveries d SET status = 'pending', reason = NULL, due_at = $3, finished_at = NULL"
        " FROM unnest($1::timestamptz[], $2::uuid[]) AS l (recorded_at, id)"
        " WHERE d.recorded_at = l.recorded_at AND d.id = l.id AND d.status = 'suppressed' AND d.reason = $4",
        [sent.recorded_at for sent in last],
        [sent.delivery_id for sent in last],
        now,
        DUPLICATE.reason,
    )


async def save_traces(connection: Connection, traces: Mapping[UUID, Headers], *, now: datetime) -> None:
    """Of events and automations, by their ids."""
    named = [(source_id, trace["traceparent"]) for source_id, trace in sorted(traces.items()) if trace]
    await connection.execute(
        "INSERT INTO dispatcher.traces (source_id, traceparent, seen_at)"
        " SELECT *, $3 FROM unnest($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING",
        *columns(named, 2),
        now,
    )


async def traces(connection: Connection, source_ids: Collection[UUID]) -> dict[UUID, Headers]:
    rows = await connection.fetch(
        "SELECT source_id, traceparent FROM dispatcher.traces WHERE source_id = ANY($1::uuid[])", list(source_ids)
    )
    return {row["source_id"]: {"traceparent": row["traceparent"]} for row in rows}


async def forget_traces(connection: Connection, before: datetime) -> None:
    await connection.execute("DELETE FROM dispatcher.traces WHERE seen_at < $1", before)


async def forget_bursts(connection: Connection, before: datetime) -> None:
    """Rows older than any window decide nothing any more."""
    await connection.execute("DELETE FROM dispatcher.bursts WHERE recorded_at < $1", before)


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
        parked_until=row["parked_until"],
        asked=row["asked"],
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
        filter=parse_filter(row["filter"]),
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
        unsigned=row["secret"] is None,
        headers=json.loads(headers) if headers else {},
        enabled=enabled,
        next_secret=_opened(row.get("next_secret"), vault),
        overlap_until=row.get("overlap_until"),
        standard_webhooks=bool(row.get("standard_webhooks")),
        permanent_codes=frozenset(row.get("permanent_codes") or ()),
        pace=PACE if urlsplit(row["url"]).hostname == SLACK_HOST else None,
    )


def _opened(sealed: bytes | None, vault: Vault) -> str | None:
    """Text that was sealed; None where no key opens it: that fails deliveries visibly, never a whole batch."""
    if sealed is None:
        return None
    try:
        return vault.open(sealed).decode()
    except NoKeyError:
        return None
