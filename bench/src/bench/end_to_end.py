"""How many orders a second the whole system takes from the store's webhook to its own, and how long one needs."""

from collections.abc import Sequence
from math import nan

from bench.custom import Orders
from bench.flow import next_rate
from bench.holding import Hold, Used, hold
from bench.report import Bound, Figure, Result
from bench.stack import Site
from bench.system import SERVICES, System, system
from cli.latency import percentile

FLOOD_RATE = 600
FLOOD_SECONDS = 5.0
"""More than the system takes: what it does beside that is about what it can."""
WARMING_SECONDS = 2.0
PARTS = (25, 50, 75)
"""Percent of the sustained rate at which latencies are measured."""
CALM = 50
"""Orders a second of a busy day."""
PERCENTS = (50, 95, 99)
SUSTAINED = Bound("at least", 200)
WAITS = {50: Bound("at most", 30), 99: Bound("at most", 150)}
"""Milliseconds at CALM."""
NONE = Bound("at most", 0)


async def measure(site: Site, *, seconds: float, tries: int, latency_seconds: float) -> Result:
    """Each rate is held for `seconds`; at most `tries` rates."""
    async with system(site) as running:
        orders = await Orders.of(running.track)
        await hold(running, orders, rate=CALM, seconds=WARMING_SECONDS)
        held = await _search(running, orders, seconds, tries)
        best = max((one for one in held if one.sustained), key=lambda one: one.flow.rate, default=None)
        top = best.flow.rate if best else min(one.flow.rate for one in held)
        rates = [CALM, *(top * part / 100 for part in PARTS)]
        paced = [await hold(running, orders, rate=rate, seconds=latency_seconds) for rate in rates]
    return _result(held, best, paced)


async def _search(running: System, orders: Orders, seconds: float, tries: int) -> list[Hold]:
    flood = await hold(running, orders, rate=FLOOD_RATE, seconds=FLOOD_SECONDS)
    held: list[Hold] = []
    while len(held) < tries:
        rate = next_rate([(one.flow.rate, one.sustained) for one in held], guess=0.9 * flood.flow.achieved)
        if rate is None:
            break
        held.append(await hold(running, orders, rate=rate, seconds=seconds))
    return held


def _result(held: Sequence[Hold], best: Hold | None, paced: Sequence[Hold]) -> Result:
    calm, *parts = paced
    every = [*held, *paced]
    return Result(
        "end_to_end",
        [
            Figure("sustained", best.flow.rate if best else 0, "orders/s", SUSTAINED),
            *_waits(calm, f"at {CALM} orders/s", WAITS),
            *(Figure(f"of it {stage}, median", 1000 * seconds, "ms") for stage, seconds in calm.stages.items()),
            *(
                figure
                for percent, one in zip(PARTS, parts, strict=True)
                for figure in _waits(one, f"at {percent} % ({one.flow.rate:.0f}/s)", {})
            ),
            *(_costs(best.each) if best else ()),
            Figure("not answered 202", sum(one.refused for one in every), "orders", NONE),
            Figure("without a webhook", sum(one.flow.lost for one in every), "orders", NONE),
            Figure("books that did not balance", sum(not one.balanced for one in every), "holds", NONE),
        ],
        [str(one) for one in every],
        series={f"at {one.flow.rate:.0f}/s, seconds": one.flow.waits for one in every},
    )


def _waits(one: Hold, when: str, bounds: dict[int, Bound]) -> list[Figure]:
    waits = one.flow.waits
    return [
        Figure(f"p{percent} {when}", 1000 * (percentile(waits, percent) or nan), "ms", bounds.get(percent))
        for percent in PERCENTS
    ]


def _costs(each: Used) -> list[Figure]:
    """What an order took at the sustained rate."""
    processors = [Figure(f"processor of {name}", 1e6 * used, "µs/order") for name, used in each.processors.items()]
    services = [name.replace("-", "_") for name in SERVICES]
    written = [Figure(f"rows of {name}", each.rows.get(name, nan), "rows/order") for name in services]
    kept = [Figure(f"kept by {name}", each.kept.get(name, nan), "bytes/order") for name in services]
    sent = [Figure(f"messages of {name}", each.messages[name], "messages/order") for name in SERVICES]
    return [*processors, *written, *kept, *sent, Figure("write-ahead log", each.log, "bytes/order")]
