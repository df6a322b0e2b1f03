"""Endpoints that hang, fail and are too busy beside healthy ones: what the healthy ones notice of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench import dispatching, stack
from bench.progress import counted
from bench.receiver import BUSY, FAIL, HANG
from bench.report import Bound, Figure, Result
from bench.stack import Site
from cli.latency import percentile

ENDPOINTS = 200
BROKEN = [*40 * [HANG], *40 * [FAIL], *20 * [BUSY]]
"""A fifth hangs, a fifth fails, a tenth answers 429: each a path of the receiver's."""
TIMEOUT = 2
"""Seconds until a request to a hung endpoint is given up. Each endpoint gets an event a second: what hung ones get
piles up, once they are called one at a time."""
STRIDE = 7
"""Endpoints take their turns in steps of so many: broken ones among healthy ones, as they would be."""
FIRST_SECONDS = TIMEOUT + 1
"""Not counted: connections are opened, and the first requests have not timed out."""
RATIO = Bound("at most", 1.3)
PERCENTS = (50, 99)


@dataclass(frozen=True, slots=True)
class Part:
    """How long the endpoints that are healthy in all runs waited in one."""

    waits: Sequence[float]
    """Seconds, published → received."""
    missing: int
    failed: float
    """Attempts at the others."""


async def measure(site: Site, *, seconds: float, rounds: int) -> Result:
    """The same events in each run: what the others cost by being there is in both."""
    without: list[Part] = []
    beside: list[Part] = []
    for number in range(1, rounds + 1):
        without.append(await _part(site, seconds, f"{ENDPOINTS} healthy endpoints {number}/{rounds}", []))
        beside.append(await _part(site, seconds, f"{len(BROKEN)} of them broken {number}/{rounds}", BROKEN))
    return _result(without, beside)


async def _part(site: Site, seconds: float, text: str, broken: Sequence[str]) -> Part:
    async with stack.track(site) as track, dispatching.receiving(site) as receiver:
        urls = receiver.urls(ENDPOINTS, broken=broken)
        subscribers = await dispatching.subscribers(track, urls, seconds=TIMEOUT)
        async with dispatching.dispatcher(track) as dispatcher:
            turns = schedule(FIRST_SECONDS + seconds)
            events = dispatching.events([subscribers[turn] for turn in turns])
            with counted(text, len(events)) as show:
                sent = await dispatching.drip(track, dispatching.outgoing(events), a_second=ENDPOINTS, show=show)
            first = round(FIRST_SECONDS * ENDPOINTS)
            counts = {
                subscribers[turn].delivery(event): sent[event.id]
                for turn, event in list(zip(turns, events, strict=True))[first:]
                if turn >= len(BROKEN)
            }
            waits = (await receiver.has(list(counts))).waits(counts)
            told = await dispatcher.read()
    failed = told.total("trustlens_delivery_attempts_total", led_to="failed")
    return Part(waits, len(counts) - len(waits), failed)


def schedule(seconds: float) -> list[int]:
    """Whose turn it is, event by event: each endpoint has one a second."""
    return [number * STRIDE % ENDPOINTS for number in range(round(seconds * ENDPOINTS))]


def _result(without: Sequence[Part], beside: Sequence[Part]) -> Result:
    alone, broken = ([part.waits for part in parts] for parts in (without, beside))
    return Result(
        "fairness",
        [
            *_latencies(alone, "beside healthy ones"),
            *_latencies(broken, f"beside {len(BROKEN)} broken ones"),
            Figure("p99 beside broken to healthy ones", typical(broken, 99) / typical(alone, 99), "times", RATIO),
            Figure("requests that failed", sum(part.failed for part in beside), "attempts"),
            Figure("not received", sum(p.missing for p in (*without, *beside)), "deliveries", Bound("at most", 0)),
        ],
        series={
            "p99 beside healthy ones": [typical([waits], 99) for waits in alone],
            "p99 beside broken ones": [typical([waits], 99) for waits in broken],
        },
    )


def _latencies(runs: Sequence[Sequence[float]], when: str) -> list[Figure]:
    return [Figure(f"healthy p{percent} {when}", 1000 * typical(runs, percent), "ms") for percent in PERCENTS]


def typical(runs: Sequence[Sequence[float]], percent: float) -> float:
    """The median of the runs' percentiles: what else the machine did in one of them moves it little.

    Not a number where nothing came.
    """
    return median(percentile(waits, percent) or float("nan") for waits in runs)
