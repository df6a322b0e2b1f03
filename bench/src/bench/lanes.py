"""Live facts while history comes in: how long they take, and how fast history goes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from aiormq.abc import DeliveredMessage

from bench import people, stack
from bench.progress import Show, counted
from bench.report import Figure, Result
from bench.stack import ScorerProcess, Site, Track
from bench.webhooks import outgoing
from cli.latency import percentile
from shared.broker import Outgoing
from shared.topology import EVENTS

LIVE_A_SECOND = 20
HISTORY_A_SECOND = 3000
"""More than any scorer takes here, so that its queue is never empty."""
SETTLE_SECONDS = 10.0
PERCENTS = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from the publish of a live fact to the arrival of its first event."""

    seconds: Sequence[float]
    lost: int
    """Facts of which no event came."""

    def figures(self, when: str) -> list[Figure]:
        shares = ((percent, percentile(self.seconds, percent)) for percent in PERCENTS)
        return [Figure(f"live p{p} {when}", 1000 * (value or float("nan")), "ms") for p, value in shares]


async def measure(site: Site, *, seconds: float, now: datetime) -> Result:
    shop, live = site.shops[0], round(seconds * LIVE_A_SECOND)
    history = outgoing(
        (
            people.order_fact(shop, n, by=n // 4, at=now - timedelta(days=300) + timedelta(seconds=n))
            for n in range(1, round(seconds * HISTORY_A_SECOND))
        ),
        lane="history",
    )
    facts = outgoing(people.order_fact(shop, 10**9 + n, by=10**7 + n, at=now) for n in range(2 * live))
    async with stack.track(site) as track, stack.scorer(track) as scorer, _seen(track) as seen:
        with counted("live facts alone", live) as show:
            alone = await _drip(track, facts[:live], seen, show)
        with counted("history: filling the queue", len(history)) as show:
            await stack.fill(track, history, show)
        with counted("live facts and history", live) as show:
            before, began = await _done(scorer), time.perf_counter()
            beside = await _drip(track, facts[live:], seen, show)
            rate = (await _done(scorer) - before) / (time.perf_counter() - began)
            left = len(history) - await _done(scorer)
    return _result(alone, beside, rate, left)


async def _done(scorer: ScorerProcess) -> float:
    return (await scorer.read()).value("trustlens_scorer_facts_total", lane="history")


def _result(alone: Latencies, beside: Latencies, rate: float, left: float) -> Result:
    notes = [
        f"{some.lost} live facts had no event within {SETTLE_SECONDS:.0f} s" for some in (alone, beside) if some.lost
    ]
    if left <= 0:
        notes.append("history was finished before the live facts were: its rate and their latencies say too little")
    return Result(
        "lanes",
        [
            *alone.figures("alone"),
            *beside.figures("beside history"),
            Figure("history beside live facts", rate, "facts/s"),
        ],
        notes,
        series={"alone": alone.seconds, "beside history": beside.seconds},
    )


@dataclass(slots=True)
class Seen:
    """Fact → when its first event arrived, as it fills."""

    at: dict[UUID, float] = field(default_factory=dict)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def note(self, delivered: DeliveredMessage) -> None:
        now = time.perf_counter()
        self.at.setdefault(UUID(json.loads(delivered.body)["cause"]["id"]), now)
        self.more.set()

    async def all_of(self, facts: Collection[UUID]) -> None:
        while not self.at.keys() >= set(facts):
            self.more.clear()
            await self.more.wait()


@asynccontextmanager
async def _seen(track: Track) -> AsyncIterator[Seen]:
    """From now on."""
    seen = Seen()

    channel = await track.broker.channel(1000)
    queue = (await channel.queue_declare(exclusive=True)).queue or ""
    await channel.queue_bind(queue, track.prefix + EVENTS, "#")
    await channel.basic_consume(queue, seen.note, no_ack=True)
    yield seen


async def _drip(track: Track, facts: Sequence[Outgoing], seen: Seen, show: Show) -> Latencies:
    """Publish them at their pace, and wait a while for what is late."""
    sent: dict[UUID, float] = {}
    began = time.perf_counter()
    for nth, fact in enumerate(facts):
        await asyncio.sleep(began + nth / LIVE_A_SECOND - time.perf_counter())
        sent[fact.id] = time.perf_counter()
        await track.broker.publish([fact])
        show(nth + 1)
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            await seen.all_of(sent.keys())
    return Latencies(
        [seen.at[one] - at for one, at in sent.items() if one in seen.at], len(sent.keys() - seen.at.keys())
    )
