"""Rules, and what was decided for each event."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from api.paging import Page
from api.schemas import (
    EvaluatedAction,
    Evaluation,
    Rule,
)
from shared.db import Pool
from shared.ids import derived

Row = Mapping[str, Any]

_RULE = (
    "id, version, name, description, trigger, conditions, actions, cooldown, hourly_limit, mode, created_at, updated_at"
)


def _rule(row: Row) -> Rule:
    conditions = json.loads(row["conditions"]) if row["conditions"] else None
    return Rule(**{**row, "conditions": conditions, "actions": json.loads(row["actions"])})


async def find_rule(pool: Pool, store_id: UUID, rule_id: UUID) -> Rule | None:
    row = await pool.fetchrow(
        f"SELECT {_RULE} FROM rule_engine.rules WHERE store_id = $1 AND id = $2", store_id, rule_id
    )
    return row and _rule(row)


async def list_rules(pool: Pool, store_id: UUID, page: Page) -> tuple[list[Rule], int]:
    rows = await pool.fetch(
        f"SELECT {_RULE} FROM rule_engine.rules WHERE store_id = $1"
        " ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3",
        store_id,
        page.size,
        page.offset,
    )
    total = await pool.fetchval("SELECT count(*) FROM rule_engine.rules WHERE store_id = $1", store_id)
    return [_rule(row) for row in rows], total


_EVALUATIONS = """
    SELECT recorded_at, id, event_id, rule_version, trigger, email_hash, order_id, 'fired' AS outcome, reason,
           values, actions
    FROM rule_engine.firings WHERE store_id = $1 AND rule_id = $2
    UNION ALL
    SELECT e.recorded_at, NULL, e.event_id, e.versions[n], e.trigger, e.email_hash, e.order_id,
           CASE WHEN $2 = ANY(e.failed) THEN 'failed' ELSE 'skipped' END, e.reasons[n], e.seen, '[]'
    FROM rule_engine.evaluations e, array_position(e.rule_ids, $2) AS n
    WHERE e.store_id = $1 AND n IS NOT NULL
"""


async def list_evaluations(pool: Pool, store_id: UUID, rule_id: UUID, page: Page) -> tuple[list[Evaluation], int]:
    """Newest first, fired and skipped, each action with what became of it."""
    rows = await pool.fetch(
        f"{_EVALUATIONS} ORDER BY recorded_at DESC, event_id DESC LIMIT $3 OFFSET $4",
        store_id,
        rule_id,
        page.size,
        page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) FROM ({_EVALUATIONS}) AS evaluation", store_id, rule_id)
    results = await _results(pool, rule_id, [row for row in rows if row["outcome"] == "fired"])
    return [_evaluation(row, rule_id, _evaluated(row, results)) for row in rows], total


def _evaluation(row: Row, rule_id: UUID, actions: list[EvaluatedAction]) -> Evaluation:
    return Evaluation(
        id=row["id"] or derived(rule_id, row["event_id"]),
        rule_id=rule_id,
        rule_version=row["rule_version"],
        event_id=row["event_id"],
        trigger=row["trigger"],
        customer=row["email_hash"],
        order_id=row["order_id"],
        outcome=row["outcome"],
        reason=row["reason"],
        values=json.loads(row["values"]),
        actions=actions,
        at=row["recorded_at"],
    )


async def _results(pool: Pool, rule_id: UUID, firings: Sequence[Row]) -> dict[str, Row]:
    """The deliveries that a rule's actions became, by the action's id. They lie in the partition of the firing."""
    asked = [action["id"] for firing in firings for action in json.loads(firing["actions"])]
    if not asked:
        return {}
    rows = await pool.fetch(
        "SELECT source_id, id, status, coalesce(last_error, reason) AS detail FROM dispatcher.deliveries"
        " WHERE recorded_at = ANY($1::timestamptz[]) AND source_id = ANY($2::uuid[]) AND rule_id = $3",
        [firing["recorded_at"] for firing in firings],
        asked,
        rule_id,
    )
    return {str(row["source_id"]): row for row in rows}


def _evaluated(row: Row, results: Mapping[str, Row]) -> list[EvaluatedAction]:
    return [_action(action["type"], results.get(action["id"])) for action in json.loads(row["actions"])]


def _action(kind: str, delivery: Row | None) -> EvaluatedAction:
    if delivery is None:
        return EvaluatedAction(type=kind, status="pending", detail=None, delivery_id=None)
    return EvaluatedAction(type=kind, status=delivery["status"], detail=delivery["detail"], delivery_id=delivery["id"])
