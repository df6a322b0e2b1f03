"""What rules are tried on: the events that the scorer kept, and what the rules did with them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from rule_engine.cooldown import Hour, Key
from rule_engine.happened import Kept, Place
from shared.db import Connection, Pool
from shared.events import Event, OrderInfo, Snapshot


@dataclass(frozen=True, slots=True)
class Span:
    """A store's events of one type, from `begin` until before `end`, by recorded_at."""

    store_id: UUID
    trigger: str
    begin: datetime
    end: datetime


async def count(connection: Connection, span: Span) -> int:
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM scorer.events"
            " WHERE store_id = $1 AND type = $2 AND recorded_at >= $3 AND recorded_at < $4",
            span.store_id,
            span.trigger,
            span.begin,
            span.end,
        )
    )


async def events(connection: Connection, span: Span, after: Place | None, limit: int) -> list[Kept]:
    """The next ones in their order; first of all those at the beginning."""
    at, sequence, event_id = after or (span.begin, -1, UUID(int=0))
    rows = await connection.fetch(
        "SELECT recorded_at, sequence, id, email_hash, body FROM scorer.events"
        " WHERE store_id = $1 AND type = $2 AND recorded_at >= $3 AND recorded_at < $4"
        " AND (recorded_at, sequence, id) > ($3, $5, $6) ORDER BY recorded_at, sequence, id LIMIT $7",
        span.store_id,
        span.trigger,
        at,
        span.end,
        sequence,
        event_id,
        limit,
    )
    return [Kept((at, sequence, event_id), email_hash, body) for at, sequence, event_id, email_hash, body in rows]


async def fired(connection: Connection, rule_id: UUID, begin: datetime, end: datetime) -> set[UUID]:
    """The events that a rule fired for, whichever its version, by their recorded_at, both ends included."""
    rows = await connection.fetch(
        "SELECT event_id FROM rule_engine.firings WHERE rule_id = $1 AND recorded_at BETWEEN $2 AND $3",
        rule_id,
        begin,
        end,
    )
    return {row["event_id"] for row in rows}


async def unfinished(connection: Connection, store_id: UUID) -> int:
    """A store's jobs that wait or run. Nobody queues another until the commit."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"rule_engine.jobs {store_id}")
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM rule_engine.jobs WHERE store_id = $1 AND state IN ('queued', 'running')", store_id
        )
    )


# One event to try a rule on -------------------------------------------------------------------------------------------


async def newest(pool: Pool, store_id: UUID, email_hash: str, trigger: str) -> Event | None:
    """The last event of a type that a customer had."""
    body = await pool.fetchval(
        "SELECT body FROM scorer.events WHERE store_id = $1 AND email_hash = $2 AND type = $3"
        " ORDER BY sequence DESC LIMIT 1",
        store_id,
        email_hash,
        trigger,
    )
    return Event.model_validate_json(body) if body else None


async def event(pool: Pool, store_id: UUID, event_id: UUID, email_hash: str | None) -> Event | None:
    """Of that customer, if one is named. An event's id begins with the millisecond of its recorded_at, or with the one
    before, where a float was rounded: no other partition is looked at.
    """
    body = await pool.fetchval(
        "SELECT body FROM scorer.events WHERE recorded_at >= uuid_extract_timestamp($2)"
        " AND recorded_at < uuid_extract_timestamp($2) + interval '2 ms'"
        " AND id = $2 AND store_id = $1 AND ($3::text IS NULL OR email_hash = $3)",
        store_id,
        event_id,
        email_hash,
    )
    return Event.model_validate_json(body) if body else None


async def customer(pool: Pool, store_id: UUID, email_hash: str, now: datetime) -> Snapshot | None:
    """A customer as an event of this moment would show them."""
    row = await pool.fetchrow(
        f"SELECT {', '.join(_AS_STORED)}, first_completed_at, last_order_at FROM scorer.customers"
        " WHERE store_id = $1 AND email_hash = $2",
        store_id,
        email_hash,
    )
    return row and Snapshot(
        **{name: row[name] for name in _AS_STORED},
        account_age_days=_days(row["first_completed_at"], now),
        days_since_last_order=_days(row["last_order_at"], now),
    )


_AS_STORED = tuple(name for name in Snapshot.model_fields if name not in {"account_age_days", "days_since_last_order"})


def _days(since: datetime | None, now: datetime) -> int | None:
    """As the scorer counts them."""
    return None if since is None else max((now - since).days, 0)


async def newest_order(pool: Pool, store_id: UUID, email_hash: str) -> OrderInfo | None:
    row = await pool.fetchrow(
        "SELECT order_id AS id, number, total, currency, status, item_count, payment_method, billing_country,"
        " shipping_country FROM scorer.orders WHERE store_id = $1 AND email_hash = $2"
        " ORDER BY created_at DESC, order_id DESC LIMIT 1",
        store_id,
        email_hash,
    )
    return row and OrderInfo(**row)


async def last_fired(pool: Pool, key: Key) -> datetime | None:
    found: datetime | None = await pool.fetchval(
        "SELECT fired_at FROM rule_engine.cooldowns WHERE rule_id = $1 AND email_hash = $2", *key
    )
    return found


async def fired_in_hour(pool: Pool, hour: Hour) -> int:
    found = await pool.fetchval("SELECT fired FROM rule_engine.hours WHERE rule_id = $1 AND hour = $2", *hour)
    return found or 0
