"""I/O around the fan-out: a batch of events or automations in, its deliveries in one commit, then on their way."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar, get_args
from uuid import UUID

from dispatcher import bursts, erasure, fanout, store
from dispatcher.attempt import Job
from dispatcher.breaker import HEALTHY
from dispatcher.bursts import Sent
from dispatcher.clock import Clock, utc_now
from dispatcher.deliveries import DUPLICATE
from dispatcher.directory import Directory
from dispatcher.endpoints import Target
from dispatcher.fanout import Fanout, New, Surroundings
from dispatcher.metrics import SUPPRESSED
from dispatcher.recorder import Recorder
from dispatcher.traffic import Traffic
from shared import traces
from shared.consumer import Message
from shared.db import Connection, Partitions, Pool
from shared.events import Automation, Event, WebhookEvent
from shared.ids import uuid7

WEBHOOK_EVENTS = frozenset(get_args(WebhookEvent))

S = TypeVar("S", Event, Automation)


def parse_event(message: Message) -> Event:
    return Event.model_validate_json(message.body)


def parse_automation(message: Message) -> Automation:
    return Automation.model_validate_json(message.body)


class Worker:
    """Handles both streams. Idempotent: a message that comes again changes nothing and sends nothing."""

    def __init__(
        self,
        *,
        pool: Pool,
        directory: Directory,
        traffic: Traffic,
        recorder: Recorder,
        partitions: Partitions,
        delays: Sequence[float],
        lease: timedelta,
        burst_window: timedelta,
        clock: Clock = utc_now,
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._pool = pool
        self._directory = directory
        self._traffic = traffic
        self._partitions = partitions
        self._delays = delays
        self._lease = lease
        self._burst_window = burst_window

    async def process_events(self, batch: Sequence[Event]) -> None:
        await self._deliver([event for event in batch if event.type in WEBHOOK_EVENTS], self._fan_out_events)
        for event in batch:
            if event.type == "customer_erased":
                await erasure.forget(self._pool, self._directory, event)

    async def process_automations(self, batch: Sequence[Automation]) -> None:
        await self._deliver(batch, self._fan_out_automations)

    async def _deliver(
        self, batch: Sequence[S], fan_out: Callable[[Connection, Sequence[S]], Awaitable[Fanout]]
    ) -> None:
        """One commit; what fits into the lanes is leased and starts after it, the rest is left to `due`."""
        if not batch:
            return
        await self._partitions.cover(self._pool, {source.recorded_at for source in batch})
        lease, lease_ends = uuid7(), time.monotonic() + self._lease.total_seconds()
        placed: list[New] = []
        jobs: list[Job] = []
        try:
            async with self._pool.acquire() as connection:
                async with connection.transaction():
                    fanned = await fan_out(connection, batch)
                    inserted = await self._insert(connection, fanned, lease, placed)
                jobs = [_job(new, fanned, lease, lease_ends) for new in placed if new.delivery.id in inserted]
                self._traffic.start(jobs)  # before the connection is given back, which takes a round trip
            _count_suppressed(fanned, inserted)
        finally:
            started = {job.delivery.id for job in jobs}
            for new in placed:
                if new.delivery.id not in started:
                    self._traffic.give_back(new.delivery.target_id)

    async def _insert(self, connection: Connection, fanned: Fanout, lease: UUID, placed: list[New]) -> Collection[UUID]:
        """Insert all; `placed` receives what got a place in its lane. Returns the ids that are new."""
        if not fanned.deliveries:
            return ()
        belied = await self._leave_out_repeats(connection, fanned)
        sendable = (new for new in fanned.deliveries.values() if new.step is None)
        placed += (new for new in sendable if self._traffic.take(new.delivery.target_id))
        inserted = await store.insert_deliveries(
            connection,
            [(new.delivery, new.step) for new in fanned.deliveries.values()],
            fanned.bodies,
            lease=lease,
            leased={new.delivery.id for new in placed},
            lease_for=self._lease,
            now=self._clock(),
        )
        if len(inserted.bodies) < len(fanned.bodies):
            await self._leave_frozen(connection, inserted, lease, placed)
        await self._look_up_outages(connection, {new.delivery.target_id for new in placed}, inserted)
        if traces.on():
            sources = {new.delivery.source_id for new in fanned.deliveries.values()}
            await store.save_traces(connection, {it: traces.carried(it) for it in sources}, now=self._clock())
        if after_all := [last for late, last in belied.items() if late in inserted.deliveries]:
            await store.send_after_all(connection, after_all, now=self._clock())
        return inserted.deliveries

    async def _leave_frozen(
        self, connection: Connection, inserted: store.Inserted, lease: UUID, placed: list[New]
    ) -> None:
        """A body that was frozen before may differ from this one: its deliveries are left to `due`, which reads it."""
        frozen = [new.delivery for new in placed if (new.delivery.source_id, new.delivery.shape) not in inserted.bodies]
        await store.release(connection, [(delivery, lease) for delivery in frozen])
        placed[:] = [new for new in placed if (new.delivery.source_id, new.delivery.shape) in inserted.bodies]
        for delivery in frozen:
            self._traffic.give_back(delivery.target_id)

    async def _look_up_outages(
        self, connection: Connection, targets: Collection[UUID], inserted: store.Inserted
    ) -> None:
        """What other dispatchers learned: an endpoint that asked one of us to wait is not called by any."""
        outages = await store.breakers(connection, targets) if inserted.troubled else {}
        self._recorder.see({target: outages.get(target, HEALTHY) for target in targets})

    async def _leave_out_repeats(self, connection: Connection, fanned: Fanout) -> Mapping[UUID, Sent]:
        """Settings webhooks that would only say again what the last one said, within seconds. As bursts: `belied`.

        Most customers had none before: their rows are written as if all had none, and only others are looked at.
        """
        candidates = list(fanned.bursts().values())
        if not candidates or not self._burst_window:
            return {}
        decided = bursts.decide({}, candidates, window=self._burst_window)
        if others := decided.last.keys() - await store.insert_bursts(connection, decided.last):
            last = await store.lock_bursts(connection, others)
            decided = bursts.decide(last, candidates, window=self._burst_window)
            await store.save_bursts(connection, {key: sent for key, sent in decided.last.items() if key in others})
        fanned.suppress(decided.duplicates, DUPLICATE)
        return decided.belied

    async def _fan_out_events(self, connection: Connection, batch: Sequence[Event]) -> Fanout:
        await self._directory.refresh(connection, {event.store_id for event in batch})
        fanned = Fanout()
        for event in await erasure.known(connection, self._directory, batch):
            fanout.add_event(fanned, event, self._surroundings(event.store_id), self._delays)
        return fanned

    async def _fan_out_automations(self, connection: Connection, batch: Sequence[Automation]) -> Fanout:
        wanted = {(a.store_id, target_id) for a in batch if (target_id := fanout.destination(a)[1])}
        await self._directory.refresh(connection, {automation.store_id for automation in batch})
        targets = await self._directory.targets(connection, wanted)
        fanned = Fanout()
        for automation in await erasure.known(connection, self._directory, batch):
            own = {target_id: t for (store_id, target_id), t in targets.items() if store_id == automation.store_id}
            fanout.add_automation(fanned, automation, self._surroundings(automation.store_id, own), self._delays)
        return fanned

    def _surroundings(self, store_id: UUID, own_targets: Mapping[UUID, Target] | None = None) -> Surroundings:
        return Surroundings(
            site=self._directory.site(store_id),
            endpoints=self._directory.endpoints(store_id),
            own_targets=own_targets or {},
        )


def _count_suppressed(fanned: Fanout, inserted: Collection[UUID]) -> None:
    for new in fanned.deliveries.values():
        if new.step and new.delivery.id in inserted:
            SUPPRESSED.labels(new.step.cause).inc()


def _job(new: New, fanned: Fanout, lease: UUID, lease_ends: float) -> Job:
    delivery = new.delivery
    body = fanned.bodies[delivery.source_id, delivery.shape]
    return Job(delivery, new.target, body, lease, lease_ends, trace=traces.carried(delivery.source_id))
