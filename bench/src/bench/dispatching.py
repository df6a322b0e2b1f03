"""The dispatcher as the real service, shops with endpoints at a receiver, and events for them."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_network
from uuid import UUID

import aiohttp

from api.stores import create_store
from bench import metrics, receiver, stack
from bench.metrics import Reading
from bench.progress import Show
from bench.receiver import Told
from bench.stack import LOOK_SECONDS, Site, Track
from dispatcher import store
from dispatcher.destinations import webhook
from dispatcher.endpoints import Endpoint, Mode, NewEndpoint
from local_stack import ports
from local_stack.errors import StackError
from local_stack.process import Process
from local_stack.services import READY_SECONDS, STOP_SIGNALS, ServiceProcess
from shared.broker import Outgoing
from shared.events import Cause, Change, Event, EventData, Snapshot
from shared.ids import derived, uuid7
from shared.targets import Reach
from shared.topology import EVENTS

EVENT = "score_updated"
REACH = Reach(allow_http=True, allowed=[ip_network("127.0.0.0/8")])
"""Every connection is checked all the same."""
SECRET = "bench-secret-" + "s" * 32
SETTLE_SECONDS = 10.0
"""How long what is late is waited for."""
STALL_SECONDS = 30.0


# Shops, their endpoints, and events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A shop that has one endpoint: so each event leads to one delivery, which bears its whole cost."""

    site: webhook.Site
    endpoint: Endpoint

    @property
    def store_id(self) -> UUID:
        return self.endpoint.store_id

    def delivery(self, event: Event) -> UUID:
        """The id under which its endpoint gets an event."""
        return derived(event.id, self.endpoint.id)


async def subscribers(
    track: Track, urls: Sequence[str], *, mode: Mode = "fire_and_log", seconds: int = 10
) -> list[Subscriber]:
    """New shops of this track, one for each URL, whose requests may take so many seconds."""
    vault = track.site.vault
    made: list[Subscriber] = []
    async with stack.connected(track) as pool, pool.acquire() as connection:
        for number, url in enumerate(urls):
            shop = webhook.Site(f"https://subscriber{number}.example", f"Subscriber {number}")
            created = await create_store(connection, vault, url=shop.url, name=shop.name)
            asked = {"url": url, "secret": SECRET, "events": [EVENT], "delivery": mode, "timeout": seconds}
            new = NewEndpoint.model_validate(asked, context=REACH)
            endpoint = await store.insert_endpoint(
                connection, vault, endpoint_id=uuid7(), store_id=created.id, new=new, secret=SECRET
            )
            made.append(Subscriber(shop, endpoint))
        await store.bump_revision(connection, [one.store_id for one in made])
    return made


def events(turns: Sequence[Subscriber]) -> list[Event]:
    """One for each turn, just recorded. No two are of one customer, so none repeats another and all are sent."""
    now = datetime.now(UTC)
    return [_event(one, number, now) for number, one in enumerate(turns)]


def _event(subscriber: Subscriber, number: int, at: datetime) -> Event:
    """The number-th customer's score moved."""
    change = Change(old_score=50, new_score=40 + number % 50, old_segment="normal", new_segment="normal")
    customer = Snapshot(
        email_hash=f"{number:064x}",
        email=f"c{number}@bench.example",
        email_domain="bench.example",
        trust_score=change.new_score,
        segment=change.new_segment,
        total_orders=number % 90,
        total_order_value=Decimal(number % 9000),
        return_rate=Decimal("3.3"),
        account_age_days=400,
    )
    return Event(
        id=uuid7(),
        type=EVENT,
        store_id=subscriber.store_id,
        occurred_at=at,
        recorded_at=at,
        customer=customer,
        sequence=1,
        data=EventData(change=change),
        cause=Cause(kind="order", id=uuid7()),
    )


def outgoing(events: Sequence[Event]) -> list[Outgoing]:
    """As the scorer sends them."""
    return [Outgoing(event.id, EVENTS, event.type, event.encode()) for event in events]


