"""A dispatcher taken apart: a clock that is moved by hand, answers that a test gives, and no polling."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

from dispatcher.attempt import Attempts
from dispatcher.classify import Answer
from dispatcher.deliveries import Rules
from dispatcher.directory import Directory
from dispatcher.due import Due
from dispatcher.recorder import Recorder
from dispatcher.send import Sender
from dispatcher.traffic import Traffic
from dispatcher.worker import Worker
from shared.db import Partitions
from shared.events import Automation, Event
from support.dispatcher_shop import LOCAL, Shop

OK = Answer(1, status_code=200)
FAILED = Answer(1, status_code=500)
UNREACHABLE = Answer(1, phase="connect", error="no connection")
LEASE = timedelta(minutes=10)


@dataclass
class Clock:
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass(frozen=True, slots=True)
class Request:
    at: datetime
    path: str
    delivery: UUID
    headers: Mapping[str, str]
    body: bytes


@dataclass
class World:
    """All receivers there are: what they answer, and what they were sent."""

    clock: Clock = field(default_factory=Clock)
    answer: Callable[[Request], Answer] = lambda _: OK
    requests: list[Request] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first request."""

    async def send(self, url: str, *, headers: Mapping[str, str], body: bytes, **_: object) -> Answer:
        path = "/" + url.split("/", 3)[3]
        request = Request(self.clock(), path, UUID(headers["X-TrustLens-Delivery"]), headers, body)
        self.requests.append(request)
        self.asked.set()
        return self.answer(request)


@dataclass
class Dispatcher:
    worker: Worker
    due: Due
    traffic: Traffic
    recorder: Recorder

    async def told(self, *events: Event) -> None:
        """Take these events, until all that comes of them is recorded."""
        await self.worker.process_events(events)
        await self.idle()

    async def fired(self, *automations: Automation) -> None:
        await self.worker.process_automations(automations)
        await self.idle()

    async def look(self) -> int:
        """Look once for what is due; how many that were, once all is recorded."""
        taken = await self.due.take_up()
        await self.idle()
        return taken

    async def idle(self) -> None:
        while self.traffic._tasks:
            await asyncio.wait(self.traffic._tasks)
        await self.recorder.drained()


@asynccontextmanager
async def dispatcher(
    shop: Shop, world: World, *, rules: Rules | None = None, cap: int = 16
) -> AsyncIterator[Dispatcher]:
    """One of any number on the same database."""
    rules = rules or Rules()
    recorder = Recorder(shop.pool, rules, world.clock)
    attempts = Attempts(sender=cast("Sender", world), recorder=recorder, reach=LOCAL, clock=world.clock)
    traffic = Traffic(
        pool=shop.pool,
        attempts=attempts,
        recorder=recorder,
        rules=rules,
        cap=cap,
        lease=LEASE,
        expire_after=timedelta(minutes=5),
        clock=world.clock,
    )
    directory = Directory(shop.vault)
    worker = Worker(
        pool=shop.pool,
        directory=directory,
        traffic=traffic,
        recorder=recorder,
        partitions=Partitions("dispatcher.deliveries", "dispatcher.attempts", "dispatcher.bodies"),
        delays=rules.delays,
        lease=LEASE,
        burst_window=timedelta(seconds=5),
        clock=world.clock,
    )
    due = Due(
        pool=shop.pool,
        directory=directory,
        traffic=traffic,
        recorder=recorder,
        lease=LEASE,
        park_for=rules.park_for,
        poll_seconds=1,
        clock=world.clock,
    )
    running = asyncio.create_task(recorder.run(), name="recorder")
    try:
        yield Dispatcher(worker, due, traffic, recorder)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
