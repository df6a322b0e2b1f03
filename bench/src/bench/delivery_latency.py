"""How long an event takes to its endpoint when little happens: published → received."""

from collections.abc import Sequence

from bench import dispatching, stack
from bench.progress import counted
from bench.report import Bound, Figure, Result
from bench.stack import Site
from cli.latency import percentile

ENDPOINTS = 4
EVENTS_A_SECOND = 20
FIRST = 5 * ENDPOINTS
"""Events that open connections and load what is kept, each endpoint's in turn: they are not counted."""
BOUNDS = {50: Bound("at most", 15), 99: Bound("at most", 60)}
"""Milliseconds."""
PERCENTS = (50, 95, 99)


async def measure(site: Site, *, seconds: float) -> Result:
    count = FIRST + round(seconds * EVENTS_A_SECOND)
    async with stack.track(site) as track, dispatching.receiving(site) as receiver:
        subscribers = await dispatching.subscribers(track, receiver.urls(ENDPOINTS))
        async with dispatching.dispatcher(track):
            turns = [subscribers[number % ENDPOINTS] for number in range(count)]
            events = dispatching.events(turns)
            delivery = {event.id: one.delivery(event) for one, event in zip(turns, events, strict=True)}
            with counted(f"{EVENTS_A_SECOND} events a second", count) as show:
                sent = await dispatching.drip(track, dispatching.outgoing(events), a_second=EVENTS_A_SECOND, show=show)
            came = await receiver.has(list(delivery.values()))
    counts = {delivery[event.id]: sent[event.id] for event in events[FIRST:]}
    return _result(came.waits(counts), len(counts))


def _result(waits: Sequence[float], sent: int) -> Result:
    figures = [
        Figure(f"p{percent}", 1000 * (percentile(waits, percent) or float("nan")), "ms", BOUNDS.get(percent))
        for percent in PERCENTS
    ]
    missing = Figure("not received", sent - len(waits), "deliveries", Bound("at most", 0))
    return Result("delivery_latency", [*figures, missing], series={"seconds": waits})
