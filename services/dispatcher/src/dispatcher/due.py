"""What waits in the database: retries, what found no room in memory, and what a dead dispatcher left behind."""

import asyncio
import time
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

import structlog

from dispatcher import store
from dispatcher.attempt import Job
from dispatcher.deliveries import Delivery
from dispatcher.directory import Directory
from dispatcher.traffic import Traffic
from shared.db import Connection, Pool, is_transient
from shared.ids import uuid7

log = structlog.get_logger()

IDLE = 4
"""How many times the usual pause grows while nothing is due."""


class Due:
    def __init__(
        self, *, pool: Pool, directory: Directory, traffic: Traffic, lease: timedelta, poll_seconds: float
    ) -> None:
        self._pool = pool
        self._directory = directory
        self._traffic = traffic
        self._lease = lease
        self._poll = poll_seconds

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
                rooms = await self._rooms(connection, targets)
                claimed = await store.claim(connection, rooms, lease=lease, lease_for=self._lease) if rooms else []
                placed = [d for d in claimed if self._traffic.take(d.target_id)]
                await self._let_go(connection, claimed, placed, lease)
                loaded = await self._jobs(connection, placed, lease, lease_ends) if placed else []
            jobs = loaded
        finally:
            if not jobs:
                for delivery in placed:
                    self._traffic.give_back(delivery.target_id)
        self._note_more(rooms, placed)
        self._traffic.start(jobs)
        return len(jobs)

    async def _rooms(self, connection: Connection, targets: Collection[UUID] | None) -> dict[UUID, int]:
        looked_at = await store.unfinished_targets(connection) if targets is None else targets
        return {target: room for target in looked_at if (room := self._traffic.free(target)) > 0}

    async def _let_go(
        self, connection: Connection, claimed: list[Delivery], placed: list[Delivery], lease: UUID
    ) -> None:
        """A batch may have taken the last places while we asked."""
        kept = {delivery.id for delivery in placed}
        if crowded := [(delivery, lease) for delivery in claimed if delivery.id not in kept]:
            await store.release(connection, crowded)

    async def _jobs(
        self, connection: Connection, deliveries: list[Delivery], lease: UUID, lease_ends: float
    ) -> list[Job]:
        bodies = await store.bodies(connection, deliveries)
        targets = await self._directory.targets(connection, {(d.store_id, d.target_id) for d in deliveries})
        return [
            Job(d, targets.get((d.store_id, d.target_id)), bodies[d.source_id, d.shape], lease, lease_ends)
            for d in deliveries
        ]

    def _note_more(self, rooms: dict[UUID, int], placed: list[Delivery]) -> None:
        """Where the room was used up, there may be more."""
        found: dict[UUID, int] = {}
        for delivery in placed:
            found[delivery.target_id] = found.get(delivery.target_id, 0) + 1
        for target, count in found.items():
            if count >= rooms[target]:
                self._traffic.leave(target)
