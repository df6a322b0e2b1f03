"""What no fact asks for: customers whom time alone moves, whom others' facts touched, and whole stores."""

import asyncio
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog

from scorer.changes import Asked
from scorer.store import orders, rescoring
from scorer.store.rescoring import Due
from scorer.worker import Scorer
from shared.db import is_transient
from shared.jobs import Job, Jobs, Page
from shared.outbox import Transaction
from shared.pause import pause

log = structlog.get_logger()

RESCORE_BATCH = 200
RECOMPUTE_PAGE = 200
CATEGORIES_PAGE = 5000
"""Orders looked at in one statement: mostly index and comparison."""
SWEEP_PAGE = 5000


async def rescore_all_due(scorer: Scorer) -> None:
    """Recalculate the customers who were marked, until none is left. A batch of marks may be of few customers.

    One that cannot be recalculated is found by halving, told and passed over: it stops no other.
    """
    limit = RESCORE_BATCH
    while True:
        try:
            taken = await scorer.rescore_due(limit)
        except Exception as error:
            if is_transient(error):
                raise
            if limit == 1:
                await _pass_over(scorer, error)
            limit = max(limit // 2, 1) if limit > 1 else RESCORE_BATCH
        else:
            if not taken:
                return
            limit = RESCORE_BATCH


async def _pass_over(scorer: Scorer, error: Exception) -> None:
    """Take the first mark away: its customer keeps the score it has, until a fact or a recompute comes."""
    async with scorer.pool.acquire() as connection, connection.transaction():
        for store_id, email_hash in await rescoring.take(connection, 1):
            log.error("rescore.failed", store=str(store_id), customer=email_hash[:12], error=type(error).__name__)


async def sweep(scorer: Scorer, now: datetime, store_id: UUID | None = None) -> int:
    """Mark every customer (of one store, or of all) whose score can have changed by time alone; how many."""
    total = 0
    while True:
        async with scorer.pool.acquire() as connection, connection.transaction():
            marked = await rescoring.mark_moved_by_time(connection, now, SWEEP_PAGE, store_id)
        total += marked
        if marked < SWEEP_PAGE:
            log.info("sweep.marked", customers=total)
            return total


async def sweep_nightly(scorer: Scorer, hour: int, stop: asyncio.Event) -> None:
    """At once, then every night at `hour` (UTC). A long task.

    Replicas do not agree on one of them: what one has marked another does not find.
    """
    while True:
        try:
            await sweep(scorer, scorer.now())
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("sweep.skipped", error=type(error).__name__)
        if await pause(until_next(scorer.now(), hour).total_seconds(), stop):
            return


def until_next(now: datetime, hour: int) -> timedelta:
    """From `now` to the next time that it is `hour` o'clock, UTC."""
    tonight = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    return (tonight if tonight > now else tonight + timedelta(days=1)) - now


async def do_jobs(scorer: Scorer, stop: asyncio.Event) -> None:
    """Do what is queued, one job after the other."""

    async def recompute(transaction: Transaction, job: Job) -> Job | None:
        return await _recompute_page(scorer, transaction, job)

    pages: dict[str, Page] = {
        "recompute": recompute,
        "categories": partial(_categories_page, reason="categories"),
        "history_categories": partial(_categories_page, reason="history"),
    }
    await Jobs(scorer.pool, scorer.outbox, "scorer", pages).run_queued(stop)


async def _recompute_page(scorer: Scorer, transaction: Transaction, job: Job) -> Job | None:
    """The next customers, scored anew from their facts."""
    keys = await rescoring.page(transaction.connection, job.store_id, job.position, RECOMPUTE_PAGE)
    if not keys:
        return None
    await scorer.partitions.cover(scorer.pool, [scorer.now()])
    await scorer.rescore(transaction, dict.fromkeys(keys, Due(frozenset({"settings"}))))
    return job.further(seen=len(keys), position=keys[-1][1])


async def _categories_page(transaction: Transaction, job: Job, *, reason: Asked) -> Job | None:
    """The next orders, brought to the catalogue of now; their customers are marked."""
    seen, last = await orders.recategorise(
        transaction.connection, job.store_id, int(job.position or 0), CATEGORIES_PAGE, reason
    )
    return None if last is None else job.further(seen=seen, position=str(last))