async def drip(track: Track, messages: Sequence[Outgoing], *, a_second: float, show: Show) -> dict[UUID, float]:
    """Publish at a pace, none waiting for another's confirm: message → when it was, by time.monotonic()."""
    sent: dict[UUID, float] = {}
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for nth, message in enumerate(messages):
            await asyncio.sleep(began + nth / a_second - time.monotonic())
            sent[message.id] = time.monotonic()
            group.create_task(stack.fill(track, [message]))
            show(nth + 1)
    return sent


# The receiver ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReceiverProcess:
    process: Process
    port: int

    def urls(self, count: int, *, broken: Sequence[str] = ()) -> list[str]:
        """Of so many endpoints; the first ones on these paths of `bench.receiver`."""
        paths = [*broken, *(count - len(broken)) * [receiver.HOOK]]
        return [f"http://127.0.0.1:{self.port}{path}{number}" for number, path in enumerate(paths)]

    async def told(self) -> Told:
        url = f"http://127.0.0.1:{self.port}{receiver.TOLD}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return Told.parse(await answer.text())

    async def has(self, deliveries: Sequence[UUID]) -> Told:
        """What came, once all of these have, or have had their time."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            told = await self.told()
            if told.at.keys() >= set(deliveries) or time.monotonic() > deadline:
                return told
            await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def receiving(site: Site) -> AsyncIterator[ReceiverProcess]:
    """A receiver that nothing has come to."""
    folder = site.stack.folder
    process, port = Process("receiver", folder), ports.remembered(folder, ["receiver"])["receiver"]
    await asyncio.to_thread(process.stop, STOP_SIGNALS)  # of a run that was killed
    since = process.log_size()
    process.start([sys.executable, "-m", "bench.receiver", str(port)], env=dict(os.environ))
    try:
        await asyncio.to_thread(process.wait_until, lambda: not ports.is_free(port), seconds=READY_SECONDS, since=since)
        yield ReceiverProcess(process, port)
    finally:
        await asyncio.to_thread(process.stop, STOP_SIGNALS)


# The dispatcher -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DispatcherProcess:
    """The service, running."""

    service: ServiceProcess
    pid: int

    async def read(self) -> Reading:
        return await asyncio.to_thread(metrics.read, self.service.url)

    def peak_memory(self) -> int:
        return metrics.peak_memory(self.pid)

    async def recorded(self, deliveries: int, show: Show = lambda _: None) -> Reading:
        """What it tells once it has recorded so many as delivered.

        Raises:
            StackError: it ended, or it recorded none for STALL_SECONDS.
        """
        most, moved = 0.0, time.monotonic()
        while True:
            reading = await self.read()
            done = delivered(reading)
            show(done)
            if done >= deliveries:
                return reading
            if done > most:
                most, moved = done, time.monotonic()
            if self.service.process.pid() is None or time.monotonic() - moved > STALL_SECONDS:
                raise StackError(f"The dispatcher delivers no more:\n{self.service.process.last_lines()}")
            await asyncio.sleep(LOOK_SECONDS)


def delivered(reading: Reading) -> float:
    return reading.total("trustlens_delivery_attempts_total", led_to="delivered")


@asynccontextmanager
async def dispatcher(track: Track) -> AsyncIterator[DispatcherProcess]:
    """`python -m dispatcher` on this track, on a core of its own; ready."""
    service = stack.service_process(track.site.stack.folder, "dispatcher")
    allowed = ",".join(map(str, REACH.allowed))
    reach = {"TRUSTLENS_ALLOW_HTTP": str(REACH.allow_http), "TRUSTLENS_ALLOWED_TARGETS": allowed}
    since = service.launch(stack.environment(track) | reach)
    pid = service.process.pid()
    if pid is None:
        raise StackError(f"The dispatcher did not start:\n{service.process.last_lines(since)}")
    os.sched_setaffinity(pid, {track.site.scorer_core})  # before it has threads
    try:
        await asyncio.to_thread(service.wait_ready, since)
        yield DispatcherProcess(service, pid)
    finally:
        await asyncio.to_thread(service.process.stop, STOP_SIGNALS)
