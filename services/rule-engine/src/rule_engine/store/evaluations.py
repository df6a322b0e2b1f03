"""What was decided for each event: the rules that did not fire in its row, those that did in rows of their own."""

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg

from rule_engine import firings
from rule_engine.evaluate import Candidate, Skipped
from rule_engine.firings import Evaluation
from shared.db import Connection, MeanwhileError, columns
from shared.events import Event
from shared.fields import Value
from shared.jsontext import dumps


async def evaluated(connection: Connection, events: Sequence[Event]) -> set[UUID]:
    """Those of the events that have been evaluated."""
    rows = await connection.fetch(
        "SELECT e.event_id FROM unnest($1::timestamptz[], $2::uuid[]) AS k (recorded_at, event_id)"
        " JOIN rule_engine.evaluations e USING (recorded_at, event_id)",
        [event.recorded_at for event in events],
        [event.id for event in events],
    )
    return {row["event_id"] for row in rows}


async def fired(connection: Connection, events: Sequence[Event]) -> set[UUID]:
    """Those of the events for which a rule fired: it is kept longer than that they have been evaluated."""
    rows = await connection.fetch(
        "SELECT DISTINCT f.event_id FROM unnest($1::timestamptz[], $2::uuid[]) AS k (recorded_at, event_id)"
        " JOIN rule_engine.firings f USING (recorded_at, event_id)",
        [event.recorded_at for event in events],
        [event.id for event in events],
    )
    return {row["event_id"] for row in rows}


_EVALUATION = (
    "recorded_at",
    "event_id",
    "store_id",
    "email_hash",
    "trigger",
    "order_id",
    "rule_ids",
    "versions",
    "reasons",
    "failed",
    "seen",
)


async def save_evaluations(connection: Connection, evaluations: Sequence[Evaluation]) -> None:
    """
    Raises:
        MeanwhileError: somebody saved one of them before.
    """
    try:
        await connection.copy_records_to_table(
            "evaluations",
            schema_name="rule_engine",
            columns=_EVALUATION,
            records=[_evaluation_row(evaluation) for evaluation in evaluations],
        )
    except asyncpg.UniqueViolationError:
        raise MeanwhileError("another consumer evaluated some of these events") from None


def _evaluation_row(evaluation: Evaluation) -> tuple[object, ...]:
    event, skips = evaluation.event, evaluation.skips
    return (
        event.recorded_at,
        event.id,
        event.store_id,
        event.customer.email_hash,
        event.type,
        firings.order_id(event),
        [skipped.rule.id for skipped in skips],
        [skipped.rule.version for skipped in skips],
        [skipped.reason for skipped in skips],
        [skipped.rule.id for skipped in skips if skipped.failed],
        dumps(_seen(skips)),
    )


def _seen(skips: Sequence[Skipped]) -> Mapping[str, Value | None]:
    """What the rules of one event asked for: each value once, whoever asked."""
    if not skips:
        return {}
    fields = skips[0].fields
    return {name: fields.get(name) for name in set[str]().union(*(skipped.rule.fields for skipped in skips))}


async def save_firings(connection: Connection, fired: Sequence[Candidate]) -> None:
    await connection.execute(
        "INSERT INTO rule_engine.firings (recorded_at, id, event_id, rule_id, rule_version, store_id, email_hash,"
        " trigger, order_id, reason, values, actions)"
        " SELECT * FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::uuid[], $5::int[], $6::uuid[],"
        " $7::text[], $8::text[], $9::bigint[], $10::text[], $11::jsonb[], $12::jsonb[])",
        *columns([_firing_row(candidate) for candidate in fired], 12),
    )


def _firing_row(candidate: Candidate) -> tuple[object, ...]:
    event, rule = candidate.event, candidate.rule
    asked = [{"type": action.type, "id": str(action_id)} for _, action, action_id in firings.actions(candidate)]
    return (
        event.recorded_at,
        firings.firing_id(candidate),
        event.id,
        rule.id,
        rule.version,
        event.store_id,
        event.customer.email_hash,
        event.type,
        firings.order_id(event),
        candidate.reason,
        dumps(candidate.values),
        json.dumps(asked),
    )
