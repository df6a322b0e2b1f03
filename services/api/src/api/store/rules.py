"""Rules, and the versions they had."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from api.paging import Page
from api.schemas import ALL_IDS, Rule, RuleAsSaved, RuleListing, RuleVersion
from shared.db import Pool

Row = Mapping[str, Any]

_RULE = (
    "id, version, name, description, trigger, conditions, actions, cooldown, hourly_limit, mode, created_at, updated_at"
)


_FIRST = ("type", "target_id", "webhook_id", "url", "to", "subject", "field", "operator", "value")
"""Of a condition or an action, as people write them: Postgres keeps names by their length."""


def _read(text: str) -> Any:
    return json.loads(text, object_hook=_in_order)


def _in_order(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in _FIRST if name in given} | given


def _rule(row: Row) -> Rule:
    conditions = _read(row["conditions"]) if row["conditions"] else None
    return Rule(**{**row, "conditions": conditions, "actions": _read(row["actions"])})


async def find_rule(pool: Pool, store_id: UUID, rule_id: UUID) -> Rule | None:
    row = await pool.fetchrow(
        f"SELECT {_RULE} FROM rule_engine.rules WHERE store_id = $1 AND id = $2", store_id, rule_id
    )
    return row and _rule(row)


async def list_rules(pool: Pool, store_id: UUID, listing: RuleListing) -> tuple[list[Rule], int]:
    matching = (
        "FROM rule_engine.rules WHERE store_id = $1"
        " AND ($2::text IS NULL OR trigger = $2) AND ($3::text IS NULL OR mode = $3) AND id BETWEEN $4 AND $5"
        " AND ($6::text IS NULL OR strpos(lower(name), lower($6)) > 0)"
    )
    given = (store_id, listing.trigger, listing.mode, *(listing.id or ALL_IDS), listing.search)
    rows = await pool.fetch(
        f"SELECT {_RULE} {matching} ORDER BY created_at DESC, id DESC LIMIT $7 OFFSET $8",
        *given,
        listing.page.size,
        listing.page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) {matching}", *given)
    return [_rule(row) for row in rows], total


async def list_versions(pool: Pool, rule_id: UUID, page: Page) -> tuple[list[RuleVersion], int]:
    """Newest first, each with what it changed."""
    rows = await pool.fetch(
        "SELECT version, saved_at, actor, rule, lead(rule) OVER (ORDER BY version DESC) AS before"
        " FROM rule_engine.versions WHERE rule_id = $1 ORDER BY version DESC LIMIT $2 OFFSET $3",
        rule_id,
        page.size,
        page.offset,
    )
    total = await pool.fetchval("SELECT count(*) FROM rule_engine.versions WHERE rule_id = $1", rule_id)
    return [_version(row) for row in rows], total


def _version(row: Row) -> RuleVersion:
    rule, before = _read(row["rule"]), json.loads(row["before"] or "null")
    return RuleVersion(
        version=row["version"],
        saved_at=row["saved_at"],
        actor=row["actor"],
        changed=[name for name in RuleAsSaved.model_fields if rule[name] != before.get(name)] if before else [],
        rule=RuleAsSaved(**rule),
    )
