"""The rule engine as the real service, stores with rules, and events for them."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from bench import metrics, stack
from bench.metrics import Reading, cpu_seconds
from bench.progress import Show
from bench.stack import Track
from local_stack.errors import StackError
from local_stack.services import STOP_SIGNALS, ServiceProcess
from rule_engine.rules import Rule, stored_rule
from rule_engine.store import rulesets
from shared.broker import Outgoing
from shared.events import Cause, Change, Event, EventData, Snapshot
from shared.ids import derived, uuid7
from shared.topology import EVENTS

TRIGGER = "score_updated"
SCORES = range(40, 90)
"""Trust scores of the customers: each rule waits for one of them."""
EVENTS_EACH = 5
"""Of a customer, within seconds: the first fires its rule, and the rule cools down for the others."""
LOOK_SECONDS = 0.1
STALL_SECONDS = 30.0


# Rules and events -----------------------------------------------------------------------------------------------------


def rules(store_id: UUID, count: int) -> list[Rule]:
    """One for each score, so that of fifty rules one holds; the condition on the score is at another place in each."""
    return [_rule(store_id, number, _conditions(SCORES[number % len(SCORES)], number % 5)) for number in range(count)]


def rules_that_hold(store_id: UUID, count: int) -> list[Rule]:
    """For all of these events."""
    return [_rule(store_id, number, _conditions(None, number % 5)) for number in range(count)]


def _rule(store_id: UUID, number: int, conditions: object) -> Rule:
    rule_id = derived("bench rule", store_id, number)
    return stored_rule(
        rule_id=rule_id,
        version=1,
        name=f"Rule {number}",
        trigger=TRIGGER,
        conditions=conditions,
        actions=[{"type": "send_webhook", "target_id": str(derived("target", rule_id))}],
        cooldown=3600,
        hourly_limit=1000,
        mode="live",
    )


def _conditions(score: int | None, place: int) -> object:
    """Five, of several types and operators, of which one may not hold."""
    leaves: list[tuple[str, str, object]] = [
        ("is_blocked", "=", False),
        ("segment", "in", ["normal", "caution", "risk"]),
        ("total_order_value", "<", 100_000),
        ("return_rate", ">=", 2.5),
    ]
    leaves.insert(place, ("trust_score", ">=", 0) if score is None else ("trust_score", "=", score))
    return {"all": [{"field": field, "operator": operator, "value": value} for field, operator, value in leaves]}


def events(stores: Sequence[UUID], count: int, *, now: datetime) -> list[Event]:
    """Score changes of new customers, in the order of time; no customer's events are next to one another."""
    customers = -(-count // EVENTS_EACH)
    return [_event(stores, number, number % customers, now) for number in range(count)]


def _event(stores: Sequence[UUID], number: int, customer: int, now: datetime) -> Event:
    score = SCORES[customer // len(stores) % len(SCORES)]
    store_id, at = stores[customer % len(stores)], now + timedelta(milliseconds=number)
    return Event(
        id=uuid7(),
        type=TRIGGER,
        store_id=store_id,
        occurred_at=at,
        recorded_at=at,
        customer=Snapshot(
            email_hash=f"{customer:064x}",
            email=f"c{customer}@bench.example",
            email_domain="bench.example",
            trust_score=score,
            segment="normal",
            total_orders=customer % 90,
            total_order_value=Decimal(f"{customer % 9000}.50"),
            return_rate=Decimal("3.3"),
            account_age_days=400,
            days_since_last_order=3,
        ),
        sequence=number // EVENTS_EACH + 1,
        data=EventData(change=Change(old_score=50, new_score=score, old_segment="normal", new_segment="normal")),
        cause=Cause(kind="order", id=uuid7()),
    )


def outgoing(events: Sequence[Event]) -> list[Outgoing]:
    """As the scorer sends them."""
    return [Outgoing(event.id, EVENTS, event.type, event.encode()) for event in events]


async def save(track: Track, made: Sequence[tuple[UUID, Rule]], now: datetime) -> None:
    """Each store's rules, as the service keeps them."""
    columns = "id store_id version name description trigger conditions actions cooldown hourly_limit mode"
    async with stack.connected(track) as pool, pool.acquire() as connection:
        await connection.copy_records_to_table(
            "rules",
            schema_name="rule_engine",
            columns=[*columns.split(), "created_at", "updated_at"],
            records=list(_rows(made, now)),
        )
        for store_id in {store_id for store_id, _ in made}:
            await rulesets.raise_revision(connection, store_id)


def _rows(made: Sequence[tuple[UUID, Rule]], now: datetime) -> Iterator[tuple[object, ...]]:
    for store_id, rule in made:
        conditions = rule.conditions.model_dump_json(by_alias=True) if rule.conditions else None
        actions = json.dumps([{"type": action.type, "target_id": str(action.target_id)} for action in rule.actions])
        seconds = int(rule.cooldown.total_seconds())
        kept = (rule.id, store_id, rule.version, rule.name, "", rule.trigger, conditions, actions, seconds)
        yield *kept, rule.hourly_limit, rule.mode, now, now


# The service ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """What the service had done, and when it was asked."""

    told: Reading
    processors: dict[str, float]
    """Seconds used by the service and by the servers."""
    at: float
    """Seconds by a clock."""

    @property
    def done(self) -> float:
        return self.told.value("trustlens_rules_events_total")


@dataclass(frozen=True, slots=True)
class EngineProcess:
    """The service, running."""

    service: ServiceProcess
    pid: int
    track: Track

    async def now(self) -> Moment:
        told = await asyncio.to_thread(metrics.read, self.service.url)
        return Moment(told, self._processors(), time.monotonic())

    def _processors(self) -> dict[str, float]:
        servers = self.track.site.stack
        pids = {
            "the rule engine": self.pid,
            "Postgres": servers.postgres.process.pid(),
            "RabbitMQ": servers.rabbitmq.process.pid(),
        }
        return {name: cpu_seconds(pid) for name, pid in pids.items() if pid}

    def peak_memory(self) -> int:
        return metrics.peak_memory(self.pid)

    async def committed(self, events: int, show: Show = lambda _: None) -> Moment:
        """What it tells once it has committed so many.

        Raises:
            StackError: it ended, or committed none for STALL_SECONDS.
        """
        most, moved = 0.0, time.monotonic()
        while True:
            moment = await self.now()
            show(moment.done)
            if moment.done >= events:
                return moment
            if moment.done > most:
                most, moved = moment.done, moment.at
            if self.service.process.pid() is None or moment.at - moved > STALL_SECONDS:
                raise StackError(f"The rule engine evaluates no more:\n{self.service.process.last_lines()}")
            await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def engine(track: Track) -> AsyncIterator[EngineProcess]:
    """`python -m rule_engine` on this track, on a core of its own; ready."""
    service = stack.service_process(track.site.stack.folder, "rule-engine")
    since = service.launch(stack.environment(track))
    pid = service.process.pid()
    if pid is None:
        raise StackError(f"The rule engine did not start:\n{service.process.last_lines(since)}")
    os.sched_setaffinity(pid, {track.site.scorer_core})  # before it has threads
    try:
        await asyncio.to_thread(service.wait_ready, since)
        yield EngineProcess(service, pid, track)
    finally:
        await asyncio.to_thread(service.process.stop, STOP_SIGNALS)
