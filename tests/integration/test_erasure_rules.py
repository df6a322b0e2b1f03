"""The rule engine after an erasure: which rules fired stays, what they saw of the person does not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.stores import create_store
from rule_engine import commands, erasure
from rule_engine.worker import RuleEngine
from shared.broker import Broker
from shared.commands import Command, Commands
from shared.events import Automation, Event, EventType
from shared.identity import email_hash
from shared.ids import uuid7
from shared.outbox import Outbox
from shared.secrets import Vault
from shared.targets import Reach
from support.delivery_rows import insert
from support.events import event, snapshot
from support.remains import remains

JANE = "jane@of-jane.example"
SHE = ("of-jane.example", "jane-s")
"""Her domain, a tag."""


@dataclass
class Place:
    pool: asyncpg.Pool
    vault: Vault
    store_id: UUID
    jane: str
    engine: RuleEngine
    owner: Commands

    async def rule(self, name: str, conditions: Mapping[str, Any], **changes: Any) -> None:
        rule = {
            "name": name,
            "trigger": "score_updated",
            "conditions": conditions,
            "actions": [{"type": "send_webhook", "url": "https://crm.example/hook"}],
            "cooldown": 0,
        }
        asked = Command(id=uuid7(), type="rule.create", store_id=self.store_id, actor="test", data=rule | changes)
        answer = await self.owner.answer(asked)
        assert answer.refusal is None, answer.refusal

    def happened(self, kind: EventType = "score_updated", **customer: Any) -> Event:
        known: dict[str, Any] = {"email_hash": self.jane, "email": JANE, "email_domain": SHE[0], "tags": (SHE[1],)}
        told = event(kind, store_id=self.store_id, customer=snapshot(**known | customer))
        return told.model_copy(update={"id": uuid7(), "recorded_at": datetime.now(UTC)})

    async def erase(self) -> Event:
        await self.pool.execute("UPDATE scorer.customers SET email = NULL, erased_at = now()")
        return self.happened("customer_erased", email=None, email_domain=None, tags=())

    async def forget(self) -> None:
        await erasure.forget(self.pool, self.vault, await self.erase())


@pytest.fixture
async def place(pool: asyncpg.Pool, vault: Vault) -> Place:
    async with pool.acquire() as connection:
        made = await create_store(connection, vault, url="https://shop.example", name="Shop")
        key = vault.open(await connection.fetchval("SELECT hash_key FROM api.stores"))
    at, jane = datetime.now(UTC), email_hash(key, JANE)
    known = {"store_id": made.id, "email_hash": jane, "email": JANE}
    await insert(pool, "scorer.customers", **known, created_at=at, updated_at=at)
    broker = Broker("amqp://nobody", service="rule-engine")
    outbox = Outbox(pool, broker, "rule_engine")
    handlers = commands.handlers(vault, Reach())
    owner = Commands(outbox=outbox, broker=broker, schema="rule_engine", handlers=handlers, vault=vault)
    place = Place(pool, vault, made.id, jane, RuleEngine(outbox, pool), owner)
    await place.rule("hers", {"field": "tags", "operator": "contains", "value": SHE[1]})
    await place.rule(
        "not hers",
        {
            "all": [
                {"field": "email_domain", "operator": "=", "value": "elsewhere.example"},
                {"field": "trust_score", "operator": ">=", "value": 0},
            ]
        },
    )
    await place.rule("bad", {"field": "trust_score", "operator": ">", "value": 99})
    return place


async def told(pool: asyncpg.Pool) -> list[Automation]:
    return [
        Automation.model_validate_json(row["body"]) for row in await pool.fetch("SELECT body FROM rule_engine.outbox")
    ]


async def test_what_rules_saw_of_the_person_goes_and_what_they_decided_stays(place: Place) -> None:
    await place.engine.process([place.happened()])
    decided = await place.pool.fetchrow("SELECT rule_ids, reasons, seen FROM rule_engine.evaluations")
    fired = await place.pool.fetchrow("SELECT id, reason, values, actions FROM rule_engine.firings")
    assert "email_domain = elsewhere.example: actual of-jane.example" in decided["reasons"]
    await place.forget()
    left = await place.pool.fetchrow("SELECT rule_ids, reasons, seen FROM rule_engine.evaluations")
    assert left["rule_ids"] == decided["rule_ids"]
    assert sorted(left["reasons"]) == sorted(["the customer was erased", *_others(decided["reasons"])])
    assert list(json.loads(left["seen"])) == ["trust_score"]
    still = await place.pool.fetchrow("SELECT id, reason, values, actions FROM rule_engine.firings")
    assert dict(still) == {**fired, "values": "{}"}
    assert await remains(place.pool, JANE, "actual of-jane.example", '"jane-s"') == [
        "rule_engine.rules",
        "rule_engine.versions",
    ], "what the owner wrote into a rule"


def _others(reasons: list[str]) -> list[str]:
    return [reason for reason in reasons if "email_domain" not in reason]


async def test_what_waits_to_be_published_is_published_without_the_person(place: Place) -> None:
    await place.engine.process([place.happened()])
    (before,) = await told(place.pool)
    await place.forget()
    (after,) = await told(place.pool)
    nobody = before.customer.model_copy(update={"email": None, "email_domain": None, "tags": ()})
    assert after == before.model_copy(update={"customer": nobody})


async def test_an_event_that_comes_late_is_judged_without_the_person(place: Place) -> None:
    late = place.happened()
    await place.forget()
    await place.engine.process([late])
    assert await place.pool.fetchval("SELECT count(*) FROM rule_engine.firings") == 0
    reasons = await place.pool.fetchval("SELECT reasons FROM rule_engine.evaluations")
    assert "email_domain: the customer was erased" in reasons
    assert await remains(place.pool, JANE, "actual of-jane.example") == []


async def test_a_customer_who_came_back_is_judged_as_who_they_are(place: Place) -> None:
    await place.forget()
    await place.pool.execute("UPDATE scorer.customers SET email = $1", JANE)
    await place.engine.process([place.happened()])
    (automation,) = await told(place.pool)
    assert automation.customer.email == JANE


async def test_others_keep_what_is_theirs_and_twice_is_once(place: Place) -> None:
    other = "f" * 64
    await place.engine.process([place.happened(email_hash=other), place.happened()])
    statement = "SELECT * FROM rule_engine.{} WHERE email_hash = $1"
    before = [await place.pool.fetch(statement.format(table), other) for table in ("evaluations", "firings")]
    await place.forget()
    hers = await place.pool.fetch(statement.format("evaluations"), place.jane)
    await place.forget()
    assert await place.pool.fetch(statement.format("evaluations"), place.jane) == hers
    assert [await place.pool.fetch(statement.format(table), other) for table in ("evaluations", "firings")] == before


async def test_what_a_backtest_shows_of_the_person_goes(place: Place) -> None:
    values = {"email_domain": SHE[0], "tags": [SHE[1]], "trust_score": 12}
    samples = [
        {"event_id": "1", "customer": place.jane, "order_id": 1, "values": values},
        {"event_id": "2", "customer": "f" * 64, "order_id": 2, "values": values},
    ]
    job = {"id": uuid7(), "store_id": place.store_id, "kind": "backtest", "params": "{}", "state": "done"}
    result = {"firings": 2, "value": {"EUR": 10.10}, "samples": samples}
    await insert(place.pool, "rule_engine.jobs", **job, result=json.dumps(result), created_at=datetime.now(UTC))
    await place.forget()
    left = json.loads(await place.pool.fetchval("SELECT result FROM rule_engine.jobs"))
    samples[0]["values"] = {"trust_score": 12}
    assert left == result
