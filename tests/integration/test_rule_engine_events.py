"""Events in, firings and reasons out, on a real Postgres."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from rule_engine import commands
from rule_engine.worker import RuleEngine
from shared.broker import Broker
from shared.commands import Command, Commands
from shared.db import MeanwhileError
from shared.events import Automation, Change, Event, EventData
from shared.ids import derived, uuid7
from shared.outbox import Outbox
from shared.secrets import Vault
from shared.targets import Reach
from support.events import JANE, STORE, event, order, snapshot

MINUTE = timedelta(minutes=1)
CreateRule = Callable[..., Awaitable[dict[str, Any]]]


def engine_on(pool: asyncpg.Pool) -> RuleEngine:
    """What it sends stays in the outbox: its broker is not there."""
    return RuleEngine(Outbox(pool, Broker("amqp://nobody", service="rule-engine"), "rule_engine"), pool)


@pytest.fixture
def engine(pool: asyncpg.Pool) -> RuleEngine:
    return engine_on(pool)


@pytest.fixture
def create_rule(pool: asyncpg.Pool, vault: Vault) -> CreateRule:
    broker = Broker("amqp://nobody", service="rule-engine")
    owner = Commands(
        outbox=Outbox(pool, broker, "rule_engine"),
        broker=broker,
        schema="rule_engine",
        handlers=commands.handlers(vault, Reach()),
        vault=vault,
    )

    async def create(**changes: Any) -> dict[str, Any]:
        action = {"type": "send_webhook", "url": "https://crm.example/hook"}
        rule = {"name": "Low score", "trigger": "score_updated", "actions": [action]} | changes
        answer = await owner.answer(Command(id=uuid7(), type="rule.create", store_id=STORE, actor="test", data=rule))
        assert answer.refusal is None, answer.refusal
        return dict(answer.body)

    return create


async def firings(pool: asyncpg.Pool) -> list[asyncpg.Record]:
    return list(await pool.fetch("SELECT * FROM rule_engine.firings ORDER BY recorded_at, id"))


async def reasons(pool: asyncpg.Pool) -> list[str]:
    rows = await pool.fetch("SELECT reasons FROM rule_engine.evaluations ORDER BY recorded_at, event_id")
    return [reason for row in rows for reason in row["reasons"]]


async def sent(pool: asyncpg.Pool) -> list[Automation]:
    rows = await pool.fetch("SELECT body FROM rule_engine.outbox ORDER BY id")
    return [Automation.model_validate_json(row["body"]) for row in rows]


def leaf(field: str, operator: str, value: object) -> Mapping[str, object]:
    return {"field": field, "operator": operator, "value": value}


async def test_a_rule_that_fires_asks_for_each_action_and_keeps_what_it_saw(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    rule = await create_rule(
        trigger="order_placed",
        conditions={"all": [leaf("segment", "=", "risk"), leaf("order.total", ">", 200.5)]},
        actions=[{"type": "send_webhook", "url": f"https://{name}.example/"} for name in ("crm", "desk")],
    )
    rule_id = UUID(rule["id"])
    happened = event("order_placed", data=EventData(order=order()), depth=1, sequence=7)
    await engine.process([happened])

    (firing,) = await firings(pool)
    ids = [derived(happened.id, rule_id, position) for position in (0, 1)]
    assert (firing["id"], firing["event_id"]) == (derived(rule_id, happened.id), happened.id)
    assert (firing["rule_id"], firing["rule_version"], firing["order_id"]) == (rule_id, 1, 4821)
    assert (firing["email_hash"], firing["trigger"], firing["reason"]) == (JANE, "order_placed", "the conditions hold")
    assert json.loads(firing["values"]) == {"segment": "risk", "order.total": 249.00}
    assert json.loads(firing["actions"]) == [{"type": "send_webhook", "id": str(i)} for i in ids]
    assert await reasons(pool) == []

    automations = {automation.id: automation for automation in await sent(pool)}
    assert list(automations) == sorted(ids)
    second = automations[ids[1]]
    assert (second.action.position, str(second.action.target_id)) == (1, rule["actions"][1]["target_id"])
    assert (second.rule.id, second.rule.name, second.rule.trigger) == (rule_id, "Low score", "order_placed")
    assert (second.order_id, second.sequence, second.recorded_at) == (4821, 7, happened.recorded_at)
    assert (second.cause.kind, second.cause.id, second.cause.depth) == ("rule", rule_id, 2)
    assert second.customer == happened.customer
    routing = await pool.fetch("SELECT DISTINCT exchange, routing_key FROM rule_engine.outbox")
    assert [tuple(row) for row in routing] == [("trustlens.automation", "fired.send_webhook")]


@pytest.mark.parametrize(
    ("rule", "told", "reason"),
    [
        (
            {"conditions": leaf("trust_score", "<", 30)},
            {"customer": snapshot(trust_score=47)},
            "trust_score < 30: actual 47",
        ),
        ({"conditions": leaf("order.total", ">", 1)}, {}, "order.total: no value in this event"),
        ({"mode": "shadow"}, {}, "shadow"),
        ({}, {"depth": 3}, "depth 3: rules have triggered one another long enough"),
    ],
)
async def test_a_rule_that_does_not_fire_says_why(
    engine: RuleEngine,
    create_rule: CreateRule,
    pool: asyncpg.Pool,
    rule: Mapping[str, Any],
    told: Mapping[str, Any],
    reason: str,
) -> None:
    await create_rule(**rule)
    await engine.process([event(**told)])
    assert (await reasons(pool), await firings(pool), await sent(pool)) == ([reason], [], [])


async def test_a_cooling_rule_says_how_long_and_fires_again_after_it(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule()
    await engine.process([event(at=0 * MINUTE), event(at=48 * MINUTE)])
    await engine.process([event(at=60 * MINUTE), event(at=30 * MINUTE, customer=snapshot("b" * 64))])
    await engine.process([event(at=50 * MINUTE)])
    assert await reasons(pool) == ["cooldown: 12 min left", "cooldown: fired 10 min later for a newer event"]
    assert [(row["email_hash"][0], row["recorded_at"].minute) for row in await firings(pool)] == [
        ("a", 0),
        ("b", 30),
        ("a", 0),
    ]


async def test_without_a_cooldown_every_event_fires(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(cooldown=0)
    await engine.process([event() for _ in range(3)])
    assert len(await firings(pool)) == 3
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.cooldowns") == 0


async def test_a_shadow_cools_down_as_it_would_live(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(mode="shadow")
    await engine.process([event(at=n * 40 * MINUTE) for n in range(3)])
    assert await reasons(pool) == ["shadow", "cooldown: 20 min left", "shadow"]


async def test_events_that_no_rule_waits_for_leave_nothing(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(mode="off")
    await engine.process([event(), event("order_placed"), event(store_id=uuid7())])
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.evaluations") == 0


async def test_the_next_batch_uses_a_rule_that_was_just_saved(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(name="First")
    await engine.process([event()])
    second = await create_rule(name="Second")
    await engine.process([event(at=MINUTE)])
    assert UUID(second["id"]) in {row["rule_id"] for row in await firings(pool)}


async def test_a_rule_that_no_longer_validates_is_skipped_visibly_and_stops_nobody(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    old = await create_rule(name="Old")
    await create_rule(name="New")
    await pool.execute(
        "UPDATE rule_engine.rules SET conditions = $1 WHERE id = $2",
        json.dumps(leaf("shoe_size", "=", 44)),
        UUID(old["id"]),
    )
    await engine.process([event()])
    assert await reasons(pool) == ["the rule is no longer valid: field: there is no field shoe_size"]
    assert len(await firings(pool)) == 1


async def test_the_same_events_again_change_nothing(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(conditions=leaf("trust_score", "<", 30))
    await create_rule(trigger="segment_changed", mode="shadow")
    change = Change(old_score=50, new_score=25, old_segment="normal", new_segment="risk")
    batch = [
        *(event(at=n * 25 * MINUTE, customer=snapshot(trust_score=25 + n), sequence=n) for n in range(8)),
        *(event("segment_changed", data=EventData(change=change), at=n * MINUTE) for n in range(3)),
    ]
    await engine.process(batch)
    before = await state(pool)
    await engine.process(batch)
    await engine.process([batch[0], batch[0]])
    assert await state(pool) == before


async def state(pool: asyncpg.Pool) -> Sequence[object]:
    tables = ("evaluations", "firings", "cooldowns", "outbox")
    return [sorted(map(str, await pool.fetch(f"SELECT * FROM rule_engine.{table}"))) for table in tables]


async def until_done(engine: RuleEngine, batch: Sequence[Event]) -> None:
    """As the consumer does it: a batch of which others did a part is tried again."""
    while True:
        try:
            return await engine.process(batch)
        except (MeanwhileError, asyncpg.DeadlockDetectedError):
            continue


async def test_copies_of_events_over_several_engines_are_evaluated_once(
    create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(cooldown=0, conditions=leaf("trust_score", "<", 30))
    await create_rule()
    events = [event(customer=snapshot(f"{n % 7:x>64}")) for n in range(60)]
    engines = [engine_on(pool) for _ in range(4)]
    await ready_to_race(pool, engines)
    chance = random.Random(1)  # noqa: S311  # reproducible, not secret
    batches = [chance.sample(events, 30) for _ in range(12)]
    await asyncio.gather(*(until_done(engines[n % 4], batch) for n, batch in enumerate(batches)))
    evaluated = {happened.id for batch in batches for happened in batch}
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.evaluations") == len(evaluated)
    fired = await firings(pool)
    assert len(fired) == len(evaluated) + 7
    assert len(await sent(pool)) == len(fired)


async def ready_to_race(pool: asyncpg.Pool, engines: Sequence[RuleEngine]) -> None:
    """Rules loaded, connections open, statements prepared: else the first batch ends before the second begins."""
    strangers = [event(customer=snapshot(f"{n:064}")) for n in range(4 * pool.get_max_size())]
    await asyncio.gather(*(engines[n % 4].process([stranger]) for n, stranger in enumerate(strangers)))
    await pool.execute("TRUNCATE rule_engine.evaluations, rule_engine.firings, rule_engine.outbox")


@pytest.mark.parametrize("fired_before", [False, True])
async def test_two_hundred_events_at_once_over_four_engines_fire_a_cooling_rule_once(
    create_rule: CreateRule, pool: asyncpg.Pool, fired_before: bool
) -> None:
    """Where it fired before, only the row's lock keeps them apart; where not, its insertion does."""
    await create_rule()
    engines = [engine_on(pool) for _ in range(4)]
    await ready_to_race(pool, engines)
    if fired_before:
        await engines[0].process([event(at=-timedelta(hours=2))])
    events = [event(at=timedelta(milliseconds=n)) for n in range(200)]
    await asyncio.gather(*(until_done(engines[n % 4], events[n * 5 : n * 5 + 5]) for n in range(40)))
    assert len(await firings(pool)) == 1 + fired_before
    assert len(await reasons(pool)) == 199
