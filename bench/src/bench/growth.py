"""What a fact costs in small tables and in large ones."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from statistics import median

from bench import people, population, scoring, stack
from bench.population import ORDERS_EACH, Population
from bench.report import Bound, Figure, Result
from bench.scoring import Run
from bench.stack import Shop, Site
from bench.webhooks import outgoing
from shared.events import OrderFact

RATIO = Bound("at most", 1.3)
KINDS = 10


def facts(shop: Shop, of: Population, count: int, *, now: datetime, wave: int = 0) -> list[OrderFact]:
    """For people spread over the whole table: new orders, some to a new address, full refunds of old ones.

    Each wave is for the same people.
    """
    found = list(_facts(shop, of, count, now, wave))
    Random(wave).shuffle(found)  # noqa: S311  # chance, not secrecy
    return found


def _facts(shop: Shop, of: Population, count: int, now: datetime, wave: int) -> Iterator[OrderFact]:
    for nth in range(count):
        by, at = person(nth, of.customers, count), now - timedelta(minutes=count - nth)
        new = of.customers * ORDERS_EACH + wave * count + nth + 1
        match nth // KINDS % KINDS:
            case 0 | 1:
                placed = people.ordered_at(of.began, by, wave)
                old = wave * of.customers + by
                yield people.order_fact(shop, old, by=by, at=at, created_at=placed, refunded=True)
            case 2:
                prints = people.fingerprints(shop, by, {"shipping_address": f"new house {by} {wave}"})
                yield people.order_fact(shop, new, by=by, at=at, prints=prints)
            case _:
                yield people.order_fact(shop, new, by=by, at=at)


def person(nth: int, customers: int, count: int) -> int:
    """Spread evenly, with the same last digits whatever the size: they say who is linked to whom."""
    return nth * customers // count // KINDS * KINDS + nth % KINDS + 1


async def measure(site: Site, *, small: int, large: int, count: int, rounds: int, now: datetime) -> Result:
    populations = [await population.template(site, customers) for customers in (small, large)]
    runs: dict[int, list[Run]] = {small: [], large: []}
    for number in range(1, rounds + 1):
        for of in populations:
            waves = [facts(site.shops[0], of, count, now=now, wave=wave) for wave in (0, 1)]
            async with stack.track(site, template=of.template) as track:
                text = f"{of.customers:,} customers {number}/{rounds}"
                runs[of.customers].append(await scoring.through(track, outgoing(waves[0] + waves[1]), text))
    return _result(runs, count)


def _result(runs: dict[int, list[Run]], count: int) -> Result:
    """The first wave finds its pages on disk or in the system's cache, the second in Postgres' own."""
    first = {customers: [run.commits.micros(0, count) for run in some] for customers, some in runs.items()}
    second = {customers: [run.commits.micros(count) for run in some] for customers, some in runs.items()}
    return Result(
        "growth",
        [
            *_sizes("seen for the first time", first),
            Figure("large to small, first time", _ratio(first), "times", RATIO),
            *_sizes("seen again", second),
            Figure("large to small, again", _ratio(second), "times", RATIO),
            *_splits(runs),
            *_neighbours(runs),
        ],
        series={f"first time, {customers:,}": some for customers, some in first.items()}
        | {f"again, {customers:,}": some for customers, some in second.items()},
    )


def _sizes(when: str, micros: dict[int, list[float]]) -> list[Figure]:
    return [Figure(f"one of {customers:,}, {when}", median(some), "µs/fact") for customers, some in micros.items()]


def _ratio(micros: dict[int, list[float]]) -> float:
    small, large = (median(some) for some in micros.values())
    return large / small


def _neighbours(runs: dict[int, list[Run]]) -> list[Figure]:
    """The tables are comparable only where facts touch about as many others."""
    return [
        Figure(
            f"neighbours recalculated, of {customers:,}",
            median(run.told.value("trustlens_scorer_rescored_total", asked="link") for run in some),
            "times",
        )
        for customers, some in runs.items()
    ]


def _splits(runs: dict[int, list[Run]]) -> Sequence[Figure]:
    return [
        Figure(f"{name}, one of {customers:,}", median(run.split()[name] for run in some), "µs/fact")
        for customers, some in runs.items()
        for name in ("decide", "SQL")
    ]
