"""Two dispatchers as processes, killed again and again, and both servers restarted under them: nothing is lost."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from uuid import UUID

import asyncpg
import pytest

from local_stack.stack import Stack
from shared import db
from shared.broker import Broker, Outgoing
from shared.ids import derived, uuid7
from shared.secrets import Vault
from shared.topology import EVENTS
from support import dispatcher_shop, servers
from support.dispatcher_shop import Shop
from support.dispatching import event, eventually

KILLS = 20
EVENTS_PER_KILL = 40


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """Servers that only this file uses: it restarts them."""
    with servers.guarded_stack() as stack:
        stack.rabbitmq.launch()
        stack.postgres.start()
        stack.migrate()
        stack.rabbitmq.wait_ready()
        yield stack


@pytest.fixture
async def shop(own_stack: Stack, vault: Vault) -> AsyncIterator[Shop]:
    pool = await db.connect(own_stack.postgres.url, size=4, application="tests")
    async with dispatcher_shop.opened(pool, vault) as shop:
        yield shop
    pool.terminate()


@pytest.fixture
async def broker(own_stack: Stack) -> AsyncIterator[Broker]:
    broker = Broker(own_stack.rabbitmq.url, service="tests")
    running = asyncio.create_task(broker.run())
    await broker._up.wait()
    yield broker
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Dispatchers:
    """As processes. The lease is short, so that what a dead one held is taken up while the test waits."""

    def __init__(self, stack: Stack, secret_keys: str) -> None:
        self._environment = {
            **servers.without_trustlens(),
            "TRUSTLENS_DATABASE_URL": stack.postgres.url,
            "TRUSTLENS_AMQP_URL": stack.rabbitmq.url,
            "TRUSTLENS_SECRET_KEYS": secret_keys,
            "TRUSTLENS_ALLOW_HTTP": "1",
            "TRUSTLENS_ALLOWED_TARGETS": "127.0.0.0/8",
            "TRUSTLENS_LEASE_SECONDS": "2",
            "TRUSTLENS_RETRY_DELAYS": "0.1,0.1,0.1",
            "TRUSTLENS_PORT": "0",
            "TRUSTLENS_LOG_LEVEL": "error",
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.running.append(subprocess.Popen([sys.executable, "-m", "dispatcher"], env=self._environment))

    def kill_the_older(self) -> None:
        process = self.running.pop(0)
        process.kill()
        process.wait()


@contextmanager
def two_dispatchers(stack: Stack, secret_keys: str) -> Iterator[Dispatchers]:
    dispatchers = Dispatchers(stack, secret_keys)
    dispatchers.start()
    dispatchers.start()
    try:
        yield dispatchers
    finally:
        while dispatchers.running:
            dispatchers.kill_the_older()


class Told:
    """What was published, and what arrived of it."""

    def __init__(self, shop: Shop, broker: Broker) -> None:
        self._shop, self._broker = shop, broker
        self.events: list[UUID] = []
        self.arrived: Counter[UUID] = Counter()
        self.bodies: dict[UUID, set[bytes]] = {}

    async def tell(self, count: int) -> None:
        """Publish until the broker has confirmed each of them, whatever restarts meanwhile."""
        first = len(self.events)
        told = [event(self._shop.id, sequence=n, score=n % 100) for n in range(first, first + count)]
        self.events += [each.id for each in told]
        left = {each.id: Outgoing(uuid7(), EVENTS, each.type, each.encode()) for each in told}
        while left:
            await self._broker._up.wait()
            confirmed = {message.id for message in await self._broker.publish(list(left.values()))}
            left = {key: message for key, message in left.items() if message.id not in confirmed}

    async def collect(self) -> None:
        while True:
            received = await self._shop.receiver._arrived.get()
            self.arrived[received.delivery] += 1
            self.bodies.setdefault(received.delivery, set()).add(received.body)

    async def all_arrived(self, endpoints: list[UUID]) -> None:
        due = {derived(event_id, endpoint) for event_id in self.events for endpoint in endpoints}

        async def settled() -> bool:
            try:
                unfinished = await self._shop.pool.fetchval(
                    "SELECT count(*) FROM dispatcher.deliveries WHERE due_at IS NOT NULL"
                )
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                return False
            return unfinished == 0 and due <= self.arrived.keys()

        await eventually(settled)
        assert due == self.arrived.keys(), "nothing but what was due, under no other id"
        rows = await self._shop.pool.fetch("SELECT id, status FROM dispatcher.deliveries")
        assert {row["id"]: row["status"] for row in rows} == dict.fromkeys(due, "delivered")
        assert all(len(bodies) == 1 for bodies in self.bodies.values()), "the same body under the same id"


@pytest.mark.timeout(120)
async def test_killed_twenty_times_and_with_both_servers_restarted_they_make_every_due_delivery(
    own_stack: Stack, shop: Shop, broker: Broker, secret_keys: str
) -> None:
    endpoints = [await shop.endpoint("/logged"), await shop.endpoint("/promised", delivery="retry")]
    told = Told(shop, broker)
    collecting = asyncio.create_task(told.collect())
    with two_dispatchers(own_stack, secret_keys) as dispatchers:
        for _ in range(KILLS):
            before = len(told.arrived)
            await told.tell(EVENTS_PER_KILL)
            # Under load, but not at once: each has something in hand by then.
            await eventually(lambda before=before: _half_more_than(told, before))  # type: ignore[misc]
            dispatchers.kill_the_older()
            dispatchers.start()
        await told.tell(EVENTS_PER_KILL)
        await asyncio.to_thread(_restart_postgres, own_stack)
        await told.tell(EVENTS_PER_KILL)
        await asyncio.to_thread(_restart_rabbitmq, own_stack)
        await told.tell(EVENTS_PER_KILL)
        await told.all_arrived(endpoints)
    collecting.cancel()
    assert len(told.arrived) == (KILLS + 3) * EVENTS_PER_KILL * 2


async def _half_more_than(told: Told, before: int) -> bool:
    return len(told.arrived) >= before + EVENTS_PER_KILL


def _restart_postgres(stack: Stack) -> None:
    stack.postgres.stop()
    stack.postgres.start()


def _restart_rabbitmq(stack: Stack) -> None:
    stack.rabbitmq.stop()
    stack.rabbitmq.launch()
    stack.rabbitmq.wait_ready()
