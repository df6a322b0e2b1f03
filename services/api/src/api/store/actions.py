"""What the actions of fired rules became, by the ids that their firings computed."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from api.results import Answered, Made, problem, result
from api.schemas import EvaluatedAction
from shared.db import Pool

Row = Mapping[str, Any]


async def of_firings(pool: Pool, firings: Sequence[Row]) -> dict[UUID, list[EvaluatedAction]]:
    """Of each firing its actions in their order, with what became of them; by the firing's id."""
    asked = {firing["id"]: json.loads(firing["actions"]) for firing in firings}
    ids = [UUID(action["id"]) for actions in asked.values() for action in actions]
    if not ids:
        return {firing_id: [] for firing_id in asked}
    became = await _answered(pool, ids) | await _made(pool, ids, [firing["recorded_at"] for firing in firings])
    now = datetime.now(UTC)
    return {
        firing["id"]: [
            _evaluated(action["type"], became.get(UUID(action["id"])), fired_at=firing["recorded_at"], now=now)
            for action in asked[firing["id"]]
        ]
        for firing in firings
    }


def _evaluated(kind: str, became: Made | Answered | None, *, fired_at: datetime, now: datetime) -> EvaluatedAction:
    told = result(kind, became, fired_at=fired_at, now=now)
    delivery_id = became.id if isinstance(became, Made) else None
    return EvaluatedAction(type=kind, status=told.status, detail=told.detail, delivery_id=delivery_id)


async def _made(pool: Pool, ids: Sequence[UUID], times: Sequence[datetime]) -> dict[UUID, Made | Answered]:
    """Deliveries lie in the partitions of their firings. Those of subscribers carry no rule's id."""
    rows = await pool.fetch(
        "SELECT source_id, id, status, reason, attempts, last_status_code, last_error, duration_ms, due_at"
        " FROM dispatcher.deliveries"
        " WHERE recorded_at = ANY($1::timestamptz[]) AND source_id = ANY($2::uuid[]) AND rule_id IS NOT NULL",
        times,
        ids,
    )
    return {row["source_id"]: Made(**{name: row[name] for name in Made.__slots__}) for row in rows}


async def _answered(pool: Pool, ids: Sequence[UUID]) -> dict[UUID, Made | Answered]:
    rows = await pool.fetch("SELECT id, refusal FROM scorer.commands_seen WHERE id = ANY($1::uuid[])", ids)
    return {row["id"]: Answered(problem(json.loads(row["refusal"])) if row["refusal"] else None) for row in rows}
