"""Which scenarios there are, and how large each is."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aio_pika
import asyncpg

from bench import (
    against_celery,
    backtest,
    broker,
    burst,
    delivery_latency,
    dispatch,
    due_memory,
    end_to_end,
    explain,
    fairness,
    gate,
    growth,
    hub,
    ingest,
    lanes,
    lists,
    lookup,
    memory,
    report,
    rules,
    scoring,
    sync,
    webhooks,
)
from bench.report import Result
from bench.stack import Site
from local_stack.stack import Stack

OF_THE_SCORER = ("scoring", "growth", "explain", "burst", "hub", "lanes")
OF_THE_DISPATCHER = ("dispatch", "celery", "delivery_latency", "fairness", "due_memory")
OF_THE_RULE_ENGINE = ("rules", "backtest")
OF_THE_API = ("lists", "lookup", "ingest", "gate")
OF_ALL = ("end_to_end", "broker", "sync", "memory")
NAMES = OF_ALL + OF_THE_SCORER + OF_THE_DISPATCHER + OF_THE_RULE_ENGINE + OF_THE_API


FOR_LONG = ("memory", "hub", "due_memory", "lists", "backtest")
"""Only of the full sizes, or if asked for."""


@dataclass(frozen=True, slots=True)
class Sizes:
    hold_seconds: float
    """How long each rate is held, end to end."""
    holds: int
    past: int
    """Orders of a store that is synced."""
    memory_seconds: float
    messages: int
    broker_rounds: int
    facts: int
    rounds: int
    small: int
    large: int
    """Customers in the tables, ten orders each."""
    growth_facts: int
    burst: int
    hub: int
    lane_seconds: float
    deliveries: int
    latency_seconds: float
    fairness_seconds: float
    due: int
    events: int
    """That rules are played to."""
    backtest: int
    backtest_seconds: float
    list_rounds: int
    """How often each list is asked for."""
    lookup_seconds: float
    ingest_seconds: float
    gate_devices: int
    gate_seconds: float


def sizes(*, full: bool, scale: float) -> Sizes:
    def scaled(count: int) -> int:
        return max(round(count * scale) // 1000, 1) * 1000

    return Sizes(
        hold_seconds=(30 if full else 20) * max(scale, 0.2),
        holds=8 if full else 4,
        past=scaled(20_000 if full else 4_000),
        memory_seconds=600 * max(scale, 0.05),
        messages=scaled(20_000 if full else 4_000),
        broker_rounds=5 if scale == 1 else 1,
        facts=scaled(25_000 if full else 6_000),
        rounds=3 if scale == 1 else 1,
        small=scaled(10_000),
        large=scaled(1_000_000 if full else 100_000),
        growth_facts=scaled(5_000 if full else 2_000),
        burst=200,
        hub=scaled(100_000 if full else 20_000),
        lane_seconds=(30 if full else 15) * max(scale, 0.2),
        deliveries=scaled(20_000 if full else 4_000),
        latency_seconds=(30 if full else 10) * max(scale, 0.2),
        fairness_seconds=(20 if full else 4) * max(scale, 0.2),
        due=scaled(1_000_000 if full else 100_000),
        events=scaled(40_000 if full else 10_000),
        backtest=scaled(1_000_000 if full else 100_000),
        backtest_seconds=(30 if full else 5) * max(scale, 0.2),
        list_rounds=10 if scale == 1 else 2,
        lookup_seconds=(10 if full else 4) * max(scale, 0.2),
        ingest_seconds=(10 if full else 4) * max(scale, 0.2),
        gate_devices=scaled(1_000_000),
        gate_seconds=(30 if full else 10) * max(scale, 0.2),
    )


async def machine(stack: Stack) -> dict[str, str]:
    connection = await asyncpg.connect(stack.database_url)
    postgres = await connection.fetchval("SHOW server_version")
    await connection.close()
    broker = await aio_pika.connect(stack.amqp_url)
    rabbitmq = broker.transport.connection.server_properties.get("version", "unknown")  # type: ignore[union-attr]
    await broker.close()
    return report.machine(postgres, str(rabbitmq))


async def measure(name: str, site: Site, sizes: Sizes, orders: Path | None) -> Result:
    if name in OF_ALL:
        return await _of_all(name, site, sizes)
    if name in OF_THE_RULE_ENGINE:
        return await _of_the_rule_engine(name, site, sizes)
    if name in OF_THE_DISPATCHER:
        return await _of_the_dispatcher(name, site, sizes)
    if name in OF_THE_API:
        return await _of_the_api(name, site, sizes)
    return await _of_the_scorer(name, site, sizes, orders, datetime.now(UTC))


async def _of_all(name: str, site: Site, sizes: Sizes) -> Result:
    match name:
        case "end_to_end":
            return await end_to_end.measure(
                site, seconds=sizes.hold_seconds, tries=sizes.holds, latency_seconds=sizes.latency_seconds
            )
        case "broker":
            return await broker.measure(site, count=sizes.messages, rounds=sizes.broker_rounds)
        case "sync":
            return await sync.measure(site, count=sizes.past, rounds=sizes.rounds)
        case "memory":
            return await memory.measure(site, seconds=sizes.memory_seconds)
        case _:
            raise ValueError(f"{name} is no scenario: there are {', '.join(NAMES)}")


async def _of_the_scorer(name: str, site: Site, sizes: Sizes, orders: Path | None, now: datetime) -> Result:
    match name:
        case "scoring":
            facts = (
                webhooks.of_file(orders, site.shops[0], sizes.facts)
                if orders
                else webhooks.of_shops(site.shops, now=now, limit=sizes.facts)
            )
            return await scoring.measure(site, facts, rounds=sizes.rounds)
        case "growth":
            return await growth.measure(
                site, small=sizes.small, large=sizes.large, count=sizes.growth_facts, rounds=sizes.rounds, now=now
            )
        case "explain":
            return await explain.measure(site, customers=sizes.large, now=now)
        case "burst":
            return await burst.measure(site, count=sizes.burst, now=now)
        case "hub":
            return await hub.measure(site, count=sizes.hub, now=now)
        case "lanes":
            return await lanes.measure(site, seconds=sizes.lane_seconds, now=now)
        case _:
            raise ValueError(f"{name} is no scenario: there are {', '.join(NAMES)}")


async def _of_the_dispatcher(name: str, site: Site, sizes: Sizes) -> Result:
    match name:
        case "dispatch":
            return await dispatch.measure(site, count=sizes.deliveries, rounds=sizes.rounds)
        case "celery":
            return await against_celery.measure(site, count=sizes.deliveries // 2, rounds=sizes.rounds)
        case "delivery_latency":
            return await delivery_latency.measure(site, seconds=sizes.latency_seconds)
        case "fairness":
            return await fairness.measure(site, seconds=sizes.fairness_seconds, rounds=sizes.rounds)
        case "due_memory":
            return await due_memory.measure(site, count=sizes.due)
        case _:
            raise ValueError(f"{name} is no scenario: there are {', '.join(NAMES)}")


async def _of_the_rule_engine(name: str, site: Site, sizes: Sizes) -> Result:
    match name:
        case "rules":
            return await rules.measure(site, count=sizes.events, rounds=sizes.rounds)
        case "backtest":
            return await backtest.measure(site, count=sizes.backtest, seconds=sizes.backtest_seconds)
        case _:
            raise ValueError(f"{name} is no scenario: there are {', '.join(NAMES)}")


async def _of_the_api(name: str, site: Site, sizes: Sizes) -> Result:
    match name:
        case "lists":
            return await lists.measure(site, customers=sizes.large, rounds=sizes.list_rounds)
        case "lookup":
            return await lookup.measure(site, seconds=sizes.lookup_seconds, rounds=sizes.rounds)
        case "ingest":
            return await ingest.measure(site, seconds=sizes.ingest_seconds, rounds=sizes.rounds)
        case "gate":
            return await gate.measure(site, devices=sizes.gate_devices, seconds=sizes.gate_seconds)
        case _:
            raise ValueError(f"{name} is no scenario: there are {', '.join(NAMES)}")
