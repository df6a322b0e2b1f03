"""What waits in the database: retries, what found no room in memory, and what a dead dispatcher left behind."""

import asyncio
import time
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from dispatcher import breaker as breakers
from dispatcher import store
from dispatcher.attempt import Job
from dispatcher.breaker import HEALTHY, Breaker
from dispatcher.clock import Clock, utc_now
from dispatcher.deliveries import Delivery
from dispatcher.directory import Directory
from dispatcher.metrics import GIVEN_UP, OLDEST_DUE, PARKED
from dispatcher.recorder import Recorder
from dispatcher.traffic import Traffic
from shared import traces
from shared.db import Connection, Pool, is_transient
from shared.ids import uuid7
from shared.steps import Step

log = structlog.get_logger()

GAUGES_EVERY = 15.0
"""Seconds between two looks at how much waits: as often as metrics are usually fetched."""
AT_ONCE = 2000
"""Deliveries that one look takes up, of all targets together: none is sent before all of them are loaded. Measured with
1,000 endpoints that had much due: all that fitted was 32,000, and the first was sent after 9 seconds."""
IDLE = 4
"""How many times the usual pause grows while nothing is due."""


class Due:
    def __init__(
        self,
        *,
        pool: Pool,
        directory: Directory,
        traffic: Traffic,
        recorder: Recorder,
        lease: timedelta,
        park_for: timedelta,
        poll_seconds: float,
        clock: Clock = utc_now,
    ) -> None:
        self._clock = clock
        self._next_gauges = 0.0
        self._recorder = recorder
        self._park_for = park_for
        self._pool = pool
        self._directory = directory
        self._traffic = traffic
        self._lease = lease
        self._poll = poll_seconds
        self.step = Step("due")

    async def run(self, stop: asyncio.Event) -> None:
        """Look at all targets now and then, and at those with room again at once. A long task."""
        pause, next_look = self._poll, 0.0
        while not stop.is_set():
            behind = self._traffic.take_behind()
            if time.monotonic() >= next_look:
                pause = self._poll if await self._patiently(None) else min(pause * 2, self._poll * IDLE)
                next_look = time.monotonic() + pause
            elif behind:
                await self._patiently(behind)
            await self._rest(next_look - time.monotonic(), stop)

    async def _rest(self, seconds: float, stop: asyncio.Event) -> None:
        waiting = [asyncio.create_task(event.wait()) for event in (stop, self._traffic.hungry)]
        await asyncio.wait(waiting, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    async def _patiently(self, targets: Collection[UUID] | None) -> int:
        try:
            with self.step:
                return await self.take_up(targets)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("due.waiting", error=type(error).__name__)
            return 0

    async def take_up(self, targets: Collection[UUID] | None = None) -> int:
        """Lease and start what is due for these targets (None: for all) and fits; how many that were."""
        lease, lease_ends = uuid7(), time.monotonic() + self._lease.total_seconds()
        placed: list[Delivery] = []
        jobs: list[Job] = []
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                rooms, outages = await self._rooms(connection, targets)
                if targets is None:
                    await self._measure(connection, rooms, outages)
                rooms = shares(rooms)
                claimed, probes = await self._claim(connection, rooms, outages, lease)
                placed = [d for d in claimed if self._traffic.take(d.target_id)]
                await self._let_go(connection, claimed, placed, lease)
                loaded = await self._jobs(connection, placed, probes, lease, lease_ends) if placed else []
            jobs = loaded
        finally:
            started = {job.delivery.id for job in jobs}
            for delivery in placed:
                if delivery.id not in started:
                    self._traffic.give_back(delivery.target_id)
        self._note_more(rooms, placed)
        self._traffic.start(jobs)
        return len(jobs)

    async def _rooms(
        self, connection: Connection, targets: Collection[UUID] | None
    ) -> tuple[dict[UUID, int], dict[UUID, Breaker]]:
        """The targets that may be called now, with their room; and the breakers of those in trouble."""
        looked_at = await store.unfinished_targets(connection) if targets is None else targets
        outages = await store.breakers(connection, looked_at)
        self._recorder.see({target: outages.get(target, HEALTHY) for target in looked_at})
        await self._let_out_stranded(connection, looked_at)
        now = self._clock()
        rooms = {
            target: room
            for target in looked_at
            if not outages.get(target, HEALTHY).is_slow(now) and (room := self._traffic.free(target)) > 0
        }
        return rooms, outages

    async def _measure(self, connection: Connection, rooms: Collection[UUID], outages: Mapping[UUID, Breaker]) -> None:
        if time.monotonic() < self._next_gauges:
            return
        self._next_gauges = time.monotonic() + GAUGES_EVERY
        down = [target for target, breaker in outages.items() if breaker.is_open]
        oldest = await store.oldest_due(connection, set(rooms) - set(down))
        OLDEST_DUE.set(max((self._clock() - oldest).total_seconds(), 0.0) if oldest else 0.0)
        PARKED.set(await store.count_parked(connection, down))

    async def _let_out_stranded(self, connection: Connection, targets: Collection[UUID]) -> None:
        """One of us may have parked a delivery after another saw its endpoint back."""
        for target in await store.stranded(connection, targets):
            released = await store.let_out(connection, target, now=self._clock())
            log.info("endpoint.back", endpoint=str(target), released=released)

    async def _claim(
        self, connection: Connection, rooms: dict[UUID, int], outages: dict[UUID, Breaker], lease: UUID
    ) -> tuple[list[Delivery], set[UUID]]:
        """What is due, and a probe for each target that is down and to be probed: (deliveries, the probes' ids)."""
        now = self._clock()
        down = [target for target, breaker in outages.items() if breaker.is_open]
        ours = await store.lock_free_breakers(connection, down) if down else {}
        parking = [target for target, breaker in ours.items() if breaker.is_open]
        if parking:
            await store.park(connection, parking, self._park_for, now=now)  # what came since it opened
        probes = [
            probe
            for target in parking
            if target in rooms and (probe := await self._probe(connection, target, ours[target], lease, now))
        ]
        claimed = (
            await store.claim(connection, rooms, down=down, lease=lease, lease_for=self._lease, now=now)
            if rooms
            else []
        )
        return [*probes, *claimed], {probe.id for probe in probes}

    async def _probe(
        self, connection: Connection, target: UUID, breaker: Breaker, lease: UUID, now: datetime
    ) -> Delivery | None:
        """The delivery that shows whether a target is back, if it is time. Its breaker is locked: nobody else asks."""
        if not breaker.probe_due(now):
            return None
        if given_up := await store.give_up_parked(connection, target, now=now):
            GIVEN_UP.inc(given_up)
            log.warning(
                "delivery.given_up",
                endpoint=str(target),
                deliveries=given_up,
                why="its endpoint was down for too long",
            )
        probe = await store.claim_probe(connection, target, lease=lease, lease_for=self._lease, now=now)
        if probe:
            await store.save_breakers(connection, {target: breakers.probing(breaker, now=now)})
        return probe

    async def _let_go(
        self, connection: Connection, claimed: list[Delivery], placed: list[Delivery], lease: UUID
    ) -> None:
        """A batch may have taken the last places while we asked."""
        kept = {delivery.id for delivery in placed}
        if crowded := [(delivery, lease) for delivery in claimed if delivery.id not in kept]:
            await store.release(connection, crowded)

    async def _jobs(
        self, connection: Connection, deliveries: list[Delivery], probes: set[UUID], lease: UUID, lease_ends: float
    ) -> list[Job]:
        bodies = await store.bodies(connection, deliveries)
        for d in deliveries:
            if (d.source_id, d.shape) not in bodies:  # erased this moment; if not, it is found again, and told again
                log.warning("delivery.no_body", delivery=str(d.id))
        targets = await self._directory.targets(connection, {(d.store_id, d.target_id) for d in deliveries})
        known = await store.traces(connection, {d.source_id for d in deliveries}) if traces.on() else {}
        return [
            Job(
                d,
                targets.get((d.store_id, d.target_id)),
                bodies[d.source_id, d.shape],
                lease,
                lease_ends,
                probe=d.id in probes,
                trace=known.get(d.source_id),
            )
            for d in deliveries
            if (d.source_id, d.shape) in bodies
        ]

    def _note_more(self, rooms: dict[UUID, int], placed: list[Delivery]) -> None:
        """Where the room was used up, there may be more."""
        found: dict[UUID, int] = {}
        for delivery in placed:
            found[delivery.target_id] = found.get(delivery.target_id, 0) + 1
        for target, count in found.items():
            if count >= rooms.get(target, 0):
                self._traffic.leave(target)


def shares(rooms: Mapping[UUID, int]) -> dict[UUID, int]:
    """What one look may take up for each target: its room, or as much as the others may; one at least."""
    share = max(AT_ONCE // max(len(rooms), 1), 1)
    return {target: min(room, share) for target, room in rooms.items()}
