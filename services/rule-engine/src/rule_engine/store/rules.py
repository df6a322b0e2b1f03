"""Rules as they are saved, their versions, and what they refer to."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import asyncpg

from rule_engine.rules import Saved
from rule_engine.targets import Target
from shared.db import Connection, Pool
from shared.secrets import Vault

# Rules ----------------------------------------------------------------------------------------------------------------


async def count_rules(connection: Connection, store_id: UUID) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM rule_engine.rules WHERE store_id = $1", store_id))


async def started(connection: Connection | Pool, store_id: UUID) -> dict[str, UUID]:
    """The rules that were made from starters, by the starter's key."""
    rows = await connection.fetch(
        "SELECT starter, id FROM rule_engine.rules WHERE store_id = $1 AND starter IS NOT NULL", store_id
    )
    return {row["starter"]: row["id"] for row in rows}


_FIND = (
    "SELECT id, store_id, version, name, description, trigger, conditions, actions, cooldown, hourly_limit, mode,"
    " created_at, updated_at FROM rule_engine.rules WHERE store_id = $1 AND id = $2"
)


async def find_rule(connection: Connection | Pool, store_id: UUID, rule_id: UUID) -> Saved | None:
    row = await connection.fetchrow(_FIND, store_id, rule_id)
    return row and _saved(row)


async def lock_rule(connection: Connection, store_id: UUID, rule_id: UUID) -> Saved | None:
    """As it stands, until the commit."""
    row = await connection.fetchrow(f"{_FIND} FOR UPDATE", store_id, rule_id)
    return row and _saved(row)


_FIELDS = ("name", "description", "trigger", "conditions", "actions", "cooldown", "hourly_limit", "mode")


def _saved(row: asyncpg.Record) -> Saved:
    fields = {name: row[name] for name in _FIELDS}
    read = {name: json.loads(row[name] or "null") for name in ("conditions", "actions")}
    return Saved(row["id"], row["store_id"], row["version"], fields | read, row["created_at"], row["updated_at"])


async def insert_rule(connection: Connection, saved: Saved, *, starter: str | None = None) -> None:
    await connection.execute(
        "INSERT INTO rule_engine.rules (id, store_id, version, name, description, trigger, conditions, actions,"
        " cooldown, hourly_limit, mode, updated_at, created_at, starter)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        *_rule_row(saved),
        saved.created_at,
        starter,
    )


async def update_rule(connection: Connection, saved: Saved) -> None:
    await connection.execute(
        "UPDATE rule_engine.rules SET version = $3, name = $4, description = $5, trigger = $6, conditions = $7,"
        " actions = $8, cooldown = $9, hourly_limit = $10, mode = $11, updated_at = $12"
        " WHERE id = $1 AND store_id = $2",
        *_rule_row(saved),
    )


def _rule_row(saved: Saved) -> tuple[object, ...]:
    fields = saved.fields
    conditions = fields["conditions"]
    return (
        saved.id,
        saved.store_id,
        saved.version,
        fields["name"],
        fields["description"],
        fields["trigger"],
        None if conditions is None else json.dumps(conditions),
        json.dumps(fields["actions"]),
        fields["cooldown"],
        fields["hourly_limit"],
        fields["mode"],
        saved.updated_at,
    )


async def delete_rule(connection: Connection, store_id: UUID, rule_id: UUID) -> bool:
    """With its versions, its targets, and what was counted of it. What was decided by it stays for its time."""
    gone = await connection.fetchval(
        "DELETE FROM rule_engine.rules WHERE store_id = $1 AND id = $2 RETURNING true", store_id, rule_id
    )
    if not gone:
        return False
    for table in ("versions", "targets"):
        await connection.execute(f"DELETE FROM rule_engine.{table} WHERE rule_id = $1", rule_id)
    # In the order in which consumers lock them: cooldowns before hours, and each by its key.
    for table, key in (("cooldowns", "email_hash"), ("hours", "hour")):
        await connection.execute(
            f"WITH locked AS (SELECT {key} FROM rule_engine.{table} WHERE rule_id = $1 ORDER BY {key} FOR UPDATE)"
            f" DELETE FROM rule_engine.{table} c USING locked k WHERE c.rule_id = $1 AND c.{key} = k.{key}",
            rule_id,
        )
    return True


# Versions -------------------------------------------------------------------------------------------------------------


async def insert_version(connection: Connection, saved: Saved, actor: str) -> None:
    await connection.execute(
        "INSERT INTO rule_engine.versions (rule_id, version, store_id, rule, actor, saved_at)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        saved.id,
        saved.version,
        saved.store_id,
        json.dumps(saved.fields),
        actor,
        saved.updated_at,
    )


async def version_fields(connection: Connection, rule_id: UUID, version: int) -> Mapping[str, Any] | None:
    """What a version of a rule says."""
    stored = await connection.fetchval(
        "SELECT rule FROM rule_engine.versions WHERE rule_id = $1 AND version = $2", rule_id, version
    )
    return stored and dict(json.loads(stored))


# Targets --------------------------------------------------------------------------------------------------------------


async def targets(connection: Connection | Pool, vault: Vault, rule_id: UUID) -> dict[UUID, Target]:
    """All that the rule ever had: a version that is restored finds its own again."""
    rows = await connection.fetch(
        "SELECT id, url, secret, headers, timeout FROM rule_engine.targets WHERE rule_id = $1", rule_id
    )
    return {row["id"]: _target(row, vault) for row in rows}


def _target(row: asyncpg.Record, vault: Vault) -> Target:
    secret = None if row["secret"] is None else vault.open(row["secret"]).decode()
    headers = json.loads(vault.open(row["headers"])) if row["headers"] else {}
    return Target(row["id"], row["url"], secret, headers, row["timeout"])


async def save_targets(connection: Connection, vault: Vault, saved: Saved, changed: Iterable[Target]) -> None:
    """New ones, and those that are not as they were."""
    await connection.executemany(
        "INSERT INTO rule_engine.targets (id, store_id, rule_id, url, secret, headers, timeout)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET url = excluded.url,"
        " secret = excluded.secret, headers = excluded.headers, timeout = excluded.timeout",
        [_target_row(vault, saved, target) for target in changed],
    )


def _target_row(vault: Vault, saved: Saved, target: Target) -> tuple[object, ...]:
    headers = vault.seal(json.dumps(dict(target.headers)).encode()) if target.headers else None
    secret = vault.seal(target.secret.encode()) if target.secret is not None else None
    return target.id, saved.store_id, saved.id, target.url, secret, headers, target.timeout
