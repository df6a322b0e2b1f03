"""All SQL of the rule engine. One function per statement, connection first; rows become types here."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from rule_engine import firings
from rule_engine.cooldown import Key
from rule_engine.evaluate import Candidate, Skipped
from rule_engine.firings import Evaluation
from rule_engine.rules import Rule, Saved, Target, actions_json, conditions_json, stored_rule
from shared.db import Connection, Pool, columns
from shared.events import Event
from shared.jsontext import dumps
from shared.secrets import Vault


async def revisions(connection: Connection, store_ids: Collection[UUID]) -> dict[UUID, int]:
    """The stores that ever had a rule, with the number that each change of their rules raises."""
    rows = await connection.fetch(
        "SELECT store_id, revision FROM rule_engine.revisions WHERE store_id = ANY($1::uuid[])", list(store_ids)
    )
    return {row["store_id"]: row["revision"] for row in rows}


async def rules(connection: Connection, store_ids: Collection[UUID]) -> dict[UUID, list[Rule]]:
    """The rules that are not off, oldest first."""
    rows = await connection.fetch(
        "SELECT id, store_id, version, name, trigger, conditions, actions, cooldown, mode FROM rule_engine.rules"
        " WHERE store_id = ANY($1::uuid[]) AND mode <> 'off' ORDER BY created_at, id",
        list(store_ids),
    )
    found: dict[UUID, list[Rule]] = {store_id: [] for store_id in store_ids}
    for row in rows:
        found[row["store_id"]].append(_rule(row))
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
        mode=row["mode"],
    )


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


async def evaluated(connection: Connection, events: Sequence[Event]) -> set[UUID]:
    """Those of the events that have been evaluated."""
    rows = await connection.fetch(
        "SELECT e.event_id FROM unnest($1::timestamptz[], $2::uuid[]) AS k (recorded_at, event_id)"
        " JOIN rule_engine.evaluations e USING (recorded_at, event_id)",
        [event.recorded_at for event in events],
        [event.id for event in events],
    )
    return {row["event_id"] for row in rows}


async def ensure_cooldowns(connection: Connection, keys: Sequence[Key]) -> None:
    """Make the rows that are missing, so that there is something to lock. `keys` are sorted."""
    await connection.execute(
        "INSERT INTO rule_engine.cooldowns (rule_id, email_hash)"
        " SELECT k.rule_id, k.email_hash FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY"
        " AS k (rule_id, email_hash, n) ORDER BY k.n ON CONFLICT DO NOTHING",
        [rule_id for rule_id, _ in keys],
        [email_hash for _, email_hash in keys],
    )


async def lock_cooldowns(connection: Connection, keys: Sequence[Key]) -> dict[Key, datetime | None]:
    """When these fired last, locked in the order of `keys` until the commit."""
    rows = await connection.fetch(
        "SELECT c.rule_id, c.email_hash, c.fired_at FROM rule_engine.cooldowns c"
        " JOIN unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (rule_id, email_hash, n)"
        " USING (rule_id, email_hash) ORDER BY k.n FOR UPDATE OF c",
        [rule_id for rule_id, _ in keys],
        [email_hash for _, email_hash in keys],
    )
    return {(row["rule_id"], row["email_hash"]): row["fired_at"] for row in rows}


async def save_cooldowns(connection: Connection, last: Mapping[Key, datetime]) -> None:
    await connection.execute(
        "UPDATE rule_engine.cooldowns c SET fired_at = k.fired_at"
        " FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS k (rule_id, email_hash, fired_at)"
        " WHERE c.rule_id = k.rule_id AND c.email_hash = k.email_hash",
        [rule_id for rule_id, _ in last],
        [email_hash for _, email_hash in last],
        list(last.values()),
    )


async def forget_cooldowns(pool: Pool, days: int) -> None:
    """Drop the rows that no cooldown can be waiting for."""
    await pool.execute("DELETE FROM rule_engine.cooldowns WHERE fired_at < now() - make_interval(days => $1)", days)


async def save_evaluations(connection: Connection, evaluations: Sequence[Evaluation]) -> int:
    """Those that nobody saved before; how many they were."""
    rows = [_evaluation_row(evaluation) for evaluation in evaluations]
    saved = await connection.fetch(
        "INSERT INTO rule_engine.evaluations (recorded_at, event_id, store_id, email_hash, trigger, order_id, skips)"
        " SELECT * FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[],"
        " $7::jsonb[]) ON CONFLICT (recorded_at, event_id) DO NOTHING RETURNING event_id",
        *columns(rows, 7),
    )
    return len(saved)


def _evaluation_row(evaluation: Evaluation) -> tuple[object, ...]:
    event = evaluation.event
    return (
        event.recorded_at,
        event.id,
        event.store_id,
        event.customer.email_hash,
        event.type,
        firings.order_id(event),
        dumps([_skip(skipped) for skipped in evaluation.skips]),
    )


def _skip(skipped: Skipped) -> dict[str, object]:
    return {
        "rule_id": str(skipped.rule.id),
        "rule_version": skipped.rule.version,
        "reason": skipped.reason,
        "values": skipped.values,
    }


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


async def endpoints(connection: Connection, store_id: UUID, ids: Collection[UUID]) -> set[UUID]:
    """Those of the ids that are endpoints of the store."""
    rows = await connection.fetch(
        "SELECT id FROM dispatcher.endpoints WHERE store_id = $1 AND id = ANY($2::uuid[])", store_id, list(ids)
    )
    return {row["id"] for row in rows}


async def insert_rule(connection: Connection, saved: Saved) -> None:
    asked = saved.asked
    conditions = conditions_json(asked)
    await connection.execute(
        "INSERT INTO rule_engine.rules (id, store_id, version, name, description, trigger, conditions, actions,"
        " cooldown, hourly_limit, mode, created_at, updated_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        saved.id,
        saved.store_id,
        saved.version,
        asked.name,
        asked.description,
        asked.trigger,
        None if conditions is None else json.dumps(conditions),
        json.dumps(actions_json(saved)),
        asked.cooldown,
        asked.hourly_limit,
        asked.mode,
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
    secret = vault.seal(target.secret.encode())
    return target.id, saved.store_id, saved.id, target.url, secret, headers, target.timeout


async def raise_revision(connection: Connection, store_id: UUID) -> None:
    """Make every rule engine load the store's rules before its next batch."""
    await connection.execute(
        "INSERT INTO rule_engine.revisions AS r (store_id, revision) VALUES ($1, 1)"
        " ON CONFLICT (store_id) DO UPDATE SET revision = r.revision + 1",
        store_id,
    )
