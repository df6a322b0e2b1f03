"""Many facts of one customer at once: how often that customer is recalculated."""

from datetime import datetime, timedelta

from bench import people, scoring, stack
from bench.report import Figure, Result
from bench.stack import Site
from bench.webhooks import outgoing


async def measure(site: Site, *, count: int, now: datetime) -> Result:
    shop = site.shops[0]
    facts = [people.order_fact(shop, n, by=1, at=now - timedelta(hours=count - n)) for n in range(1, count + 1)]
    async with stack.track(site) as track:
        run = await scoring.through(track, outgoing(facts), f"{count} facts of one customer")
    return Result(
        "burst",
        [
            Figure("facts of one customer", count, "facts"),
            Figure("recalculations", run.told.value("trustlens_scorer_rescored_total", asked="fact"), "times"),
            Figure("batches", run.told.value("trustlens_batch_seconds_count", queue=scoring.QUEUE), "batches"),
            Figure(
                "from taking to the ack", run.told.value("trustlens_batch_seconds_sum", queue=scoring.QUEUE), "seconds"
            ),
        ],
    )
