"""A dispatcher that starts in front of a great many due deliveries: what it keeps in memory, and how soon it sends."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from bench import dispatching, stack
from bench.dispatching import ReceiverProcess, Subscriber
from bench.progress import counted
from bench.receiver import Told
from bench.report import Bound, Figure, Result
from bench.stack import Site, Track
from dispatcher.__main__ import TABLES
from shared.db import Partitions

ENDPOINTS = 200
CHUNK = 100_000
SEND_SECONDS = 5.0
PEAK_MEMORY = Bound("at most", 300)
"""MiB."""
_SQL = (Path(__file__).parent / "due_memory.sql").read_text(encoding="utf-8")


async def measure(site: Site, *, count: int) -> Result:
    async with stack.track(site) as track, dispatching.receiving(site) as receiver:
        subscribers = await dispatching.subscribers(track, receiver.urls(ENDPOINTS), mode="retry")
        with counted(f"{count:,} due deliveries", count):
            await _fill(track, subscribers, count)
        began = time.monotonic()
        async with dispatching.dispatcher(track) as dispatcher:
            ready = time.monotonic()
            await _first(receiver)
            await asyncio.sleep(SEND_SECONDS)  # what is measured is a time
            start = Start(began, ready, await receiver.told())
            peak = dispatcher.peak_memory()
    return _result(count, start, peak)


@dataclass(frozen=True, slots=True)
class Start:
    """How a dispatcher began, by time.monotonic()."""

    began: float
    ready: float
    came: Told

    @property
    def first(self) -> float:
        return min(self.came.at.values())

    def rate(self, seconds: float) -> float:
        """Deliveries a second in so many seconds from the first on."""
        return sum(1 for at in self.came.at.values() if at < self.first + seconds) / seconds


async def _first(receiver: ReceiverProcess) -> None:
    while not (await receiver.told()).at:  # noqa: ASYNC110  # another process has no event
        await asyncio.sleep(0.05)


async def _fill(track: Track, subscribers: Sequence[Subscriber], count: int) -> None:
    """As they would be had they become due while no dispatcher ran."""
    now = datetime.now(UTC)
    connection = await asyncpg.connect(track.database_url)
    try:
        await Partitions(*TABLES).cover(connection, [now])
        await connection.execute(_SQL)
        ids = [one.endpoint.id for one in subscribers]
        stores = [one.store_id for one in subscribers]
        for first in range(0, count, CHUNK):
            await connection.execute(
                "SELECT bench.add_due($1, $2, $3, $4, $5)", first, min(first + CHUNK, count) - 1, ids, stores, now
            )
        await connection.execute("VACUUM (ANALYZE) dispatcher.deliveries, dispatcher.bodies")
    finally:
        await connection.close()


def _result(count: int, start: Start, peak: int) -> Result:
    return Result(
        "due_memory",
        [
            Figure("due deliveries", count, "deliveries"),
            Figure("start to readiness", start.ready - start.began, "seconds"),
            Figure("start to the first delivery", start.first - start.began, "seconds"),
            Figure("in the first second", start.rate(1), "deliveries/s"),
            Figure(f"in the first {SEND_SECONDS:.0f} seconds", start.rate(SEND_SECONDS), "deliveries/s"),
            Figure("peak memory", peak / 2**20, "MiB", PEAK_MEMORY),
            Figure("received more than once", start.came.repeated, "deliveries", Bound("at most", 0)),
        ],
    )
