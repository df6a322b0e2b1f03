"""A backtest decides as the live engine did, on a real Postgres."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from rule_engine import commands, trials
from rule_engine.backtest import Backtest
from rule_engine.happened import reader
from rule_engine.rules import rule_of
from rule_engine.store import backtests
from rule_engine.store.backtests import Span
from rule_engine.store.rules import find_rule
from rule_engine.worker import RuleEngine
from shared.broker import Broker
from shared.commands import Answer, Command, Commands
from shared.events import Change, Dispute, Event, EventData, Refund, Snapshot
from shared.ids import uuid7
from shared.jobs import Job, Jobs
from shared.outbox import Outbox
from shared.secrets import Vault
from shared.targets import Reach
from support import stored_events
from support.delivery_rows import insert
from support.events import STORE, event, order, snapshot

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
TAG: Mapping[str, Any] = {"type": "tag_customer", "tag": "seen"}


class Engine:
    """The rule engine without a broker: its commands, its consumer of events, its jobs."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault) -> None:
        broker = Broker("amqp://nobody", service="rule-engine")
        self.pool = pool
        self.outbox = Outbox(pool, broker, "rule_engine")
        self.events = RuleEngine(self.outbox, pool)
        self._commands = Commands(
            outbox=self.outbox,
            broker=broker,
            schema="rule_engine",
            handlers=commands.handlers(vault, Reach()) | trials.handlers(Reach()),
            vault=vault,
        )

    async def ask(self, kind: str, **data: Any) -> Answer:
        deadline = datetime.now(UTC) + timedelta(minutes=1)
        command = Command(id=uuid7(), type=kind, store_id=STORE, actor="test", deadline=deadline, data=data)
        return await self._commands.answer(command)

    async def create(self, **rule: Any) -> UUID:
        answer = await self.ask("rule.create", **{"name": "Rule", "actions": [TAG], **rule})
        assert answer.refusal is None, answer.refusal
        return UUID(answer.body["id"])

    async def queue(self, **asked: Any) -> UUID:
        answer = await self.ask("rule.backtest", **asked)
        assert answer.refusal is None, answer.refusal
        return UUID(answer.body["job_id"])

    def jobs(self, *, limit: int = trials.PAGE) -> Jobs:
        return Jobs(self.pool, self.outbox, "rule_engine", {trials.BACKTEST: partial(trials.page, limit=limit)})

    async def backtested(self, **asked: Any) -> dict[str, Any]:
        job_id = await self.queue(**asked)
        await self.jobs().run_queued(asyncio.Event())
        job = await self.job(job_id)
        assert job["state"] == "done", job["error"]
        assert (job["done"], job["total"]) == (job["total"], job["done"])
        return dict(json.loads(job["result"], parse_float=Decimal))

    async def job(self, job_id: UUID) -> asyncpg.Record:
        return await self.pool.fetchrow("SELECT * FROM rule_engine.jobs WHERE id = $1", job_id)


@pytest.fixture
def engine(pool: asyncpg.Pool, vault: Vault) -> Engine:
    return Engine(pool, vault)


# Events such as a shop has, over three days ---------------------------------------------------------------------------


def _customer(chance: random.Random) -> Snapshot:
    score = chance.randrange(101)
    return snapshot(
        f"{chance.randrange(12):064x}",
        trust_score=score,
        segment=chance.choice(("risk", "critical", "normal", "vip")),
        total_orders=chance.randrange(12),
        return_rate=Decimal(chance.randrange(1001)) / 10,
        account_age_days=chance.choice((None, 3, 400)),
        tags=tuple(chance.sample(("seen", "press", "staff"), chance.randrange(3))),
    )


def _data(chance: random.Random) -> EventData:
    total = Decimal(chance.randrange(100, 50_000)) / 100
    change = Change(old_score=50, new_score=chance.randrange(101), old_segment="normal", new_segment="risk")
    return EventData(
        order=chance.choice(
            (None, order(id=chance.randrange(60), total=total, currency=chance.choice(("USD", "EUR"))))
        ),
        change=chance.choice((None, change)),
        refund=chance.choice((None, Refund(id=1, amount=total))),
        dispute=chance.choice((None, Dispute(id="d", amount=total, currency="USD", status="open"))),
    )


