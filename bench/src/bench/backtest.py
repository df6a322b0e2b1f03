"""How long a backtest takes for a million events, and what the live events of the same process notice of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiormq.abc
import asyncpg

from bench import rules_engine, stack
from bench.progress import Show, counted
from bench.report import Bound, Figure, Result
from bench.stack import Site, Track
from cli.latency import percentile
from local_stack.errors import StackError
from rule_engine.rules import conditions_json
from shared.commands import Asker
from shared.db import Partitions
from shared.events import Automation, Event
from shared.ids import uuid7

MILLION = 1_000_000
DAYS = 30
CUSTOMERS = 50_000
LIVE_A_SECOND = 50
CHUNK = 50_000
LOOK_SECONDS = 0.05
SECONDS_FOR_A_MILLION = Bound("at most", 60)
PERCENTS = (50, 99)
NONE = Bound("at most", 0)


async def measure(site: Site, *, count: int, seconds: float) -> Result:
    """`seconds`: how long live events drip while nothing else happens."""
    now = datetime.now(UTC)
    shop = site.shops[0].id
    async with stack.track(site) as track:
        await _store(track, rules_engine.events([shop], 1, now=now)[0], count, now)
        live = replace(rules_engine.rules_that_hold(shop, 1)[0], hourly_limit=MILLION)
        await rules_engine.save(track, [(shop, live)], now)
        async with rules_engine.engine(track) as engine, _arrivals(track) as came:
            drip = _Drip(track, shop, came)
            idle = await drip.during(asyncio.sleep(seconds))
            holding = conditions_json(live.conditions)
            refusing = {"all": [holding, {"field": "total_orders", "operator": ">", "value": 1000}]}
            alone = [
                await _backtest(track, shop, _draft(conditions), f"backtest, {name}", count)
                for name, conditions in (("all fire", holding), ("none fires", refusing))
            ]
            beside = asyncio.ensure_future(_backtest(track, shop, _draft(holding), "beside live events", count))
            busy = await drip.during(beside)
            peak = engine.peak_memory()
    return _result(count, [*alone, beside.result()], idle, busy, peak)


def _draft(conditions: Any) -> Mapping[str, Any]:
    """A rule without cooldown: of what its conditions let through, all fires."""
    action = {"type": "tag_customer", "tag": "bench"}
    limits = {"cooldown": 0, "hourly_limit": MILLION}
    return {"name": "Draft", "trigger": rules_engine.TRIGGER, "conditions": conditions, "actions": [action], **limits}


# What happened --------------------------------------------------------------------------------------------------------


async def _store(track: Track, like: Event, count: int, now: datetime) -> None:
    """So many events like this one, over DAYS, each customer's in turn: as the scorer keeps them."""
    begin = now - timedelta(days=DAYS) + timedelta(hours=1)
    async with stack.connected(track) as pool:
        await Partitions("scorer.events").cover(pool, [begin + timedelta(weeks=n) for n in range(DAYS // 7 + 2)])
        with counted("storing what happened", count) as show:
            for first in range(0, count, CHUNK):
                await pool.execute(
                    _STORE,
                    first,
                    min(first + CHUNK, count) - 1,
                    begin,
                    timedelta(days=DAYS, hours=-2) / count,
                    like.store_id,
                    like.type,
                    CUSTOMERS,
                    like.encode().decode(),
                    str(like.id),
                    like.customer.email_hash,
                )
                show(first + CHUNK)
        await pool.execute("VACUUM ANALYZE scorer.events")


_STORE = """
    INSERT INTO scorer.events (recorded_at, id, store_id, email_hash, sequence, type, occurred_at, body)
    SELECT $3::timestamptz + n * $4::interval, id, $5, hash, n / $7 + 1, $6, $3,
           convert_to(replace(replace($8, $9, id::text), $10, hash), 'UTF8')
    FROM generate_series($1::bigint, $2::bigint) AS n,
         LATERAL (SELECT gen_random_uuid(), encode(sha256((n % $7)::text::bytea), 'hex')) AS k (id, hash)
"""


# Backtests ------------------------------------------------------------------------------------------------------------


async def _backtest(track: Track, shop: UUID, draft: Mapping[str, Any], text: str, count: int) -> float:
    """Seconds from its first page to its result."""
    asked = await Asker(track.broker).ask(
        "rule-engine.commands", "rule.backtest", store_id=shop, actor="bench", data={"rule": draft, "days": DAYS}
    )
    if asked.refusal:
        raise StackError(f"No backtest: {asked.refusal.message}")
    async with stack.connected(track) as pool:
        with counted(text, count) as show:
            return await _until_done(pool, UUID(asked.body["job_id"]), count, show)


async def _until_done(pool: asyncpg.Pool, job_id: UUID, count: int, show: Show) -> float:
    began: float | None = None
    while True:
        job = await pool.fetchrow("SELECT state, done, error FROM rule_engine.jobs WHERE id = $1", job_id)
        if began is None and job["state"] != "queued":
            began = time.monotonic()
        show(job["done"])
        if began and job["state"] not in {"queued", "running"}:
            break
        await asyncio.sleep(LOOK_SECONDS)
    if (job["state"], job["done"]) != ("done", count):
        raise StackError(f"A backtest of {count} events ended {job['state']} after {job['done']}: {job['error']}")
    return time.monotonic() - began


# Live events beside them ----------------------------------------------------------------------------------------------


class _Drip:
    """Live events at a pace, each of a customer who was not seen before: each fires the live rule."""

    def __init__(self, track: Track, shop: UUID, came: Mapping[UUID, float]) -> None:
        self._track, self._shop, self._came = track, shop, came
        self._number = 0

    async def during(self, work: Any) -> list[float]:
        """Seconds from publishing an event to the message of its firing, as long as the work lasts."""
        sent: dict[UUID, float] = {}
        working = asyncio.ensure_future(work)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while not working.done():
                (event,) = rules_engine.events([self._shop], 1, now=datetime.now(UTC))
                known = event.customer.model_copy(update={"email_hash": f"{uuid7().hex:0>64}"})
                sent[event.id] = time.monotonic()
                messages = rules_engine.outgoing([event.model_copy(update={"customer": known})])
                group.create_task(stack.fill(self._track, messages))
                await asyncio.sleep(began + len(sent) / LIVE_A_SECOND - time.monotonic())
        await self._arrived(sent)
        return [self._came[event_id] - at for event_id, at in sent.items()]

    async def _arrived(self, sent: Mapping[UUID, float]) -> None:
        async with asyncio.timeout(rules_engine.STALL_SECONDS):
            while not sent.keys() <= self._came.keys():  # noqa: ASYNC110  # it has no event to wait for
                await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def _arrivals(track: Track) -> AsyncIterator[Mapping[UUID, float]]:
    """When the message of each firing came, by its event: where the dispatcher would take it."""
    came: dict[UUID, float] = {}

    async def note(message: aiormq.abc.DeliveredMessage) -> None:
        came[Automation.model_validate_json(message.body).event_id] = time.monotonic()

    channel = await track.broker.channel(0)
    await channel.basic_consume(f"{track.prefix}dispatcher.automation", note, no_ack=True)
    yield came


def _result(count: int, took: Sequence[float], idle: Sequence[float], busy: Sequence[float], peak: int) -> Result:
    alone = {"all fire": took[0], "none fires": took[1], "beside live events": took[2]}
    waits = {"idle": idle, "beside a backtest": busy}
    return Result(
        "backtest",
        [
            *(
                Figure(f"a million events, {name}", seconds * MILLION / count, "s", SECONDS_FOR_A_MILLION)
                for name, seconds in alone.items()
            ),
            Figure("played", count / took[0], "events/s"),
            *(
                Figure(f"live p{percent}, {name}", 1000 * (percentile(values, percent) or float("nan")), "ms")
                for name, values in waits.items()
                for percent in PERCENTS
            ),
            Figure("peak memory", peak / 2**20, "MiB"),
        ],
        series={f"seconds, {name}": list(values) for name, values in waits.items()},
    )
