"""Webhooks, deliveries, rules and evaluations: read from the tables of their owners, changed by asking them."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore
from shared.broker import Broker
from shared.commands import Command, invalid
from shared.db import Partitions
from shared.ids import derived, uuid7
from shared.outbox import Transaction
from shared.secrets import Vault
from support.api_client import ApiClient, serving
from support.delivery_rows import HASH, NOW, insert, insert_delivery, insert_endpoint
from support.owner import owning


async def insert_rule(pool: asyncpg.Pool, store_id: UUID, **changes: Any) -> UUID:
    row: dict[str, Any] = {
        "id": uuid7(),
        "store_id": store_id,
        "version": 1,
        "name": "Became a risk",
        "description": "",
        "trigger": "segment_changed",
        "conditions": json.dumps({"field": "new_segment", "operator": "=", "value": "risk"}),
        "actions": json.dumps([{"type": "send_webhook", "url": "https://crm.example/hook"}]),
        "cooldown": 3600,
        "hourly_limit": 1000,
        "mode": "live",
        "created_at": NOW,
        "updated_at": NOW,
    } | changes
    await insert(pool, "rule_engine.rules", **row)
    return UUID(str(row["id"]))


async def test_an_endpoint_is_shown_without_its_secrets(api: ApiClient, pool: asyncpg.Pool, vault: Vault) -> None:
    endpoint_id = await insert_endpoint(pool, vault, api.store.id, permanent_codes=[410], standard_webhooks=True)
    await insert_endpoint(pool, vault, UUID(int=1))

    listed, shown = await api.get("/webhooks"), await api.get(f"/webhooks/{endpoint_id}")

    assert listed.json == [shown.json]
    assert listed.headers["X-WP-Total"] == "1"
    assert list(shown.json.items()) == [
        ("id", str(endpoint_id)),
        ("url", "https://crm.example/hook"),
        ("description", "CRM"),
        ("events", ["score_updated"]),
        ("enabled", True),
        ("disabled_reason", None),
        ("delivery", "fire_and_log"),
        ("format", "trustlens"),
        ("include_email", True),
        ("timeout", 1),
        ("headers", {"Authorization": "***"}),
        ("filter", None),
        ("permanent_codes", [410]),
        ("standard_webhooks", True),
        ("overlap_until", None),
        ("outage_since", None),
        ("next_probe_at", None),
        ("created_at", "2026-06-05 14:23:00"),
        ("updated_at", "2026-06-05 14:23:00"),
    ]


async def test_another_store_s_endpoint_is_not_there(api: ApiClient, pool: asyncpg.Pool, vault: Vault) -> None:
    foreign = await insert_endpoint(pool, vault, UUID(int=1))

    answers = [
        await api.get(f"/webhooks/{foreign}"),
        await api.get(f"/webhooks/{foreign}/deliveries"),
        await api.post(f"/webhooks/{foreign}/test"),
    ]

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(404, "trustlens_webhook_not_found")}


async def test_deliveries_are_listed_newest_first_with_filters(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    endpoint_id = await insert_endpoint(pool, vault, api.store.id)
    old = await insert_delivery(pool, api.store.id, endpoint_id=endpoint_id)
    new = await insert_delivery(
        pool,
        api.store.id,
        endpoint_id=endpoint_id,
        event="high_risk_order",
        status="retrying",
        max_attempts=4,
        last_status_code=500,
        due_at=NOW + timedelta(minutes=3),
        created_at=NOW + timedelta(minutes=2),
        finished_at=None,
    )
    await insert_delivery(pool, api.store.id, endpoint_id=uuid7())

    async def listed(query: str = "") -> list[str]:
        return [delivery["id"] for delivery in (await api.get(f"/webhooks/{endpoint_id}/deliveries{query}")).json]

    assert await listed() == [str(new), str(old)]
    assert await listed("?status=delivered") == [str(old)]
    assert await listed("?event=high_risk_order") == [str(new)]
    assert await listed("?per_page=1&page=2") == [str(old)]
    newest = (await api.get(f"/webhooks/{endpoint_id}/deliveries")).json[0]
    assert list(newest.items()) == [
        ("id", str(new)),
        ("webhook_id", str(endpoint_id)),
        ("rule_id", None),
        ("event", "high_risk_order"),
        ("customer", HASH),
        ("sequence", 7),
        ("status", "retrying"),
        ("reason", None),
        ("attempts", 1),
        ("max_attempts", 4),
        ("last_status_code", 500),
        ("last_error", None),
        ("duration_ms", 31),
        ("next_attempt_at", "2026-06-05 14:26:00"),
        ("created_at", "2026-06-05 14:25:00"),
        ("finished_at", None),
    ]


@dataclass(frozen=True)
class Told:
    """The ids of a rule that fired for one event, with two actions, and was skipped for another."""

    rule: UUID
    fired: UUID = field(default_factory=uuid7)
    skipped: UUID = field(default_factory=uuid7)
    action: UUID = field(default_factory=uuid7)
    waiting: UUID = field(default_factory=uuid7)


async def tell(pool: asyncpg.Pool, store_id: UUID, told: Told) -> None:
    """The rows that the rule engine would have written."""
    await Partitions("rule_engine.evaluations", "rule_engine.firings").cover(pool, [NOW])
    await insert(
        pool,
        "rule_engine.evaluations",
        recorded_at=NOW,
        event_id=told.skipped,
        store_id=store_id,
        email_hash=HASH,
        trigger="segment_changed",
        rule_ids=[uuid7(), told.rule],
        versions=[3, 1],
        reasons=["another rule's", "new_segment = risk: actual normal"],
    )
    await insert(
        pool,
        "rule_engine.firings",
        recorded_at=NOW + timedelta(minutes=1),
        id=derived(told.rule, told.fired),
        event_id=told.fired,
        rule_id=told.rule,
        rule_version=1,
        store_id=store_id,
        email_hash=HASH,
        trigger="segment_changed",
        order_id=4821,
        reason="new_segment = risk",
        values=json.dumps({"new_segment": "risk"}),
        actions=json.dumps(
            [{"type": "send_webhook", "id": str(told.action)}, {"type": "send_webhook", "id": str(told.waiting)}]
        ),
    )


async def test_a_rule_and_why_it_did_or_did_not_fire(api: ApiClient, pool: asyncpg.Pool) -> None:
    told = Told(rule=await insert_rule(pool, api.store.id))
    rule_id, fired, skipped, action = told.rule, told.fired, told.skipped, told.action
    await tell(pool, api.store.id, told)
    delivery = await insert_delivery(
        pool,
        api.store.id,
        recorded_at=NOW + timedelta(minutes=1),
        rule_id=rule_id,
        source_id=action,
        status="exhausted",
        last_error="HTTP 500",
    )
    await insert_delivery(pool, api.store.id, recorded_at=NOW + timedelta(minutes=1), source_id=action)

    shown, evaluations = await api.get(f"/rules/{rule_id}"), await api.get(f"/rules/{rule_id}/evaluations")

    assert (await api.get("/rules")).json == [shown.json]
    assert shown.json["conditions"] == {"field": "new_segment", "operator": "=", "value": "risk"}
    assert evaluations.headers["X-WP-Total"] == "2"
    assert evaluations.json == [
        {
            "id": str(derived(rule_id, fired)),
            "rule_id": str(rule_id),
            "rule_version": 1,
            "event_id": str(fired),
            "trigger": "segment_changed",
            "customer": HASH,
            "order_id": 4821,
            "outcome": "fired",
            "reason": "new_segment = risk",
            "values": {"new_segment": "risk"},
            "actions": [
                {
                    "type": "send_webhook",
                    "status": "exhausted",
                    "detail": "failed: HTTP 500",
                    "delivery_id": str(delivery),
                },
                {"type": "send_webhook", "status": "unknown", "detail": "no longer kept", "delivery_id": None},
            ],
            "at": "2026-06-05 14:24:00",
        },
        {
            "id": str(derived(rule_id, skipped)),
            "rule_id": str(rule_id),
            "rule_version": 1,
            "event_id": str(skipped),
            "trigger": "segment_changed",
            "customer": HASH,
            "order_id": None,
            "outcome": "skipped",
            "reason": "new_segment = risk: actual normal",
            "values": {},
            "actions": [],
            "at": "2026-06-05 14:23:00",
        },
    ]


@pytest.mark.parametrize(
    ("owner", "command", "path"),
    [("dispatcher", "webhook.create", "/webhooks"), ("rule-engine", "rule.create", "/rules")],
)
async def test_creating_passes_the_object_to_its_owner_and_answers_201_with_what_it_says(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, owner: str, command: str, path: str
) -> None:
    async def echo(_: Transaction, asked: Command) -> Any:
        return {"secret": "shown once", "asked": dict(asked.data)}

    given = {"url": "https://crm.example/h\u00fck", "conditions": None, "nested": {"value": 30.5}}
    async with owning(owner, pool, broker, {command: echo}):
        answer = await api.post(path, json=given)

    assert (answer.status, answer.json) == (201, {"secret": "shown once", "asked": given})


async def test_the_owner_s_mistakes_are_named_to_the_caller(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    async def refuse(_: Transaction, __: Command) -> Any:
        raise invalid({"url": "must begin with https://"})

    async with owning("dispatcher", pool, broker, {"webhook.create": refuse}):
        answer = await api.post("/webhooks", json={"url": "ftp://crm.example"})

    assert answer.status == 400
    assert answer.json["data"] == {"status": 400, "params": {"url": "must begin with https://"}}


async def test_a_test_delivery_waits_as_long_as_its_endpoint_may_take(
    api_settings: ApiSettings,
    api_store: CreatedStore,
    pool: asyncpg.Pool,
    broker: Broker,
    vault: Vault,
) -> None:
    endpoint_id = await insert_endpoint(pool, vault, api_store.id, timeout=30)
    deadlines: list[timedelta] = []

    async def test(command: Command) -> Any:
        assert command.deadline
        deadlines.append(command.deadline - datetime.now(UTC))
        return {"ok": True, "asked": command.data["id"]}

    async with owning("dispatcher", pool, broker, {}, {"webhook.test": test}), serving(api_settings, api_store) as api:
        answer = await api.post(f"/webhooks/{endpoint_id}/test")

    assert (answer.status, answer.json) == (200, {"ok": True, "asked": str(endpoint_id)})
    assert timedelta(seconds=30) < deadlines[0] <= timedelta(seconds=35)