def happened(seed: int, count: int) -> list[Event]:
    """In the order in which they were recorded; several in one batch of the scorer's have one time."""
    chance, at, events = random.Random(seed), timedelta(0), []  # noqa: S311  # reproducible, not secret
    for n in range(count):
        at += chance.choice((timedelta(0), timedelta(seconds=chance.randrange(600)), timedelta(minutes=9)))
        made = event(
            chance.choice(("order_placed", "order_placed", "score_updated")),
            customer=_customer(chance),
            data=_data(chance),
            depth=chance.choice((0, 0, 0, 1, 2, 3)),
            sequence=n,
        )
        moment = BEGAN + at
        events.append(made.model_copy(update={"recorded_at": moment, "occurred_at": moment}))
    return events


RULES: Sequence[Mapping[str, Any]] = (
    {"trigger": "order_placed", "cooldown": 0},
    {"trigger": "order_placed", "conditions": {"field": "order.total", "operator": ">", "value": 200}},
    {"trigger": "order_placed", "cooldown": 600, "hourly_limit": 2},
    {
        "trigger": "order_placed",
        "cooldown": 86_400,
        "conditions": {
            "any": [
                {"not": {"field": "account_age_days", "operator": ">", "value": 30}},
                {"all": [{"field": "tags", "operator": "contains", "value": "press"}]},
            ]
        },
    },
    {"trigger": "order_placed", "mode": "shadow", "cooldown": 3600, "hourly_limit": 3},
    {
        "trigger": "score_updated",
        "cooldown": 60,
        "conditions": {
            "all": [
                {"field": "segment", "operator": "in", "value": ["risk", "critical"]},
                {"field": "new_score", "operator": "<=", "value": 60},
                {"field": "return_rate", "operator": ">=", "value": 12.5},
            ]
        },
    },
)


async def live_firings(pool: asyncpg.Pool, rule_id: UUID) -> list[UUID]:
    """Of a shadow, what it would have fired for."""
    rows = await pool.fetch(
        "SELECT event_id FROM (SELECT recorded_at, event_id FROM rule_engine.firings WHERE rule_id = $1"
        " UNION ALL SELECT recorded_at, event_id FROM rule_engine.evaluations, unnest(rule_ids, reasons) AS k (id, why)"
        " WHERE k.id = $1 AND k.why LIKE 'shadow%') AS fired",
        rule_id,
    )
    return [row["event_id"] for row in rows]


@pytest.mark.parametrize("seed", range(4))
async def test_a_backtest_fires_for_exactly_the_events_that_the_live_engine_fired_for(
    engine: Engine, pool: asyncpg.Pool, seed: int
) -> None:
    chance, events = random.Random(seed), happened(seed, 500)  # noqa: S311  # reproducible, not secret
    rules = {await engine.create(**rule): rule for rule in RULES}
    await stored_events.store(pool, events)
    played = 0
    while played < len(events):  # one consumer, in batches as they come
        size = chance.randrange(1, 60)
        await engine.events.process(events[played : played + size])
        played += size

    for rule_id, rule in rules.items():
        live = await live_firings(pool, rule_id)
        assert live
        saved = await find_rule(pool, STORE, rule_id)
        assert saved
        tested = Backtest(rule_of(rule_id, saved.version, saved.fields))
        fired = await replayed(pool, tested, limit=chance.randrange(1, 200))
        assert sorted(fired) == sorted(live)

        result = await engine.backtested(rule_id=str(rule_id), days=30)
        assert (result["firings"], result["events"]) == (
            len(live),
            sum(it.type == rule["trigger"] for it in events),
        )
        if rule.get("mode") != "shadow":
            counted = {"fired": len(live), "both": len(live), "only_backtest": 0, "only_live": 0}
            assert result["live"] == counted


async def replayed(pool: asyncpg.Pool, backtest: Backtest, *, limit: int) -> list[UUID]:
    """The events that it would fire for, read in pages of some size."""
    span = Span(STORE, backtest.rule.trigger, BEGAN, datetime.now(UTC))
    read = reader(backtest.rule.fields)
    fired: list[UUID] = []
    after = None
    async with pool.acquire() as connection:
        while page := await backtests.events(connection, span, after, limit):
            after = page[-1].place
            fired += [it.event.id for it in backtest.play([read(kept) for kept in page])]
    return fired


# As a job -------------------------------------------------------------------------------------------------------------


