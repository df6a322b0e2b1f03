"""Events in, firings and reasons out, on a real Postgres."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import REGISTRY

from rule_engine import commands
from rule_engine.cooldown import Hour, Key
from rule_engine.store import cooldowns, rulesets
from rule_engine.worker import RuleEngine
from shared import db
from shared.broker import Broker
from shared.commands import Command, Commands
from shared.conditions import MAX_REASON
from shared.db import MeanwhileError
from shared.events import Automation, Change, Event, EventData
from shared.ids import derived, uuid7
from shared.outbox import Outbox
from shared.secrets import Vault
from shared.targets import Reach
from support.events import JANE, STORE, T0, event, order, snapshot

MINUTE = timedelta(minutes=1)
Ask = Callable[..., Awaitable[dict[str, Any]]]
CreateRule = Callable[..., Awaitable[dict[str, Any]]]


def engine_on(pool: asyncpg.Pool, **claims: Any) -> RuleEngine:
    """What it sends stays in the outbox: its broker is not there."""
    return RuleEngine(Outbox(pool, Broker("amqp://nobody", service="rule-engine"), "rule_engine"), pool, **claims)


@pytest.fixture
def engine(pool: asyncpg.Pool) -> RuleEngine:
    return engine_on(pool)


@pytest.fixture
def ask(pool: asyncpg.Pool, vault: Vault) -> Ask:
    broker = Broker("amqp://nobody", service="rule-engine")
    owner = Commands(
        outbox=Outbox(pool, broker, "rule_engine"),
        broker=broker,
        schema="rule_engine",
        handlers=commands.handlers(vault, Reach()),
        vault=vault,
    )

    async def asked(kind: str, **data: Any) -> dict[str, Any]:
        answer = await owner.answer(Command(id=uuid7(), type=kind, store_id=STORE, actor="test", data=data))
        assert answer.refusal is None, answer.refusal
        return dict(answer.body)

    return asked


@pytest.fixture
def create_rule(ask: Ask) -> CreateRule:
    async def create(**changes: Any) -> dict[str, Any]:
        action = {"type": "send_webhook", "url": "https://crm.example/hook"}
        return await ask(
            "rule.create", **{"name": "Low score", "trigger": "score_updated", "actions": [action]} | changes
        )

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
        (
            {"trigger": "chargeback_filed", "conditions": leaf("order.total", ">", 1)},
            {"kind": "chargeback_filed"},
            "order.total: no order in this event",
        ),
        ({"mode": "shadow"}, {}, "shadow: would have fired"),
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
    assert await reasons(pool) == ["shadow: would have fired", "cooldown: 20 min left", "shadow: would have fired"]


async def test_an_hour_that_is_full_says_so_and_the_next_begins_anew(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    rule = await create_rule(cooldown=0, hourly_limit=2)
    await engine.process([event(at=n * MINUTE) for n in (0, 10)])
    await engine.process([event(at=n * MINUTE) for n in (20, 60)])
    assert await reasons(pool) == ["hourly limit: 2 firings since 12:00"]
    assert [row["recorded_at"].minute for row in await firings(pool)] == [0, 10, 0]
    hours = await pool.fetch("SELECT rule_id, hour, fired FROM rule_engine.hours ORDER BY hour")
    assert [tuple(row) for row in hours] == [(UUID(rule["id"]), T0, 2), (UUID(rule["id"]), T0 + 60 * MINUTE, 1)]


async def test_a_shadow_fills_its_hour_as_it_would_live(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(mode="shadow", cooldown=0, hourly_limit=1)
    await engine.process([event(at=n * MINUTE) for n in range(2)])
    assert await reasons(pool) == ["shadow: would have fired", "hourly limit: 1 firings since 12:00"]


async def test_who_the_cooldown_holds_back_touches_no_hour(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(cooldown=2 * 3600)
    await engine.process([event(at=0 * MINUTE)])
    await engine.process([event(at=60 * MINUTE)])
    assert await pool.fetchval("SELECT array_agg(hour) FROM rule_engine.hours") == [T0]


async def test_evaluations_are_counted_by_their_outcome(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(cooldown=0)
    await create_rule(mode="shadow")
    broken = await create_rule()
    await pool.execute("UPDATE rule_engine.rules SET conditions = '{}' WHERE id = $1", UUID(broken["id"]))
    before = counted()
    batch = [event(), event(at=MINUTE)]
    await engine.process(batch)
    await engine.process(batch)
    assert counted() - before == {"fired": 2, "skipped": 2, "failed": 2}


def counted() -> Counter[str]:
    name = "trustlens_rules_evaluations_total"
    outcomes = ("fired", "skipped", "failed")
    return Counter({it: int(REGISTRY.get_sample_value(name, {"outcome": it}) or 0) for it in outcomes})


async def test_events_that_no_rule_waits_for_leave_nothing(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(mode="off")
    await engine.process([event(), event("order_placed"), event(store_id=uuid7())])
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.evaluations") == 0


async def test_the_next_batch_uses_a_rule_that_was_just_saved(
    engine: RuleEngine, create_rule: CreateRule, ask: Ask, pool: asyncpg.Pool
) -> None:
    first = await create_rule(name="First", cooldown=0)
    await engine.process([event()])
    second = await create_rule(name="Second", cooldown=0)
    await engine.process([event(at=MINUTE)])
    await ask("rule.patch", id=first["id"], fields={"conditions": leaf("trust_score", ">", 90)})
    await ask("rule.patch", id=second["id"], fields={"mode": "off"})
    await engine.process([event(at=2 * MINUTE)])
    fired = [(str(row["rule_id"]), row["rule_version"]) for row in await firings(pool)]
    assert sorted(fired) == sorted([(first["id"], 1), (first["id"], 1), (second["id"], 1)])
    last = await pool.fetchrow("SELECT rule_ids, versions, reasons FROM rule_engine.evaluations WHERE rule_ids <> '{}'")
    assert last
    assert tuple(last) == ([UUID(first["id"])], [2], ["trust_score > 90: actual 25"])


async def test_after_a_save_only_the_rule_that_changed_is_read_again(
    create_rule: CreateRule, ask: Ask, pool: asyncpg.Pool
) -> None:
    first, second = await create_rule(), await create_rule()
    before = (await rulesets.rules(pool, [STORE], {}))[STORE]
    await ask("rule.patch", id=second["id"], fields={"name": "Other"})
    kept, changed = (await rulesets.rules(pool, [STORE], {(it.id, it.version): it for it in before}))[STORE]
    assert kept is before[0]
    assert (str(kept.id), str(changed.id), changed.version, changed.name) == (first["id"], second["id"], 2, "Other")
    assert changed.actions == before[1].actions


async def test_a_rule_that_no_longer_validates_has_failed_visibly_and_stops_nobody(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    old = await create_rule(name="Old")
    await create_rule(name="New")
    await create_rule(name="Choosy", conditions=leaf("trust_score", ">", 90))
    await pool.execute(
        "UPDATE rule_engine.rules SET conditions = $1 WHERE id = $2",
        json.dumps(leaf("shoe_size", "=", 44)),
        UUID(old["id"]),
    )
    await engine.process([event()])
    assert await reasons(pool) == [
        "the rule is no longer valid: field is not known: shoe_size",
        "trust_score > 90: actual 25",
    ]
    assert await pool.fetchval("SELECT failed FROM rule_engine.evaluations") == [UUID(old["id"])]
    assert len(await firings(pool)) == 1


async def test_what_the_rules_of_an_event_saw_is_kept_once(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    low, large = leaf("trust_score", "<", 10), leaf("order.total", ">", 1000)
    await create_rule(conditions={"all": [low, large]}, trigger="order_placed")
    await create_rule(conditions={"any": [low, leaf("account_age_days", ">", 3)]}, trigger="order_placed")
    await engine.process([event("order_placed", data=EventData(order=order()))])
    seen = await pool.fetchval("SELECT seen FROM rule_engine.evaluations")
    assert json.loads(seen) == {"trust_score": 25, "order.total": 249.00, "account_age_days": None}
    assert await reasons(pool) == [
        "trust_score < 10: actual 25",
        "none of: trust_score < 10: actual 25; account_age_days: no completed order yet",
    ]


async def test_a_thousand_rules_are_evaluated_and_each_says_why(engine: RuleEngine, pool: asyncpg.Pool) -> None:
    await pool.execute(
        "INSERT INTO rule_engine.rules (id, store_id, version, name, description, trigger, conditions, actions,"
        " cooldown, hourly_limit, mode, created_at, updated_at)"
        " SELECT gen_random_uuid(), $1, 1, 'Rule', '', 'score_updated', $2, '[]', 3600, 1000, 'live', now(), now()"
        " FROM generate_series(1, 1000)",
        STORE,
        json.dumps(leaf("segment", "in", ["x" * 500] * 9)),
    )
    async with pool.acquire() as connection:
        await rulesets.raise_revision(connection, STORE)
    await engine.process([event(at=n * MINUTE) for n in range(3)])
    row = await pool.fetchrow("SELECT rule_ids, versions, reasons, seen FROM rule_engine.evaluations LIMIT 1")
    assert row
    assert (len(set(row["rule_ids"])), len(row["versions"]), len(row["reasons"])) == (1000, 1000, 1000)
    assert max(map(len, row["reasons"])) == MAX_REASON
    assert json.loads(row["seen"]) == {"segment": "risk"}


async def test_cooldowns_and_hours_are_forgotten_when_nothing_can_wait_for_them(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(hourly_limit=1)
    now = datetime.now(UTC).replace(minute=30)
    for days, customer in ((0, "a"), (40, "b"), (40, "c")):  # the hour is full when the last one comes
        told = event(customer=snapshot(customer * 64)).model_copy(update={"recorded_at": now - timedelta(days=days)})
        await engine.process([told])
    await cooldowns.forget_cooldowns(pool, 31)
    await cooldowns.forget_hours(pool, 31)
    assert await pool.fetchval("SELECT array_agg(left(email_hash, 1)) FROM rule_engine.cooldowns") == ["a"]
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.hours") == 1


async def test_the_same_events_again_change_nothing(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(conditions=leaf("trust_score", "<", 30))
    await create_rule(trigger="segment_changed", mode="shadow")
    await create_rule(cooldown=0, hourly_limit=2)
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


async def test_an_event_that_comes_again_when_only_its_firing_is_kept_is_settled_quietly(
    engine: RuleEngine, create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(cooldown=0)
    happened, unknown = event(), event()
    await engine.process([happened])
    before = await firings(pool), await sent(pool)
    await db.drop_partitions(pool, "rule_engine.evaluations", datetime.now(UTC))

    await engine.process([happened])
    assert (await firings(pool), await sent(pool)) == before
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.evaluations") == 0

    await engine.process([happened, unknown])
    assert {row["event_id"] for row in await firings(pool)} == {happened.id, unknown.id}


async def state(pool: asyncpg.Pool) -> Sequence[object]:
    tables = ("evaluations", "firings", "cooldowns", "hours", "outbox")
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


async def over_four(engines: Sequence[RuleEngine], events: Sequence[Event]) -> None:
    """All at once to four consumers, each with one batch of five at a time, as the service has it."""

    async def consume(nth: int) -> None:
        for begin in range(nth * 5, len(events), 20):
            await until_done(engines[nth], events[begin : begin + 5])

    await asyncio.gather(*map(consume, range(4)))


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
    await over_four(engines, [event(at=timedelta(milliseconds=n)) for n in range(200)])
    assert len(await firings(pool)) == 1 + fired_before
    assert len(await reasons(pool)) == 199


async def test_two_hundred_customers_at_once_over_four_engines_fill_an_hour_and_no_more(
    create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    await create_rule(hourly_limit=10)
    engines = [engine_on(pool) for _ in range(4)]
    await ready_to_race(pool, engines)
    await pool.execute("TRUNCATE rule_engine.hours")
    await over_four(engines, two_hundred_customers())
    assert len(await firings(pool)) == 10
    assert await reasons(pool) == ["hourly limit: 10 firings since 12:00"] * 190
    assert await pool.fetchval("SELECT sum(fired) FROM rule_engine.hours") == 10


def two_hundred_customers() -> list[Event]:
    return [event(at=timedelta(milliseconds=n), customer=snapshot(f"{n:b>64}")) for n in range(200)]


async def test_without_the_claim_the_same_two_hundred_events_fire_more_often(
    create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    """The guard off: what makes the race before this one worth something."""
    await create_rule()
    everybody = asyncio.Barrier(4)
    engines = [engine_on(pool, claim_cooldowns=together(everybody, no_cooldowns_claimed)) for _ in range(4)]
    await over_four(engines, [event(at=timedelta(milliseconds=n)) for n in range(200)])
    assert len(await firings(pool)) >= 4


async def test_without_the_claim_an_hour_has_more_firings_than_the_limit(
    create_rule: CreateRule, pool: asyncpg.Pool
) -> None:
    """As above, for the fuse."""
    await create_rule(hourly_limit=10)
    everybody = asyncio.Barrier(4)
    engines = [engine_on(pool, claim_hours=together(everybody, no_hours_claimed)) for _ in range(4)]
    await over_four(engines, two_hundred_customers())
    assert len(await firings(pool)) >= 20


async def no_cooldowns_claimed(connection: asyncpg.Connection, keys: Collection[Key]) -> Mapping[Key, datetime]:
    """Read only: whoever else reads now sees the same."""
    rows = await connection.fetch("SELECT * FROM rule_engine.cooldowns WHERE rule_id = ANY($1)", [r for r, _ in keys])
    return {(row["rule_id"], row["email_hash"]): row["fired_at"] for row in rows if row["fired_at"]}


async def no_hours_claimed(connection: asyncpg.Connection, hours: Collection[Hour]) -> Mapping[Hour, int]:
    """As above."""
    rows = await connection.fetch("SELECT * FROM rule_engine.hours WHERE rule_id = ANY($1)", [r for r, _ in hours])
    return {(row["rule_id"], row["hour"]): row["fired"] for row in rows}


def together(everybody: asyncio.Barrier, read: Any) -> Any:
    """The first time, when all have read."""
    met = False

    async def claim(connection: asyncpg.Connection, keys: Collection[Any]) -> Any:
        nonlocal met
        found = await read(connection, keys)
        if not met:
            met = True
            await everybody.wait()
        return found

    return claim
