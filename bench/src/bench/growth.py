"""What a fact costs in small tables and in large ones."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from statistics import median

from bench import people, population, scoring, stack
from bench.population import ORDERS_EACH
from bench.report import Bound, Figure, Result
from bench.stack import Shop, Site
from bench.webhooks import outgoing
from shared.events import OrderFact

RATIO = Bound("at most", 1.3)


def facts(shop: Shop, customers: int, count: int, *, now: datetime) -> list[OrderFact]:
    """For customers spread over the whole table: new orders, some to a new address, and full refunds of old ones."""
    found = list(_facts(shop, customers, count, now))
    Random(1).shuffle(found)  # noqa: S311  # chance, not secrecy
    return found


def _facts(shop: Shop, customers: int, count: int, now: datetime) -> Iterator[OrderFact]:
    for nth in range(count):
        by = nth * customers // count + 1
        at = now - timedelta(minutes=count - nth)
        match nth % 10:
            case 0 | 1:
                yield people.order_fact(shop, by, by=by, at=at, created_at=now - timedelta(days=400), refunded=True)
            case 2:
                prints = people.fingerprints(shop, by, {"shipping_address": f"new house {by}"})
                yield people.order_fact(shop, customers * ORDERS_EACH + nth + 1, by=by, at=at, prints=prints)
            case _:
                yield people.order_fact(shop, customers * ORDERS_EACH + nth + 1, by=by, at=at)


async def measure(site: Site, *, small: int, large: int, count: int, rounds: int, now: datetime) -> Result:
    templates = {customers: await population.template(site, customers) for customers in (small, large)}
    runs: dict[int, list[scoring.Run]] = {small: [], large: []}
    for number in range(1, rounds + 1):
        for customers, template in templates.items():
            messages = outgoing(facts(site.shops[0], customers, count, now=now))
            async with stack.track(site, template=template) as track:
                text = f"{customers:,} customers {number}/{rounds}"
                runs[customers].append(await scoring.through(track, messages, text))
    return _result(runs)


def _result(runs: dict[int, list[scoring.Run]]) -> Result:
    micros = {customers: [run.micros for run in some] for customers, some in runs.items()}
    small, large = (median(some) for some in micros.values())
    return Result(
        "growth",
        [
            *(
                Figure(f"with {n:,} customers, {n * ORDERS_EACH:,} orders", median(some), "µs/fact")
                for n, some in micros.items()
            ),
            Figure("large to small", large / small, "times", RATIO),
            *_splits(runs),
        ],
        series={f"µs/fact with {customers:,}": some for customers, some in micros.items()},
    )


def _splits(runs: dict[int, list[scoring.Run]]) -> Sequence[Figure]:
    return [
        Figure(f"{name} with {customers:,}", median(run.split()[name] for run in some), "µs/fact")
        for customers, some in runs.items()
        for name in ("decide", "SQL")
    ]