def orders(count: int, *, at: datetime = BEGAN) -> list[Event]:
    """One a minute, each of another customer."""
    return [
        event(
            "order_placed",
            customer=snapshot(f"{n:064x}"),
            data=EventData(order=order(id=n, total=Decimal("10.50"))),
            sequence=1,
        ).model_copy(update={"recorded_at": at + timedelta(minutes=n)})
        for n in range(count)
    ]


DRAFT: Mapping[str, Any] = {"name": "Draft", "trigger": "order_placed", "actions": [TAG]}


async def test_a_draft_is_backtested_over_the_days_asked_for_and_of_this_store_alone(
    engine: Engine, pool: asyncpg.Pool
) -> None:
    stranger = orders(1)[0].model_copy(update={"store_id": uuid7()})
    await stored_events.store(pool, [*orders(20), *orders(2, at=BEGAN - timedelta(days=20)), stranger])
    result = await engine.backtested(rule=DRAFT, days=10)
    assert (result["events"], result["firings"], result["customers"], result["days"]) == (20, 20, 20, 10)
    assert result["order_value"] == {"USD": Decimal("210.00")}
    assert result["rule"] == {"id": None, "version": None, "name": "Draft", "trigger": "order_placed"}
    assert result["live"] is None
    assert (await engine.backtested(rule=DRAFT))["events"] == 22


async def test_a_changed_draft_of_a_rule_is_compared_with_what_the_rule_did(engine: Engine, pool: asyncpg.Pool) -> None:
    events = orders(10)
    rule_id = await engine.create(
        trigger="order_placed", conditions={"field": "order.total", "operator": ">", "value": 5}
    )
    await stored_events.store(pool, events)
    await engine.events.process(events[:6])
    result = await engine.backtested(rule_id=str(rule_id), rule=DRAFT)
    assert result["live"] == {"fired": 6, "both": 6, "only_backtest": 4, "only_live": 0}


async def test_nothing_is_done_by_a_backtest(engine: Engine, pool: asyncpg.Pool) -> None:
    await stored_events.store(pool, orders(5))
    await engine.backtested(rule=DRAFT)
    for table in ("firings", "evaluations", "cooldowns", "hours", "outbox"):
        assert await pool.fetchval(f"SELECT count(*) FROM rule_engine.{table}") == 0


async def first_page(jobs: Jobs) -> Job:
    job = await jobs._claim()
    assert job is not None
    after = await jobs._page(job)
    assert isinstance(after, Job)
    return after


async def test_a_backtest_whose_process_is_gone_begins_again_and_counts_nothing_twice(
    engine: Engine, pool: asyncpg.Pool
) -> None:
    await stored_events.store(pool, orders(30))
    job_id = await engine.queue(rule=DRAFT)
    jobs = engine.jobs(limit=8)
    after = await first_page(jobs)
    row = await engine.job(job_id)
    assert (row["state"], row["done"], row["total"]) == ("running", 8, 30)

    await pool.execute("UPDATE rule_engine.jobs SET leased_until = now() - interval '1 second'")
    begun_again = await first_page(jobs)
    assert (await engine.job(job_id))["done"] == 8
    assert await jobs._page(after) is None  # the first one is back, and sees that it is no longer its own
    assert (await engine.job(job_id))["state"] == "running"

    await jobs._run(begun_again, asyncio.Event())
    row = await engine.job(job_id)
    assert (row["state"], row["done"], json.loads(row["result"])["firings"]) == ("done", 30, 30)


async def test_who_is_erased_while_a_backtest_runs_is_shown_without_what_was_theirs(
    engine: Engine, pool: asyncpg.Pool
) -> None:
    jane, john = (snapshot(digit * 64, email_domain=f"of-{digit}.example", tags=("press",)) for digit in "ab")
    for customer in (jane, john):
        known = {"store_id": STORE, "email_hash": customer.email_hash, "email": "x@example.com"}
        await insert(pool, "scorer.customers", **known, created_at=BEGAN, updated_at=BEGAN)
    hers, his = orders(2)
    await stored_events.store(
        pool, [hers.model_copy(update={"customer": jane}), his.model_copy(update={"customer": john})]
    )
    asks = (
        {"field": "tags", "operator": "contains", "value": "press"},
        {"field": "email_domain", "operator": "!=", "value": "elsewhere.example"},
    )
    job_id = await engine.queue(rule={**DRAFT, "conditions": {"all": list(asks)}})
    jobs = engine.jobs(limit=8)
    after = await first_page(jobs)
    await pool.execute(
        "UPDATE scorer.customers SET email = NULL, erased_at = now() WHERE email_hash = $1", jane.email_hash
    )
    await jobs._page(after)
    samples = json.loads((await engine.job(job_id))["result"])["samples"]
    assert {sample["customer"]: sample["values"] for sample in samples} == {
        jane.email_hash: {},
        john.email_hash: {"email_domain": "of-b.example", "tags": ["press"]},
    }


