"""Evaluations with what became of their actions: deliveries and the scorer's answers, looked up once for a page."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.store import actions
from api.stores import CreatedStore
from shared.db import Partitions
from shared.ids import uuid7
from support.delivery_rows import insert, insert_delivery

NOW = datetime.now(UTC)
HASH = "a3f2" * 16


async def firing(pool: asyncpg.Pool, store_id: UUID, *kinds: str, at: datetime = NOW) -> tuple[UUID, list[UUID]]:
    """Of one rule of its own: the rule's id and the ids of its actions."""
    rule_id, ids = uuid7(), [uuid7() for _ in kinds]
    await Partitions("rule_engine.firings").cover(pool, [at])
    await insert(
        pool,
        "rule_engine.firings",
        recorded_at=at,
        id=uuid7(),
        event_id=uuid7(),
        rule_id=rule_id,
        rule_version=1,
        store_id=store_id,
        email_hash=HASH,
        trigger="segment_changed",
        reason="no conditions",
        values="{}",
        actions=json.dumps([{"type": kind, "id": str(i)} for kind, i in zip(kinds, ids, strict=True)]),
    )
    return rule_id, ids


async def answered(pool: asyncpg.Pool, command_id: UUID, refusal: dict[str, Any] | None = None) -> None:
    await insert(
        pool,
        "scorer.commands_seen",
        id=command_id,
        type="customer.tag",
        actor="rule:x",
        answer=None if refusal else "{}",
        refusal=json.dumps(refusal) if refusal else None,
        seen_at=NOW,
    )


async def told(pool: asyncpg.Pool, rule_id: UUID) -> list[tuple[str, str, str | None]]:
    rows = await pool.fetch("SELECT * FROM rule_engine.firings WHERE rule_id = $1", rule_id)
    ((_, done),) = (await actions.of_firings(pool, rows)).items()
    return [(action.type, action.status, action.detail) for action in done]


async def test_each_action_says_in_its_place_what_became_of_it(api_store: CreatedStore, pool: asyncpg.Pool) -> None:
    kinds = ("tag_customer", "send_webhook", "block_customer", "hold_order", "add_note", "send_slack")
    rule_id, ids = await firing(pool, api_store.id, *kinds)
    await answered(pool, ids[0])
    await insert_delivery(
        pool,
        api_store.id,
        recorded_at=NOW,
        rule_id=rule_id,
        source_id=ids[1],
        status="delivered",
        last_status_code=200,
        duration_ms=84,
    )
    await answered(pool, ids[2], {"status": 409, "code": "both", "message": "Undo one first.", "params": {}})
    await insert_delivery(
        pool,
        api_store.id,
        recorded_at=NOW,
        rule_id=rule_id,
        source_id=ids[3],
        status="exhausted",
        last_error="the order is already cancelled",
    )
    assert await told(pool, rule_id) == [
        ("tag_customer", "done", "done"),
        ("send_webhook", "delivered", "delivered 200 in 84 ms"),
        ("block_customer", "failed", "failed: Undo one first."),
        ("hold_order", "exhausted", "failed: the order is already cancelled"),
        ("add_note", "pending", "waiting for the scorer"),
        ("send_slack", "pending", "waiting for the dispatcher"),
    ]


async def test_a_subscriber_s_delivery_is_no_action_s_result(api_store: CreatedStore, pool: asyncpg.Pool) -> None:
    rule_id, (tag,) = await firing(pool, api_store.id, "tag_customer")
    await insert_delivery(pool, api_store.id, recorded_at=NOW, source_id=tag, status="delivered")
    assert await told(pool, rule_id) == [("tag_customer", "pending", "waiting for the scorer")]


async def test_what_is_older_than_everybody_keeps_is_not_said_to_be_waited_for(
    api_store: CreatedStore, pool: asyncpg.Pool
) -> None:
    rule_id, _ = await firing(pool, api_store.id, "tag_customer", at=NOW - timedelta(days=8))
    assert await told(pool, rule_id) == [("tag_customer", "unknown", "no longer kept")]


@pytest.mark.parametrize("firings", [1, 20])
async def test_a_page_asks_each_table_once_however_many_fired(
    api_store: CreatedStore, pool: asyncpg.Pool, firings: int
) -> None:
    for _ in range(firings):
        await firing(pool, api_store.id, "tag_customer", "send_webhook")
    asked: list[str] = []
    async with pool.acquire() as connection:
        connection.add_query_logger(lambda query: asked.append(query.query))
        rows = await connection.fetch("SELECT * FROM rule_engine.firings")
        found = await actions.of_firings(connection, rows)
    of_ours = [query for query in asked if "dispatcher." in query or "scorer." in query]  # the driver asks for types
    assert (len(found), len(of_ours)) == (firings, 2)
