"""Thousands of customers at one address: what each costs must not grow with those who are there already."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median

from bench import people, scoring, stack
from bench.report import Bound, Figure, Result
from bench.stack import Site, Track
from bench.webhooks import outgoing

STEP = 1000
GROWTH = Bound("at most", 1.3)
"""Of the last quarter's time for as many customers to the second's: before that the address is no hub yet, and all
that a process does for the first time is in the first."""


async def measure(site: Site, *, count: int, now: datetime) -> Result:
    facts = people.orders_of_one_house(site.shops[0], count, at=now - timedelta(days=30))
    async with stack.track(site) as track:
        run = await scoring.through(track, outgoing(facts), f"{count:,} customers of one address")
        due = await _left(track)
    steps = run.commits.steps(STEP)
    figures = [
        Figure("customers of one address", count, "customers"),
        Figure("in all", sum(steps), "seconds"),
        Figure(f"per {STEP:,}, median", median(steps), "seconds"),
        Figure(
            "recalculations of neighbours", run.told.value("trustlens_scorer_rescored_total", asked="link"), "times"
        ),
        Figure("neighbours still due", due, "customers"),
        Figure("peak memory", run.peak_memory / 2**20, "MiB"),
    ]
    if len(steps) >= 8:  # else there are no quarters to compare
        figures.insert(3, Figure("last quarter to second", growth(steps), "times", GROWTH))
    return Result("hub", figures, series={f"seconds per {STEP:,}": steps})


def growth(steps: Sequence[float]) -> float:
    quarter = len(steps) // 4
    return median(steps[-quarter:]) / median(steps[quarter : 2 * quarter])


async def _left(track: Track) -> int:
    async with stack.connected(track) as pool:
        return int(await pool.fetchval("SELECT count(DISTINCT email_hash) FROM scorer.rescore_due"))
