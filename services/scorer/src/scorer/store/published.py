"""What is told and kept of a recalculation: events, timeline, score history, outcomes of inputs."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from scorer.changes import Entry, Point
from scorer.customer import Key
from scorer.facts import Result
from shared.db import Connection, columns
from shared.events import Automation, Event


async def save_events(connection: Connection, events: Sequence[tuple[Event, bytes]]) -> None:
    """Keep the events with the bodies that are published, for backtests."""
    await connection.copy_records_to_table(
        "events",
        schema_name="scorer",
        columns=("recorded_at", "id", "store_id", "email_hash", "sequence", "type", "occurred_at", "body"),
        records=[
            (e.recorded_at, e.id, e.store_id, e.customer.email_hash, e.sequence, e.type, e.occurred_at, body)
            for e, body in events
        ],
    )


async def save_timeline(connection: Connection, entries: Sequence[tuple[Key, Entry]], now: datetime) -> None:
    await connection.copy_records_to_table(
        "timeline",
        schema_name="scorer",
        columns=("recorded_at", "id", "store_id", "email_hash", "type", "occurred_at", "data"),
        records=[(now, e.id, *key, e.type, e.occurred_at, json.dumps(e.data)) for key, e in entries],
    )


async def save_automations(connection: Connection, automations: Sequence[Automation]) -> None:
    """Rules' actions, on the timeline; one that comes again is there already."""
    if not automations:
        return
    rows = [(a.recorded_at, a.id, a.store_id, a.customer.email_hash, a.occurred_at, _told(a)) for a in automations]
    await connection.execute(
        "INSERT INTO scorer.timeline (recorded_at, id, store_id, email_hash, type, occurred_at, data)"
        " SELECT k.recorded_at, k.id, k.store_id, k.email_hash, 'automation_triggered', k.occurred_at, k.data"
        " FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::jsonb[])"
        " AS k (recorded_at, id, store_id, email_hash, occurred_at, data)"
        " ON CONFLICT (recorded_at, id) DO NOTHING",
        *columns(sorted(rows), 6),
    )


def _told(automation: Automation) -> str:
    rule = {"id": str(automation.rule.id), "name": automation.rule.name, "trigger": automation.rule.trigger}
    return json.dumps({"rule": rule, "action": automation.action.type, "order_id": automation.order_id})


async def save_history(connection: Connection, points: Sequence[tuple[Key, Point]], now: datetime) -> None:
    await connection.copy_records_to_table(
        "score_history",
        schema_name="scorer",
        columns=("store_id", "email_hash", "at", "trust_score", "segment", "points", "cause"),
        records=[
            (*key, now, point.trust_score, point.segment, json.dumps(point.points), point.cause)
            for key, point in points
        ],
    )


async def save_outcomes(
    connection: Connection, outcomes: Iterable[tuple[UUID, Result, str | None]], now: datetime
) -> None:
    """What became of accepted inputs. The first answer stays: a redelivered fact is no new input."""
    rows = sorted(outcomes, key=lambda outcome: outcome[0])
    await connection.execute(
        "INSERT INTO scorer.input_outcomes (input_id, outcome, reason, at)"
        " SELECT *, $4 FROM unnest($1::uuid[], $2::text[], $3::text[]) ON CONFLICT (input_id) DO NOTHING",
        *columns(rows, 3),
        now,
    )


async def forget_outcomes(connection: Connection, days: int) -> None:
    await connection.execute("DELETE FROM scorer.input_outcomes WHERE at < now() - make_interval(days => $1)", days)
