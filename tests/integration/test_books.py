"""The books: what a fired rule asked for is there, or is missed by name."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from api.stores import CreatedStore
from cli import books
from shared.broker import Broker
from shared.db import Partitions
from shared.ids import uuid7
from shared.secrets import Vault
from support.delivery_rows import insert, insert_delivery, insert_endpoint

NOW = datetime.now(UTC)
"""When the tests were collected: some minutes ago, in a run of all."""
RULE = uuid7()


async def fired(pool: asyncpg.Pool, store_id: UUID, kind: str, *, at: datetime = NOW) -> UUID:
    """The id of the action."""
    action_id = uuid7()
    await Partitions("rule_engine.firings").cover(pool, [at])
    await insert(
        pool,
        "rule_engine.firings",
        recorded_at=at,
        id=uuid7(),
        event_id=uuid7(),
        rule_id=RULE,
        rule_version=1,
        store_id=store_id,
        email_hash="a" * 64,
        trigger="segment_changed",
        reason="no conditions",
        values="{}",
        actions=json.dumps([{"type": kind, "id": str(action_id)}]),
    )
    return action_id


async def missed(database_url: str, amqp_url: str, broker: Broker) -> dict[str, int]:
    found = await books.check(database_url, amqp_url, broker.prefix)
    return {line.name: line.count for line in found.lines if not line.balanced}


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("tag_customer", "fired actions that the scorer has not answered"),
        ("hold_order", "fired actions without their delivery"),
        ("send_webhook", "fired actions without their delivery"),
    ],
)
async def test_an_action_of_which_nothing_came_is_missed(
    database_url: str, amqp_url: str, broker: Broker, pool: asyncpg.Pool, api_store: CreatedStore, kind: str, line: str
) -> None:
    action_id = await fired(pool, api_store.id, kind)
    await fired(pool, api_store.id, kind, at=NOW - timedelta(days=8))
    assert await missed(database_url, amqp_url, broker) == {line: 1}
    if kind == "tag_customer":
        seen = {"type": "customer.tag", "actor": f"rule:{RULE}", "seen_at": NOW, "refusal": "{}"}
        await insert(pool, "scorer.commands_seen", id=action_id, **seen)
    else:
        await insert_delivery(pool, api_store.id, recorded_at=NOW, rule_id=RULE, source_id=action_id, attempts=0)
    assert await missed(database_url, amqp_url, broker) == {}


async def test_a_subscriber_of_automations_misses_every_action_it_was_not_told_of(
    database_url: str, amqp_url: str, broker: Broker, pool: asyncpg.Pool, api_store: CreatedStore, vault: Vault
) -> None:
    await insert_endpoint(pool, vault, api_store.id, events=["automation_triggered"])
    action_id = await fired(pool, api_store.id, "tag_customer")
    seen = {"type": "customer.tag", "actor": f"rule:{RULE}", "seen_at": NOW, "answer": "{}"}
    await insert(pool, "scorer.commands_seen", id=action_id, **seen)
    assert await missed(database_url, amqp_url, broker) == {"fired actions that a subscriber was not told of": 1}


async def test_what_is_parked_is_missed_only_once_its_target_may_be_tried(
    database_url: str, amqp_url: str, broker: Broker, pool: asyncpg.Pool, api_store: CreatedStore
) -> None:
    target = uuid7()
    parked = {"target_id": target, "mode": "retry", "status": "parked", "attempts": 0, "finished_at": None}
    await insert_delivery(pool, api_store.id, recorded_at=NOW, due_at=NOW - timedelta(minutes=2), **parked)
    line = {"deliveries due and not made": 1}
    assert await missed(database_url, amqp_url, broker) == line
    down = {"target_id": target, "failures": 7, "failing": [], "opened_at": NOW, "probes": 2}
    await insert(pool, "dispatcher.breakers", **down, probe_at=NOW + timedelta(hours=1))
    assert await missed(database_url, amqp_url, broker) == {}
    await pool.execute("UPDATE dispatcher.breakers SET probe_at = $1", NOW - timedelta(minutes=1))
    assert await missed(database_url, amqp_url, broker) == line
