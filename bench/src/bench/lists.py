"""How long pages of a list of many customers take, and the statistics of their store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from math import nan
from pathlib import Path

from bench import asking, stack
from bench.asking import Client
from bench.progress import counted
from bench.report import Bound, Figure, Result
from bench.stack import Site, Track
from cli.latency import percentile
from shared.events import SEGMENTS

CHUNK = 50_000
KEYS = ("trust_score", "total_orders", "return_rate", "created_at")
ORDERS = ("asc", "desc")
_SQL = (Path(__file__).parent / "lists.sql").read_text()


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests that have a bound in common."""

    name: str
    paths: Sequence[str]
    bound: Bound
    """Of the p95, in milliseconds."""


def asked(customers: int, now: datetime) -> list[Asked]:
    middle = f"per_page=100&page={max(customers // 200, 1)}"
    month = f"{now - timedelta(days=30):%Y-%m-%d}"
    others = [
        *("tag=wholesale", "tag=b2b&segment=risk", "min_score=40&max_score=60", "max_score=0", "min_score=0"),
        *(f"last_order_after={month}", f"last_order_before={month}&blocked=false", "email=c7@bench.example"),
    ]
    soon, later = Bound("at most", 30), Bound("at most", 400)
    return [
        Asked("page 1", list(_sorted(["per_page=100"])), soon),
        Asked("page 1 of a segment", list(_sorted([f"per_page=100&segment={name}" for name in SEGMENTS])), soon),
        Asked("page 1 by blocked", list(_sorted([f"per_page=100&blocked={flag}" for flag in ("true", "false")])), soon),
        Asked("page 1 by other filters", list(_sorted([f"per_page=100&{other}" for other in others])), later),
        Asked("the page in the middle", list(_sorted([middle])), Bound("at most", 150)),
        Asked("statistics", ["/stats", "/stats/segments"], Bound("at most", 50)),
    ]


def _sorted(filters: Sequence[str]) -> Iterator[str]:
    for key, order, filtered in product(KEYS, ORDERS, filters):
        yield f"/customers?{filtered}&orderby={key}&order={order}"


async def measure(site: Site, *, customers: int, rounds: int) -> Result:
    async with stack.track(site) as track:
        await fill(track, customers)
        async with asking.client(track) as client:
            times = [(one, await _ask(client, one, rounds)) for one in asked(customers, datetime.now(UTC))]
    return _result(times)


async def fill(track: Track, customers: int) -> None:
    """Of the first shop."""
    async with stack.connected(track) as pool:
        with counted(f"lists: {customers:,} customers", customers) as show:
            for low in range(1, customers + 1, CHUNK):
                high = min(low + CHUNK - 1, customers)
                await pool.execute(_SQL, track.site.shops[0].id, low, high)
                show(high)
            await pool.execute("VACUUM (ANALYZE) scorer.customers, scorer.listed, scorer.stats_deltas")


async def _ask(client: Client, one: Asked, rounds: int) -> list[float]:
    """Milliseconds, each path `rounds` times; the first round, which plans and reads what nobody had asked for, not."""
    times: list[float] = []
    with counted(f"lists: {one.name}", rounds) as show:
        for number in range(rounds + 1):
            found = [1000 * await client.get(path) for path in one.paths]
            times += found if number else []
            show(number)
    return times


def _result(times: Sequence[tuple[Asked, list[float]]]) -> Result:
    figures = []
    for one, found in times:
        figures.append(Figure(f"{one.name}, median", percentile(found, 50) or nan, "ms"))
        figures.append(Figure(f"{one.name}, p95", percentile(found, 95) or nan, "ms", one.bound))
    return Result("lists", figures, series={f"{one.name}, ms": found for one, found in times})
