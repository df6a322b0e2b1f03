"""Rules as they are saved, and what they refer to."""

import json
from collections.abc import Collection, Iterable
from uuid import UUID

from rule_engine.rules import Saved
from rule_engine.targets import Target
from shared.db import Connection
from shared.secrets import Vault


async def endpoints(connection: Connection, store_id: UUID, ids: Collection[UUID]) -> set[UUID]:
    """Those of the ids that are endpoints of the store."""
    rows = await connection.fetch(
        "SELECT id FROM dispatcher.endpoints WHERE store_id = $1 AND id = ANY($2::uuid[])", store_id, list(ids)
    )
    return {row["id"] for row in rows}


async def insert_rule(connection: Connection, saved: Saved) -> None:
    fields = saved.fields
    conditions = fields["conditions"]
    await connection.execute(
        "INSERT INTO rule_engine.rules (id, store_id, version, name, description, trigger, conditions, actions,"
        " cooldown, hourly_limit, mode, created_at, updated_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
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
        saved.created_at,
        saved.updated_at,
    )


async def insert_targets(connection: Connection, vault: Vault, saved: Saved, targets: Iterable[Target]) -> None:
    await connection.executemany(
        "INSERT INTO rule_engine.targets (id, store_id, rule_id, url, secret, headers, timeout)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [_target_row(vault, saved, target) for target in targets],
    )


def _target_row(vault: Vault, saved: Saved, target: Target) -> tuple[object, ...]:
    headers = vault.seal(json.dumps(dict(target.headers)).encode()) if target.headers else None
    secret = vault.seal(target.secret.encode()) if target.secret is not None else None
    return target.id, saved.store_id, saved.id, target.url, secret, headers, target.timeout
