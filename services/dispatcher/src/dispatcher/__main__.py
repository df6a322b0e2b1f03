"""`python -m dispatcher`"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from dispatcher import replay, store
from dispatcher.attempt import Attempts
from dispatcher.clock import Clock, utc_now
from dispatcher.commands import EndpointCommands
from dispatcher.directory import Directory
from dispatcher.due import Due
from dispatcher.metrics import IN_FLIGHT
from dispatcher.recorder import Recorder
from dispatcher.send import Sender, open_session
from dispatcher.settings import DispatcherSettings
from dispatcher.traffic import Traffic
from dispatcher.worker import Worker, parse_automation, parse_event
from shared.commands import Commands, parse_asked
from shared.db import Partitions
from shared.jobs import Jobs
from shared.service import Service, every, health_app, main, running

HOUR = 3600.0
BURSTS_KEPT = timedelta(days=1)
"""Longer than any window."""
TRACES_KEPT = timedelta(days=7)
"""Longer than an outage is waited for, unless that was set to be longer."""
TABLES = ("dispatcher.deliveries", "dispatcher.attempts", "dispatcher.bodies")
"""In the order of their dropping: no delivery is ever left without its body."""
DRAIN_SHARE = 0.7
"""Of the drain's time, what attempts in flight get; the rest is for recording them."""


async def run(settings: DispatcherSettings, stop: asyncio.Event, clock: Clock = utc_now) -> None:
    """The service, until `stop` is set and everything begun is finished."""
    async with open_session(settings.reach) as session, running("dispatcher", "dispatcher", settings, stop) as service:
        recorder = Recorder(service.pool, settings.rules, clock)
        service.plumbing("recorder", recorder.run())
        service.watch(recorder.step)
        attempts = Attempts(sender=Sender(session), recorder=recorder, reach=settings.reach, clock=clock)
        partitions = Partitions(*TABLES)
        service.work("deliveries", _deliver(service, settings, attempts, recorder, partitions, clock=clock))
        keep = dict.fromkeys(TABLES, settings.delivery_days)
        service.work("upkeep", every(HOUR, partial(_upkeep, service, partitions, keep, clock), stop))
        jobs = Jobs(service.pool, service.outbox, "dispatcher", {"replay": partial(replay.page, clock=clock)})
        service.work("jobs", every(settings.jobs_interval, partial(jobs.run_queued, stop), stop))
        await service.listen(health_app(service))
        await service.until_stopped()


async def _upkeep(service: Service, partitions: Partitions, keep: Mapping[str, int], clock: Clock) -> None:
    await service.upkeep(partitions, keep)
    async with service.pool.acquire() as connection:
        await store.forget_bursts(connection, clock() - BURSTS_KEPT)
        await store.forget_traces(connection, clock() - TRACES_KEPT)


async def _deliver(
    service: Service,
    settings: DispatcherSettings,
    attempts: Attempts,
    recorder: Recorder,
    partitions: Partitions,
    *,
    clock: Clock,
) -> None:
    """Everything that leads to deliveries until `stop`; then those in flight, and their records."""
    pool, stop = service.pool, service.stop
    directory = Directory(service.vault)
    traffic = Traffic(
        pool=pool,
        attempts=attempts,
        recorder=recorder,
        rules=settings.rules,
        cap=settings.in_flight,
        lease=settings.lease,
        expire_after=settings.expire_after,
        clock=clock,
    )
    worker = Worker(
        pool=pool,
        directory=directory,
        traffic=traffic,
        recorder=recorder,
        partitions=partitions,
        delays=settings.retry_delays,
        lease=settings.lease,
        burst_window=timedelta(seconds=settings.burst_window),
        clock=clock,
    )
    due = Due(
        pool=pool,
        directory=directory,
        traffic=traffic,
        recorder=recorder,
        lease=settings.lease,
        park_for=settings.rules.park_for,
        poll_seconds=settings.poll_seconds,
        clock=clock,
    )
    service.watch(due.step)
    IN_FLIGHT.set_function(traffic.in_flight)
    owner = _owner(service, settings, attempts, partitions, clock)
    async with asyncio.TaskGroup() as group:
        for consuming in (
            service.consume("dispatcher.events", parse_event, worker.process_events),
            service.consume("dispatcher.automation", parse_automation, worker.process_automations),
            service.consume("dispatcher.commands", parse_asked, owner.process),
        ):
            group.create_task(consuming, name="consumer")
        group.create_task(due.run(stop), name="due")
    await traffic.finish(within=settings.drain_seconds * DRAIN_SHARE)
    await owner.finished()


def _owner(
    service: Service, settings: DispatcherSettings, attempts: Attempts, partitions: Partitions, clock: Clock
) -> Commands:
    endpoint_commands = EndpointCommands(
        pool=service.pool,
        vault=service.vault,
        reach=settings.reach,
        attempts=attempts,
        partitions=partitions,
        lease=settings.lease,
        overlap=timedelta(hours=settings.overlap_hours),
        clock=clock,
    )
    return Commands(
        outbox=service.outbox,
        broker=service.broker,
        schema="dispatcher",
        handlers=endpoint_commands.handlers(),
        background=endpoint_commands.background(),
        vault=service.vault,
    )


if __name__ == "__main__":
    main("dispatcher", DispatcherSettings, run)
