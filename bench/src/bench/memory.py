"""How much memory each process has while orders come steadily: whether it grows, and the most it had."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from bench import metrics
from bench.custom import Orders
from bench.holding import Hold, hold
from bench.report import Bound, Figure, Result
from bench.stack import Site
from bench.system import System, system

RATE = 50
"""Orders a second."""
LOOK_SECONDS = 1.0
WARM = 0.25
"""Of the run: then connections are open, statements planned, and what is kept in memory is filled."""
WINDOW = 10
"""Samples whose median is one value: a batch that is in hand is not growth."""
FLAT = Bound("at most", 5)
PEAK = Bound("at most", 150)
NONE = Bound("at most", 0)


async def measure(site: Site, *, seconds: float) -> Result:
    samples: defaultdict[str, list[int]] = defaultdict(list)
    async with system(site, "sync") as running:
        orders = await Orders.of(running.track)
        watching = asyncio.create_task(_watch(running, samples), name="watch")
        try:
            held = await hold(running, orders, rate=RATE, seconds=seconds)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        peaks = {name: metrics.peak_memory(pid) for name, pid in running.pids.items()}
    return _result(samples, peaks, held, seconds)


async def _watch(running: System, samples: defaultdict[str, list[int]]) -> None:
    began = time.monotonic()
    while True:
        for name, pid in running.pids.items():
            samples[name].append(metrics.memory(pid))
        await asyncio.sleep(LOOK_SECONDS - (time.monotonic() - began) % LOOK_SECONDS)


def spread(samples: Sequence[float]) -> float:
    """Percent by which the memory after the warm-up went furthest from its median there, up or down."""
    warm = samples[round(len(samples) * WARM) :]
    steady = [median(warm[start : start + WINDOW]) for start in range(0, max(len(warm) - WINDOW, 1), WINDOW)]
    middle = median(steady)
    return 100 * max(abs(one - middle) for one in steady) / middle


def _result(samples: Mapping[str, Sequence[int]], peaks: Mapping[str, int], held: Hold, seconds: float) -> Result:
    figures = [
        figure
        for name, taken in samples.items()
        for figure in (
            Figure(f"{name}, furthest from its median", spread(taken), "%", FLAT),
            Figure(f"{name}, in the end", taken[-1] / 2**20, "MiB"),
            Figure(f"{name}, peak", peaks[name] / 2**20, "MiB", PEAK),
        )
    ]
    return Result(
        "memory",
        [
            Figure("orders", len(held.flow.due), "orders"),
            *figures,
            Figure("without a webhook", held.flow.lost, "orders", NONE),
        ],
        [f"{seconds:.0f} s; the first quarter is the warm-up. {held}"],
        series={f"{name}, bytes": taken for name, taken in samples.items()},
    )
