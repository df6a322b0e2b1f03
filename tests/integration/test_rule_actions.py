"""What fired rules send: automations for everybody, commands to the scorer's own queue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from rule_engine import commands
from rule_engine.worker import RuleEngine
from shared.broker import Broker
from shared.commands import Command, Commands
from shared.events import Automation, Cause
from shared.ids import derived, uuid7
from shared.outbox import Outbox
from shared.secrets import Vault
from shared.targets import Reach
from support.events import JANE, STORE, event
from support.queues import depth, take

ACTIONS: list[dict[str, Any]] = [
    {"type": "block_customer"},
    {"type": "send_slack", "url": "https://hooks.slack.com/services/x", "text": "Look."},
    {"type": "tag_customer", "tag": "watch"},
]


@asynccontextmanager
async def publishing(pool: asyncpg.Pool, broker: Broker) -> AsyncIterator[Outbox]:
    outbox = Outbox(pool, broker, "rule_engine")
    running = asyncio.create_task(outbox.run_publisher())
    try:
        yield outbox
        await outbox.drained()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def saved(outbox: Outbox, broker: Broker, vault: Vault, **changes: Any) -> UUID:
    owner = Commands(
        outbox=outbox, broker=broker, schema="rule_engine", handlers=commands.handlers(vault, Reach()), vault=vault
    )
    rule = {"name": "Serial returner", "trigger": "segment_changed", "actions": ACTIONS} | changes
    answer = await owner.answer(Command(id=uuid7(), type="rule.create", store_id=STORE, actor="test", data=rule))
    assert answer.refusal is None, answer.refusal
    return UUID(answer.body["id"])


async def test_a_fired_rule_tells_everybody_of_each_action_and_asks_the_scorer_in_their_order(
    pool: asyncpg.Pool, broker: Broker, vault: Vault
) -> None:
    happened = event("segment_changed", depth=1)
    async with publishing(pool, broker) as outbox:
        rule_id = await saved(outbox, broker, vault)
        await RuleEngine(outbox, pool).process([happened, happened])
    ids = [derived(happened.id, rule_id, position) for position in range(3)]
    for queue in ("dispatcher.automation", "scorer.facts"):
        told = [Automation.model_validate_json(found.body) for found in await take(broker, queue, 3)]
        assert [(one.id, one.action.type) for one in told] == list(
            zip(ids, (action["type"] for action in ACTIONS), strict=True)
        )
        assert dict(told[1].action.params) == {"text": "Look."}
        assert await depth(broker, queue) == 0
    asked = [Command.model_validate_json(found.body) for found in await take(broker, "scorer.actions", 2)]
    assert [(one.id, one.type, dict(one.data)) for one in asked] == [
        (ids[0], "customer.update", {"email_hash": JANE, "is_blocked": True, "reason": "Rule: Serial returner"}),
        (ids[2], "customer.tag", {"email_hash": JANE, "tag": "watch"}),
    ]
    for one in asked:
        assert (one.actor, one.cause, one.deadline) == (
            f"rule:{rule_id}",
            Cause(kind="rule", id=rule_id, depth=2),
            None,
        )
    assert await depth(broker, "scorer.actions") == 0
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.outbox") == 0


@pytest.mark.parametrize("mode", ["shadow", "off"])
async def test_a_rule_in_shadow_or_off_asks_for_nothing(
    pool: asyncpg.Pool, broker: Broker, vault: Vault, mode: str
) -> None:
    async with publishing(pool, broker) as outbox:
        await saved(outbox, broker, vault, mode=mode)
        await RuleEngine(outbox, pool).process([event("segment_changed")])
    for queue in ("dispatcher.automation", "scorer.facts", "scorer.actions"):
        assert await depth(broker, queue) == 0
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.firings") == 0
