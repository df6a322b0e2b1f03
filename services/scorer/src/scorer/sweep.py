"""What no fact asks for: customers whom time alone moves, whom others' facts touched, and whole stores."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from scorer.changes import Asked
from scorer.customer import Key
from scorer.store import jobs, orders, rescoring
from scorer.store.jobs import Job
from scorer.worker import Scorer
from shared.db import is_transient
from shared.pause import pause

log = structlog.get_logger()

RESCORE_BATCH = 200
RECOMPUTE_PAGE = 200
CATEGORIES_PAGE = 5000
"""Orders looked at in one statement: mostly index and comparison."""
SWEEP_PAGE = 5000
TELL_EVERY = timedelta(seconds=5)


async def rescore_all_due(scorer: Scorer) -> None:
    """Recalculate the customers who were marked, until none is left. A batch of marks may be of few customers."""
    while await scorer.rescore_due(RESCORE_BATCH):
        pass


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
    while not stop.is_set():
        async with scorer.pool.acquire() as connection:
            job = await jobs.claim(connection)
        if job is None:
            return
        await _do(scorer, job, stop)


async def _do(scorer: Scorer, job: Job, stop: asyncio.Event) -> None:
    """Page by page, each with its progress in one commit. Whoever finds it after a crash goes on behind the last."""
    page = {"recompute": _recompute_page, "categories": _categories_page}[job.kind]
    told_at = scorer.now()
    log.info("job.began", job=str(job.id), kind=job.kind)
    while not stop.is_set():
        try:
            after = await page(scorer, job)
        except Exception as error:
            if is_transient(error):
                raise
            log.error("job.failed", job=str(job.id), kind=job.kind, error=type(error).__name__)
            await jobs.finish(scorer.pool, job.id, scorer.now(), error=type(error).__name__)
            return
        if after is None:
            log.info("job.ended", job=str(job.id), kind=job.kind, done=job.done)
            return
        job = after
        if scorer.now() - told_at > TELL_EVERY:
            told_at = scorer.now()
            log.info("job.progress", job=str(job.id), kind=job.kind, done=job.done)


async def _recompute_page(scorer: Scorer, job: Job) -> Job | None:
    """The next customers, scored anew from their facts. None: that was all, or it was cancelled."""
    await scorer.partitions.cover(scorer.pool, [scorer.now()])
    async with scorer.outbox.transaction() as transaction:
        keys = await rescoring.page(transaction.connection, job.store_id, job.position, RECOMPUTE_PAGE)
        if not keys:
            await jobs.finish(transaction.connection, job.id, scorer.now())
            return None
        after = Job(job.id, job.store_id, job.kind, job.done + len(keys), keys[-1][1])
        if not await jobs.advance(transaction.connection, job, seen=len(keys), position=after.position):
            return None
        due: dict[Key, tuple[Asked]] = dict.fromkeys(keys, ("settings",))
        await scorer.rescore(transaction, due)
        return after


async def _categories_page(scorer: Scorer, job: Job) -> Job | None:
    """The next orders, brought to the catalogue of now; their customers are marked."""
    async with scorer.pool.acquire() as connection, connection.transaction():
        seen, last = await orders.recategorise(connection, job.store_id, int(job.position or 0), CATEGORIES_PAGE)
        if last is None:
            await jobs.finish(connection, job.id, scorer.now())
            return None
        after = Job(job.id, job.store_id, job.kind, job.done + seen, str(last))
        return after if await jobs.advance(connection, job, seen=seen, position=after.position) else None