async def test_two_backtests_at_once_do_not_mix(engine: Engine, pool: asyncpg.Pool) -> None:
    await stored_events.store(pool, orders(3 * trials.PAGE))
    half = {"field": "order.total", "operator": "<", "value": 1}
    all_of_them, none = await engine.queue(rule=DRAFT), await engine.queue(rule={**DRAFT, "conditions": half})
    await asyncio.gather(*(engine.jobs().run_queued(asyncio.Event()) for _ in range(2)))
    found = [json.loads((await engine.job(job_id))["result"])["firings"] for job_id in (all_of_them, none)]
    assert found[1] == 0
    assert found[0] > trials.PAGE


async def test_a_cancelled_backtest_stops_without_a_result(engine: Engine, pool: asyncpg.Pool) -> None:
    await stored_events.store(pool, orders(30))
    job_id = await engine.queue(rule=DRAFT)
    jobs = engine.jobs(limit=8)
    after = await first_page(jobs)
    assert (await engine.ask("job.cancel", job_id=str(job_id))).body == {"job_id": str(job_id)}
    assert await jobs._page(after) is None
    row = await engine.job(job_id)
    assert (row["state"], row["done"], row["result"]) == ("cancelled", 8, None)


async def test_the_fourth_backtest_of_a_store_has_to_wait(engine: Engine) -> None:
    queued = [await engine.queue(rule=DRAFT) for _ in range(trials.UNFINISHED)]
    refusal = (await engine.ask("rule.backtest", rule=DRAFT)).refusal
    assert refusal is not None
    assert (refusal.status, refusal.code) == (429, "trustlens_too_many_backtests")
    assert refusal.message == "3 backtests of this store wait or run. Let one of them end, or cancel it."
    await engine.ask("job.cancel", job_id=str(queued[0]))
    await engine.queue(rule=DRAFT)


@pytest.mark.parametrize(
    ("asked", "status", "params"),
    [
        ({}, 400, {"rule": "is missing"}),
        ({"rule_id": str(UUID(int=3))}, 404, {}),
        ({"rule": {**DRAFT, "trigger": "lunch"}}, 400, {"rule.trigger": ...}),
        (
            {"rule": {**DRAFT, "conditions": {"field": "trust_score", "operator": ">", "value": 100}}},
            400,
            {"rule.conditions.value": ...},
        ),
        ({"rule": DRAFT, "days": 91}, 400, {"days": "should be less than or equal to 90"}),
        ({"rule": DRAFT, "days": 0}, 400, {"days": "should be greater than or equal to 1"}),
        ({"rule": DRAFT, "from": "yesterday"}, 400, {"from": "is not known here"}),
    ],
)
async def test_what_cannot_be_backtested_is_refused_with_the_reason(
    engine: Engine, asked: Mapping[str, Any], status: int, params: Mapping[str, object]
) -> None:
    refusal = (await engine.ask("rule.backtest", **asked)).refusal
    assert refusal is not None
    assert refusal.status == status
    assert refusal.params.keys() == params.keys()
    assert all(why in (refusal.params[name], ...) for name, why in params.items())


async def test_a_rule_that_is_no_longer_valid_is_not_backtested(engine: Engine, pool: asyncpg.Pool) -> None:
    rule_id = await engine.create(trigger="order_placed")
    await pool.execute(
        "UPDATE rule_engine.rules SET conditions = $1", json.dumps({"field": "shoe_size", "operator": "=", "value": 44})
    )
    refusal = (await engine.ask("rule.backtest", rule_id=str(rule_id))).refusal
    assert refusal is not None
    assert (refusal.status, refusal.code) == (409, "trustlens_rule_invalid")
