"""Long work as rows of `<schema>.jobs`: claimed with a lease, done in pages, with progress, cancelled by whoever asks.

Each page commits together with its progress. So whoever finds a job after a crash goes on behind its last page; of one
that carries what it found so far in memory, from its beginning.

What a page has to wait for outside Postgres is prepared before its transaction begins.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, assert_never
from uuid import UUID

import structlog

from shared.db import Connection, Pool, is_transient
from shared.jsontext import dumps
from shared.outbox import Outbox, Transaction
from shared.pause import pause

log = structlog.get_logger()

LEASE = timedelta(seconds=30)
"""How long nobody else goes on with a job whose last page was done by somebody."""
LATER = timedelta(seconds=1)
"""How long a job rests whose next page has to wait; others are done meanwhile."""
RENEW_EVERY = 10.0
"""Seconds between two looks whether a job whose page is being prepared is still ours."""
LOOK_EVERY = 1.0
"""Seconds between two looks for jobs, where nothing wakes whoever does them."""
TELL_EVERY = 5.0
"""Seconds between two lines about the progress of one job."""


@dataclass(frozen=True, slots=True)
class Job:
    id: UUID
    store_id: UUID
    kind: str
    done: int = 0
    position: str = ""
    """Where to go on. "": at the beginning."""
    params: Mapping[str, Any] = field(default_factory=dict)
    total: int | None = None
    """Of how many; None: as it was, or nobody knows."""
    carried: Any = field(default=None, compare=False, repr=False)
    """What its pages hand on in memory. None: at the beginning, or whoever had it is gone: it begins again."""

    def further(self, *, seen: int, position: str) -> "Job":
        """With one more page done."""
        return replace(self, done=self.done + seen, position=position)


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a job that was to find something out; `result` is JSON."""

    result: Mapping[str, Any]


Page = Callable[[Transaction, Job], Awaitable[Job | Found | None]]
"""Does the next page in the transaction it is given; the job behind that page, or None, or what it found: there was
nothing more.

The job as it was: its next page has to wait.
"""


Prepare = Callable[[Job], Awaitable[Page]]
"""Waits for whatever the next page needs from outside, and tells how to do that page."""


