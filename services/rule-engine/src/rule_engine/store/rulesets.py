"""The rules that events are played to: each store's, as of its revision."""

import json
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import asyncpg

from rule_engine.rules import Rule, stored_rule
from shared.db import Connection


async def revisions(connection: Connection, store_ids: Collection[UUID]) -> dict[UUID, int]:
    """The stores that ever had a rule, with the number that each change of their rules raises."""
    rows = await connection.fetch(
        "SELECT store_id, revision FROM rule_engine.revisions WHERE store_id = ANY($1::uuid[])", list(store_ids)
    )
    return {row["store_id"]: row["revision"] for row in rows}


Known = Mapping[tuple[UUID, int], Rule]
"""By id and version."""


async def rules(connection: Connection, store_ids: Collection[UUID], known: Known) -> dict[UUID, list[Rule]]:
    """The rules that are not off, oldest first. Of the known ones only the versions are read: a store may have a
    thousand, and reading those takes long.
    """
    rows = await connection.fetch(
        "SELECT id, store_id, version, name, trigger, cooldown, hourly_limit, mode,"
        " CASE WHEN k.rule_id IS NULL THEN conditions END AS conditions,"
        " CASE WHEN k.rule_id IS NULL THEN actions END AS actions FROM rule_engine.rules r"
        " LEFT JOIN unnest($2::uuid[], $3::int[]) AS k (rule_id, at) ON k.rule_id = r.id AND k.at = r.version"
        " WHERE store_id = ANY($1::uuid[]) AND mode <> 'off' ORDER BY created_at, id",
        list(store_ids),
        [rule_id for rule_id, _ in known],
        [version for _, version in known],
    )
    found: dict[UUID, list[Rule]] = {store_id: [] for store_id in store_ids}
    for row in rows:
        found[row["store_id"]].append(known.get((row["id"], row["version"])) or _rule(row))
    return found


def _rule(row: asyncpg.Record) -> Rule:
    return stored_rule(
        rule_id=row["id"],
        version=row["version"],
        name=row["name"],
        trigger=row["trigger"],
        conditions=_json(row["conditions"]),
        actions=_json(row["actions"]),
        cooldown=row["cooldown"],
        hourly_limit=row["hourly_limit"],
        mode=row["mode"],
    )


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


async def raise_revision(connection: Connection, store_id: UUID) -> None:
    """Make every rule engine load the store's rules before its next batch."""
    await connection.execute(
        "INSERT INTO rule_engine.revisions AS r (store_id, revision) VALUES ($1, 1)"
        " ON CONFLICT (store_id) DO UPDATE SET revision = r.revision + 1",
        store_id,
    )
