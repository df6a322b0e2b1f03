"""What is leased and in memory: waiting in lanes, in flight, or being recorded."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog

from dispatcher import deliveries, store
from dispatcher.attempt import Attempts, Job
from dispatcher.breaker import HEALTHY
from dispatcher.classify import SLOW
from dispatcher.clock import Clock, utc_now
from dispatcher.deliveries import NO_TARGET, Rules
from dispatcher.lanes import Lanes
from dispatcher.recorder import Record, Recorder
from shared.db import Pool, is_transient

log = structlog.get_logger()

RECORDING = 5.0
"""Seconds that a lease must outlast the endpoint's timeout, to record the answer in."""
FRESH = 0.75
"""Share of a lease that always suffices: one that is too short for an endpoint must not stop it for ever."""


class Traffic:
    """Starts jobs as the lanes allow. One place in a lane is held from `take` until the job is recorded."""

    def __init__(
        self,
        *,
        pool: Pool,
        attempts: Attempts,
        recorder: Recorder,
        rules: Rules,
        cap: int,
        lease: timedelta,
        expire_after: timedelta,
        clock: Clock = utc_now,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._rules = rules
        self._attempts = attempts
        self._recorder = recorder
        self._lease = lease.total_seconds()
        self._expire_after = expire_after
        self._lanes: Lanes[Job] = Lanes(cap)
        self._tasks: set[asyncio.Task[None]] = set()
        self._behind: set[UUID] = set()
        self.hungry = asyncio.Event()
        """Set when a lane has room for what was left in the database."""

    def in_flight(self) -> int:
        return len(self._tasks)

    def free(self, target: UUID) -> int:
        return self._lanes.free(target)

    def take(self, target: UUID) -> bool:
        """Take a place for a job to come; without one, the job is left in the database."""
        if self._lanes.take(target):
            return True
        self.leave(target)
        return False

    def give_back(self, target: UUID) -> None:
        self._lanes.give_back(target)
        if target in self._behind and self._lanes.half_free(target):
            self.hungry.set()

    def leave(self, target: UUID) -> None:
        """Note that more of this target is due in the database than was taken up."""
        self._behind.add(target)
        if self._lanes.half_free(target):
            self.hungry.set()

    def take_behind(self) -> list[UUID]:
        """Targets of which more was left, and which have room; forgotten with this."""
        self.hungry.clear()
        ready = [target for target in self._behind if self._lanes.half_free(target)]
        self._behind.difference_update(ready)
        return ready

    def start(self, jobs: Sequence[Job]) -> None:
        """Queue jobs in the places taken for them."""
        for job in jobs:
            if job.target and job.target.pace:
                self._lanes.pin(job.delivery.target_id)  # before the first of them starts, not when it does
            self._lanes.put(job.delivery.target_id, job)
        self._pump()

    def _pump(self) -> None:
        while started := self._lanes.next():
            task = asyncio.create_task(self._fly(*started), name="deliveries")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fly(self, target_id: UUID, job: Job) -> None:
        """This job, and then whichever's turn it is: a task is too dear to be made for each."""
        await self._land(target_id, job)
        while started := self._lanes.next():
            self._pump()  # a lane that became wider lets more than one start
            await self._land(*started)

    async def _land(self, target_id: UUID, job: Job) -> None:
        record = None
        try:
            record = await self._paced(job)
            self._adapt(target_id, record)
        except Exception as error:  # noqa: BLE001  # a mistake of ours is loud, and stops nothing
            # Its lease runs out, and `due` finds it again.
            log.error("delivery.crashed", delivery=str(job.delivery.id), error=type(error).__name__)
        finally:
            self._lanes.landed(target_id)
            give_back = partial(self.give_back, target_id)
            if record:
                self._attempts.take_down(record, give_back)
            else:
                give_back()

    def _adapt(self, target_id: UUID, record: Record | None) -> None:
        """As many at once as a target shows that it can take."""
        answer = record and record.answer
        if not answer:
            return
        if answer.complaint is None:
            self._lanes.widen(target_id)
        elif answer.phase is not None or answer.status_code in SLOW:
            self._lanes.narrow(target_id)

    async def _paced(self, job: Job) -> Record | None:
        """The outcome; where the target takes one delivery in a time, its lane stays taken until that is over."""
        pace = job.target.pace if job.target else None
        if pace is None:
            return await self._outcome(job)
        record, _ = await asyncio.gather(self._outcome(job), asyncio.sleep(pace.total_seconds()))
        return record

    async def _outcome(self, job: Job) -> Record | None:
        """What is to be recorded; None: it is not for now, `due` finds it again."""
        target, now = job.target, self._clock()
        step = deliveries.suppressed(job.delivery, target, now=now, expire_after=self._expire_after)
        if step or target is None:
            return self._attempts.unsent(job, step or NO_TARGET)
        breaker = self._recorder.outages.get(target.id, HEALTHY)
        if breaker.is_slow(now):
            await _release(self._pool, [job])
            return None
        if breaker.is_open and job.delivery.mode == "retry" and not (job.probe or job.delivery.asked):
            return self._attempts.unsent(job, deliveries.parked(job.delivery, now=now, rules=self._rules))
        if job.lease_left() < min(target.timeout + RECORDING, self._lease * FRESH):
            return None
        return await self._attempts.send(job, target)

    async def finish(self, *, within: float) -> None:
        """Start nothing more, give back what did not start, wait for what is in flight, then for its records."""
        unstarted = self._lanes.clear()
        if unstarted:
            await _release(self._pool, unstarted)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within)
            for task in late:
                task.cancel()
            if late:
                log.warning("delivery.unfinished", attempts=len(late), hint="made again when their leases run out")
        await self._recorder.drained()


async def _release(pool: Pool, jobs: Sequence[Job]) -> None:
    try:
        await store.release(pool, [(job.delivery, job.lease) for job in jobs])
    except Exception as error:
        if not is_transient(error):
            raise
        log.warning("delivery.not_released", deliveries=len(jobs), error=type(error).__name__)