class GivenUpError(Exception):
    """The job cannot be done. The error is told to whoever asked for it, in its own words.

    Nothing of the page is kept, so that a job which begins at its position goes on there. `result`: what it had found.
    """

    def __init__(self, words: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(words)
        self.result = result


def _ended(task: "asyncio.Task[None]") -> bool:
    """Raises what a mistake of ours ended it with."""
    if task.done():
        task.result()
    return task.done()


class _NoMoreError(Exception):
    """Nothing more of it is done here: it is given up, or cancelled, or another replica has it, or we are to stop."""


class Jobs:
    """One service's jobs. `pages`: how each kind does a page; `prepared`: those that first wait for others."""

    def __init__(
        self,
        pool: Pool,
        outbox: Outbox,
        schema: str,
        pages: Mapping[str, Page],
        *,
        prepared: Mapping[str, Prepare] | None = None,
    ) -> None:
        self._pool = pool
        self._outbox = outbox
        self._table = f"{schema}.jobs"
        self._pages = pages
        self._prepared = prepared or {}

    async def run_queued(self, stop: asyncio.Event) -> None:
        """Do what is queued, one job after the other, until nothing is left or `stop`."""
        while not stop.is_set() and (job := await self._claim()):
            await self._run(job, stop)

    async def run_side_by_side(self, at_once: int, stop: asyncio.Event) -> None:
        """Do what is queued, so many jobs at once, until `stop` and their ends. A long task.

        Of one store's, one of each kind: its others wait, and hold up no other store's.
        """
        running: dict[asyncio.Task[None], Job] = {}
        try:
            while not stop.is_set():
                if len(running) < at_once and (job := await self._claim_soon(list(running.values()))):
                    running[asyncio.create_task(self._run_or_leave(job, stop), name=f"job.{job.kind}")] = job
                else:
                    await pause(LOOK_EVERY, stop)
                running = {task: job for task, job in running.items() if not _ended(task)}
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()

    async def _claim_soon(self, running: Sequence[Job]) -> Job | None:
        """None also where the database is away."""
        try:
            return await self._claim(running)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("jobs.waiting", error=type(error).__name__)
            return None

    async def _run_or_leave(self, job: Job, stop: asyncio.Event) -> None:
        """What the database interrupts is found again once its lease is over."""
        try:
            await self._run(job, stop)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("job.left", job=str(job.id), kind=job.kind, error=type(error).__name__)

    async def _claim(self, running: Sequence[Job] = ()) -> Job | None:
        """The oldest job that nobody is doing, and that is not of the store and kind of one that we are."""
        row = await self._pool.fetchrow(
            f"UPDATE {self._table} SET state = 'running', leased_until = now() + $1 WHERE id = ("
            f" SELECT id FROM {self._table} WHERE (state = 'queued' OR (state = 'running' AND leased_until < now()))"
            " AND (store_id, kind) NOT IN (SELECT * FROM unnest($2::uuid[], $3::text[]))"
            " ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)"
            " RETURNING id, store_id, kind, done, coalesce(position, '') AS position, params",
            LEASE,
            [job.store_id for job in running],
            [job.kind for job in running],
        )
        return row and Job(**{**row, "params": json.loads(row["params"])})

    async def _run(self, job: Job, stop: asyncio.Event) -> None:
        told = asyncio.get_running_loop().time()
        if not job.position:
            log.info("job.began", job=str(job.id), kind=job.kind)
        while not stop.is_set():
            try:
                after = await self._next(job, stop)
            except _NoMoreError:
                break
            except Exception as error:
                if is_transient(error):
                    raise
                log.error("job.failed", job=str(job.id), kind=job.kind, error=type(error).__name__)
                await self._finish(self._pool, job, error=type(error).__name__)
                return
            if not isinstance(after, Job):
                log.info("job.ended", job=str(job.id), kind=job.kind, done=job.done)
                return
            if after == job:
                return
            job = after
            if asyncio.get_running_loop().time() - told > TELL_EVERY:
                told = asyncio.get_running_loop().time()
                log.info("job.progress", job=str(job.id), kind=job.kind, done=job.done)
        if stop.is_set():
            await self._give_back(job)

    async def _next(self, job: Job, stop: asyncio.Event) -> Job | Found | None:
        """As `_page`.

        Raises:
            _NoMoreError: it is given up, or we are to stop.
        """
        try:
            return await self._page(job, await self._prepare(job, stop))
        except GivenUpError as error:
            log.warning("job.given_up", job=str(job.id), kind=job.kind, done=job.done)
            await self._finish(self._pool, job, error=str(error), result=dumps(error.result) if error.result else None)
            raise _NoMoreError from None

    async def _page(self, job: Job, prepared: Page | None = None) -> Job | Found | None:
        """No job: that was all, or it was cancelled, or another replica has it."""
        page = prepared or self._pages[job.kind]
        async with self._outbox.transaction() as transaction:
            if not await self._hold(transaction.connection, job):
                return None
            after = await page(transaction, job)
            match after:
                case Job():
                    await self._advance(transaction.connection, after, LATER if after == job else LEASE)
                case Found():
                    await self._finish(transaction.connection, job, result=dumps(after.result))
                case None:
                    await self._finish(transaction.connection, job)
                case _:
                    assert_never(after)
            return after

    async def _prepare(self, job: Job, stop: asyncio.Event) -> Page | None:
        """None: its kind waits for nobody.

        Raises:
            _NoMoreError: the job was taken from us while we waited, or `stop` was set.
        """
        if job.kind not in self._prepared:
            return None
        preparing = asyncio.ensure_future(self._prepared[job.kind](job))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not preparing.done():
                await asyncio.wait({preparing, stopping}, timeout=RENEW_EVERY, return_when=asyncio.FIRST_COMPLETED)
                if not preparing.done() and (stop.is_set() or not await self._renew(job)):
                    raise _NoMoreError
            return preparing.result()
        finally:
            preparing.cancel()
            stopping.cancel()

    async def _renew(self, job: Job) -> bool:
        """Hold on to it for a while longer; False: it is not ours any more."""
        status = await self._pool.execute(
            f"UPDATE {self._table} SET leased_until = now() + $3 WHERE id = $1 AND state = 'running'"
            " AND coalesce(position, '') = $2",
            job.id,
            job.position,
            LEASE,
        )
        return bool(status == "UPDATE 1")

    async def _give_back(self, job: Job) -> None:
        """So that it is gone on with at once by whoever comes next."""
        await self._pool.execute(
            f"UPDATE {self._table} SET leased_until = now() WHERE id = $1 AND state = 'running'"
            " AND coalesce(position, '') = $2",
            job.id,
            job.position,
        )

    async def _hold(self, connection: Connection, job: Job) -> bool:
        """Whether the job still stands where we left it; nobody else touches it until the commit."""
        return bool(
            await connection.fetchval(
                f"SELECT true FROM {self._table} WHERE id = $1 AND state = 'running'"
                " AND coalesce(position, '') = $2 FOR UPDATE",
                job.id,
                job.position,
            )
        )

    async def _advance(self, connection: Connection, job: Job, lease: timedelta) -> None:
        await connection.execute(
            f"UPDATE {self._table} SET done = $2, total = greatest(coalesce($5, total), $2), position = $3,"
            " error = NULL, leased_until = now() + $4 WHERE id = $1",
            job.id,
            job.done,
            job.position,
            lease,
            job.total,
        )

    async def _finish(
        self, connection: Connection | Pool, job: Job, *, error: str | None = None, result: str | None = None
    ) -> None:
        await connection.execute(
            f"UPDATE {self._table} SET state = $2, error = $3, result = $4, finished_at = now(), leased_until = NULL"
            " WHERE id = $1 AND state = 'running' AND coalesce(position, '') = $5",
            job.id,
            "failed" if error else "done",
            error,
            result,
            job.position,
        )


async def queue(connection: Connection, schema: str, job: Job, *, total: int | None, once: bool = False) -> UUID:
    """The id of a job that will be done from its position on. `once`: one of its kind that waits already will do."""
    waiting = once and await connection.fetchval(
        f"SELECT id FROM {schema}.jobs WHERE store_id = $1 AND kind = $2 AND state = 'queued' LIMIT 1 FOR UPDATE",
        job.store_id,
        job.kind,
    )
    if waiting:
        return UUID(str(waiting))
    await connection.execute(
        f"INSERT INTO {schema}.jobs (id, store_id, kind, params, state, total, done, position, created_at)"
        " VALUES ($1, $2, $3, $4, 'queued', $5, $6, nullif($7, ''), now())",
        job.id,
        job.store_id,
        job.kind,
        json.dumps(dict(job.params)),
        total,
        job.done,
        job.position,
    )
    return job.id


async def cancel(connection: Connection | Pool, schema: str, store_id: UUID, job_id: UUID) -> bool:
    """False: the store has no such job. One that is over stays as it is."""
    await connection.execute(
        f"UPDATE {schema}.jobs SET state = 'cancelled', error = NULL, finished_at = now(), leased_until = NULL"
        " WHERE id = $1 AND store_id = $2 AND state IN ('queued', 'running')",
        job_id,
        store_id,
    )
    return bool(
        await connection.fetchval(
            f"SELECT EXISTS (SELECT FROM {schema}.jobs WHERE id = $1 AND store_id = $2)", job_id, store_id
        )
    )
