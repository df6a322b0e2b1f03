"""The whole process, several times over, on a real RabbitMQ and a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from integration.conftest import Until
from rule_engine.__main__ import run
from rule_engine.settings import RuleEngineSettings
from shared.broker import Broker, Outgoing
from shared.commands import Asker
from shared.events import Automation
from shared.topology import EVENTS, dead
from support.events import STORE, event
from support.queues import depth, take

SERVICES = 4


@pytest.fixture
async def services(
    database_url: str, amqp_url: str, name_prefix: str, secret_keys: str
) -> AsyncIterator[list["asyncio.Task[None]"]]:
    settings = RuleEngineSettings(
        database_url=database_url,
        amqp_url=amqp_url,
        name_prefix=name_prefix,
        secret_keys=secret_keys,
        batch_size=20,
        pool_size=4,
    )
    stop = asyncio.Event()
    running = [asyncio.create_task(run(settings, stop)) for _ in range(SERVICES)]
    yield running
    stop.set()
    await asyncio.gather(*running)


async def test_two_hundred_events_each_told_twice_fire_once_over_four_services(
    services: list["asyncio.Task[None]"], broker: Broker, pool: asyncpg.Pool, until: Until
) -> None:
    rule = {
        "name": "Low score",
        "trigger": "score_updated",
        "conditions": {"field": "trust_score", "operator": "<", "value": 30},
        "actions": [{"type": "send_webhook", "url": "https://crm.example/hook"}],
    }
    answer = await Asker(broker).ask(
        "rule-engine.commands", "rule.create", store_id=STORE, actor="test", data=rule, within=timedelta(seconds=30)
    )
    rule_id = UUID(answer.body["id"])

    events = [event(at=timedelta(milliseconds=n)) for n in range(200)]
    messages = [Outgoing(e.id, EVENTS, e.type, e.encode()) for e in (*events, *events)]
    assert len(await broker.publish(messages)) == 400

    async def all_evaluated() -> bool:
        return bool(await pool.fetchval("SELECT count(*) = 200 FROM rule_engine.evaluations"))

    await until(all_evaluated)
    (told,) = await take(broker, "dispatcher.automation")
    assert Automation.model_validate_json(told.body).rule.id == rule_id
    assert await depth(broker, "dispatcher.automation") == 0
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.firings") == 1
    skips = await pool.fetchval("SELECT sum(cardinality(rule_ids)) FROM rule_engine.evaluations")
    assert skips == 199
    assert await depth(broker, dead("rule-engine.events")) == 0
