"""The outbox on a real Postgres and a real RabbitMQ: published after the commit, and sooner or later."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from integration.conftest import Until
from shared.broker import Broker, Outgoing
from shared.ids import uuid7
from shared.metrics import OUTBOX_LAG
from shared.outbox import SWEEP_ROWS, Outbox
from shared.topology import DIRECT
from support.cable import Cable, cable
from support.queues import take, taking

QUEUE = "dispatcher.automation"


def message(body: bytes) -> Outgoing:
    return Outgoing(uuid7(), DIRECT, QUEUE, body, {"traceparent": "00-1-2-01"})


async def rows(pool: asyncpg.Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM rule_engine.outbox"))


@asynccontextmanager
async def publishing(outbox: Outbox, *, sweeper: bool = False) -> AsyncIterator[None]:
    running = asyncio.create_task(outbox.run_sweeper() if sweeper else outbox.run_publisher())
    yield
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def outbox(pool: asyncpg.Pool, broker: Broker) -> Outbox:
    return Outbox(pool, broker, "rule_engine")


async def test_what_commits_is_published_and_then_forgotten(
    outbox: Outbox, broker: Broker, pool: asyncpg.Pool, until: Until
) -> None:
    async with publishing(outbox):
        async with outbox.transaction() as transaction:
            transaction.send(message(b"1"), message(b"2"))
            assert await rows(pool) == 0
        found = await take(broker, QUEUE, count=2)
        await outbox.drained()
    assert [(f.body, f.headers) for f in found] == [(body, {"traceparent": "00-1-2-01"}) for body in (b"1", b"2")]
    assert await rows(pool) == 0


class Struck:
    """A pool on which the first statement meets a connection that broke in the midst of its last one."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._whole = False

    def acquire(self) -> Any:
        return self._pool.acquire()

    async def execute(self, *given: Any) -> Any:
        if not self._whole:
            self._whole = True
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
        return await self._pool.execute(*given)


async def test_a_connection_that_breaks_while_a_published_message_is_forgotten_does_not_end_the_publisher(
    pool: asyncpg.Pool, broker: Broker
) -> None:
    outbox = Outbox(Struck(pool), broker, "rule_engine")
    async with publishing(outbox):
        for body in (b"stays in its row", b"goes"):
            async with outbox.transaction() as transaction:
                transaction.send(message(body))
            await outbox.drained()
        assert [found.body for found in await take(broker, QUEUE, count=2)] == [b"stays in its row", b"goes"]
    assert await rows(pool) == 1


async def send_with(outbox: Outbox, statement: str) -> None:
    async with outbox.transaction() as transaction:
        transaction.send(message(b"never"))
        await transaction.connection.execute(statement)


async def test_what_rolls_back_is_never_published(outbox: Outbox, broker: Broker, pool: asyncpg.Pool) -> None:
    async with publishing(outbox):
        with pytest.raises(asyncpg.UndefinedTableError):
            await send_with(outbox, "INSERT INTO nowhere VALUES (1)")
        async with outbox.transaction() as transaction:
            transaction.send(message(b"first"))
        assert [found.body for found in await take(broker, QUEUE)] == [b"first"]
        await outbox.drained()
    assert await rows(pool) == 0


async def test_nothing_is_handed_over_before_the_commit_is_certain(
    outbox: Outbox, broker: Broker, pool: asyncpg.Pool
) -> None:
    """A commit may fail: here by a constraint that is checked only then."""
    await pool.execute("CREATE TABLE parents (id integer PRIMARY KEY)")
    await pool.execute("CREATE TABLE children (id integer REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
    async with publishing(outbox):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await send_with(outbox, "INSERT INTO children VALUES (1)")
        async with outbox.transaction() as transaction:
            transaction.send(message(b"first"))
        assert [found.body for found in await take(broker, QUEUE)] == [b"first"]
        await outbox.drained()


async def test_what_a_dead_process_left_is_swept_by_another(
    outbox: Outbox, broker: Broker, pool: asyncpg.Pool, until: Until
) -> None:
    async with outbox.transaction() as transaction:  # its publisher never runs: as if it had died
        transaction.send(*(message(b"%d" % n) for n in range(SWEEP_ROWS + 1)))
    other = Outbox(pool, broker, "rule_engine")
    assert await other._sweep() == 0, "it is still claimed"
    await pool.execute("UPDATE rule_engine.outbox SET claimed_until = now() - interval '1 second'")

    async def empty() -> bool:
        return await rows(pool) == 0

    async with publishing(other, sweeper=True):
        found = await take(broker, QUEUE, count=SWEEP_ROWS + 1)
        await until(empty)
    assert {f.body for f in found} == {b"%d" % n for n in range(SWEEP_ROWS + 1)}


async def test_two_sweepers_share_what_there_is(broker: Broker, pool: asyncpg.Pool) -> None:
    nobody = Outbox(pool, Broker("amqp://nobody", service="tests"), "rule_engine")
    async with nobody.transaction() as transaction:
        transaction.send(*(message(b"%d" % n) for n in range(300)))
    sweepers = [Outbox(pool, broker, "rule_engine") for _ in range(2)]
    async with taking(broker, QUEUE) as arrived:
        assert sum(await asyncio.gather(*(sweeper._sweep() for sweeper in sweepers))) == 300
        assert len({(await arrived.get()).body for _ in range(300)}) == 300
        assert arrived.empty()
    assert await rows(pool) == 0


@pytest.fixture
async def to_broker(amqp_url: str) -> AsyncIterator[Cable]:
    async with cable(amqp_url) as made:
        yield made


async def test_what_commits_while_the_broker_is_away_is_published_when_it_is_back(
    to_broker: Cable, broker: Broker, pool: asyncpg.Pool, name_prefix: str, until: Until
) -> None:
    cut_off = Broker(to_broker.url, service="cut off", prefix=name_prefix)
    running = asyncio.create_task(cut_off.run())
    await cut_off._up.wait()
    outbox = Outbox(pool, cut_off, "rule_engine")

    async def cut_off_noticed() -> bool:
        return not cut_off.connected

    async with publishing(outbox), publishing(outbox, sweeper=True):
        await to_broker.pull()
        await until(cut_off_noticed)
        async with outbox.transaction() as transaction:
            transaction.send(message(b"1"))
        assert await rows(pool) == 1
        await to_broker.plug()
        assert [found.body for found in await take(broker, QUEUE)] == [b"1"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_how_long_a_message_was_left_is_a_metric(broker: Broker, pool: asyncpg.Pool) -> None:
    outbox = Outbox(pool, broker, "rule_engine")
    await pool.execute(
        "INSERT INTO rule_engine.outbox (id, exchange, routing_key, headers, body, claimed_until)"
        " VALUES ($1, $2, $3, '{}', '', now() - interval '1 h'), ($4, $2, $3, '{}', '', now() + interval '1 h')",
        uuid7(),
        DIRECT,
        QUEUE,
        uuid7(),
    )
    await outbox._measure()
    assert OUTBOX_LAG.labels("rule_engine")._value.get() == pytest.approx(3600, abs=60)
    await pool.execute("DELETE FROM rule_engine.outbox")
    await outbox._measure()
    assert OUTBOX_LAG.labels("rule_engine")._value.get() == 0
