"""The consumer on a real RabbitMQ and a real Postgres: who dies, who waits, who is processed alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest
from cryptography.fernet import Fernet

from integration.conftest import Until
from shared.broker import Broker
from shared.consumer import MAX_TRIES, SUSPICIOUS, TRIES_APART, Consumer, Message
from shared.db import MeanwhileError
from shared.secrets import Vault
from shared.topology import dead
from support.cable import Cable
from support.queues import depth, let_go, put, take, taking

QUEUE = "rule-engine.events"
Process = Callable[[Sequence[int]], Awaitable[None]]


def parse(message: Message) -> int:
    return int(message.body)


def bodies(*numbers: int) -> list[bytes]:
    return [str(number).encode() for number in numbers]


@asynccontextmanager
async def consuming(broker: Broker, pool: asyncpg.Pool, process: Process, batch_size: int = 50) -> AsyncIterator[None]:
    """A consumer that ends as one that is stopped, and so finishes what it has begun."""
    stop = asyncio.Event()
    running = asyncio.create_task(consumer(broker, pool, process, batch_size).run(stop))
    yield
    stop.set()
    await running


def consumer(broker: Broker, pool: asyncpg.Pool, process: Process, batch_size: int = 50) -> Consumer[int]:
    return Consumer(
        queue=QUEUE,
        schema="rule_engine",
        broker=broker,
        pool=pool,
        parse=parse,
        process=process,
        batch_size=batch_size,
    )


@pytest.fixture
async def numbers(pool: asyncpg.Pool) -> None:
    """A table that takes each number below 100 once."""
    await pool.execute("CREATE TABLE numbers (n integer PRIMARY KEY CHECK (n < 100))")


async def stored(pool: asyncpg.Pool) -> list[int]:
    return [row["n"] for row in await pool.fetch("SELECT n FROM numbers ORDER BY n")]


async def test_bad_messages_go_dead_with_their_reason_and_the_rest_of_the_batch_commits(
    broker: Broker, pool: asyncpg.Pool, numbers: None
) -> None:
    async def process(batch: Sequence[int]) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.executemany("INSERT INTO numbers VALUES ($1)", [(n,) for n in batch])

    await put(broker, QUEUE, [*bodies(*range(10), 100), b"ten", *bodies(*range(11, 20), 1000)])
    async with consuming(broker, pool, process):
        buried = await take(broker, dead(QUEUE), count=3)
    assert await stored(pool) == [*range(10), *range(11, 20)]
    assert {found.body: found.headers["x-trustlens-reason"] for found in buried} == {
        b"100": "rejected",
        b"ten": "unparseable",
        b"1000": "rejected",
    }
    errors = [str(found.headers["x-trustlens-error"]) for found in buried]
    assert all(error.startswith(("CheckViolationError", "ValueError")) for error in errors)
    assert await depth(broker, QUEUE) == 0


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), MeanwhileError("done by another")])
async def test_a_transient_error_keeps_the_batch_until_it_succeeds(
    broker: Broker, pool: asyncpg.Pool, error: Exception
) -> None:
    tried: list[list[int]] = []
    succeeded = asyncio.Event()

    async def process(batch: Sequence[int]) -> None:
        tried.append(list(batch))
        if len(tried) < 3:
            raise error
        succeeded.set()

    await put(broker, QUEUE, bodies(1, 2, 3))
    async with consuming(broker, pool, process):
        await succeeded.wait()
    assert tried[0] == tried[1] == tried[2]
    assert await depth(broker, dead(QUEUE)) == 0


async def test_a_stop_in_the_middle_of_a_transient_failure_leaves_the_batch_to_the_next(
    broker: Broker, pool: asyncpg.Pool
) -> None:
    failed = asyncio.Event()

    async def fail(batch: Sequence[int]) -> None:
        failed.set()
        raise ConnectionResetError

    await put(broker, QUEUE, bodies(1, 2, 3))
    async with consuming(broker, pool, fail):
        await failed.wait()
    async with taking(broker, QUEUE) as arrived:
        assert sorted([(await arrived.get()).body for _ in range(3)]) == bodies(1, 2, 3)
    assert await depth(broker, dead(QUEUE)) == 0


async def test_a_message_that_was_delivered_often_is_processed_alone(
    broker: Broker, pool: asyncpg.Pool, until: Until
) -> None:
    batches: list[list[int]] = []
    last = asyncio.Event()

    async def process(batch: Sequence[int]) -> None:
        batches.append(list(batch))
        if 5 in batch:
            last.set()

    await put(broker, QUEUE, bodies(1, 2, 3))
    await let_go(broker, QUEUE, times=SUSPICIOUS, count=3)
    await put(broker, QUEUE, bodies(4, 5))
    async with consuming(broker, pool, process):
        await last.wait()
    assert sorted(batches[:3]) == [[1], [2], [3]]
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.suspects") == 0
    assert await depth(broker, dead(QUEUE)) == 0


async def killed(broker: Broker, pool: asyncpg.Pool, *, times: int) -> None:
    """The process ended that often, each time in the middle of its first message."""
    for _ in range(times):
        begun = asyncio.Event()
        running = asyncio.create_task(consumer(broker, pool, hanging(begun)).run(asyncio.Event()))
        await begun.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def hanging(begun: asyncio.Event) -> Process:
    async def hang(_: Sequence[int]) -> None:
        begun.set()
        await asyncio.Event().wait()

    return hang


async def test_a_message_that_no_try_alone_ever_finishes_is_poison(broker: Broker, pool: asyncpg.Pool) -> None:
    await put(broker, QUEUE, bodies(13))
    await let_go(broker, QUEUE, times=SUSPICIOUS, count=1)
    for _ in range(MAX_TRIES):
        await killed(broker, pool, times=1)
        await pool.execute("UPDATE rule_engine.suspects SET last_try_at = last_try_at - $1::interval", TRIES_APART)
    async with consuming(broker, pool, hanging(begun := asyncio.Event())):
        (buried,) = await take(broker, dead(QUEUE))
    assert (buried.body, buried.headers["x-trustlens-reason"]) == (b"13", "poison")
    assert not begun.is_set()


async def test_a_service_that_is_killed_again_and_again_within_seconds_buries_nothing(
    broker: Broker, pool: asyncpg.Pool
) -> None:
    await put(broker, QUEUE, bodies(7))
    await let_go(broker, QUEUE, times=SUSPICIOUS, count=1)
    await killed(broker, pool, times=MAX_TRIES + 2)
    done = asyncio.Event()

    async def succeed(_: Sequence[int]) -> None:
        done.set()

    async with consuming(broker, pool, succeed):
        await done.wait()
    assert await depth(broker, dead(QUEUE)) == 0


async def test_stopping_in_the_middle_of_a_transient_failure_is_no_try_that_failed(
    broker: Broker, pool: asyncpg.Pool
) -> None:
    async def fail(_: Sequence[int]) -> None:
        failed.set()
        raise ConnectionResetError

    async def succeed(_: Sequence[int]) -> None:
        done.set()

    await put(broker, QUEUE, bodies(7))
    await let_go(broker, QUEUE, times=SUSPICIOUS, count=1)
    for _ in range(MAX_TRIES):
        failed = asyncio.Event()
        async with consuming(broker, pool, fail):
            await failed.wait()
    done = asyncio.Event()
    async with consuming(broker, pool, succeed):
        await done.wait()
    assert await depth(broker, dead(QUEUE)) == 0


async def test_a_key_that_is_missing_here_kills_no_message(broker: Broker, pool: asyncpg.Pool) -> None:
    vault, other = Vault(Fernet.generate_key().decode()), Vault(Fernet.generate_key().decode())
    opened: list[int] = []
    failed, done = asyncio.Event(), asyncio.Event()

    async def process(batch: Sequence[int]) -> None:
        failed.set()
        (vault if released.is_set() else other).open(vault.seal(b"hash key"))
        opened.extend(batch)
        done.set()

    released = asyncio.Event()
    await put(broker, QUEUE, bodies(1, 2, 3))
    async with consuming(broker, pool, process):
        await failed.wait()
        released.set()  # the operator adds the key
        await done.wait()
    assert opened == [1, 2, 3]
    assert await depth(broker, dead(QUEUE)) == 0


async def test_messages_of_no_frame_and_of_many_arrive_whole_and_in_order(broker: Broker, pool: asyncpg.Pool) -> None:
    sizes: asyncio.Queue[int] = asyncio.Queue()

    async def process(batch: Sequence[int]) -> None:
        for size in batch:
            await sizes.put(size)

    sent = [0, 1, 131_064, 131_065, 1_000_000, 0]  # what one frame of RabbitMQ's default holds, a byte more, many
    consuming_sizes = Consumer(
        queue=QUEUE,
        schema="rule_engine",
        broker=broker,
        pool=pool,
        parse=lambda message: len(message.body),
        process=process,
        batch_size=50,
    )
    await put(broker, QUEUE, [b"x" * size for size in sent])
    stop = asyncio.Event()
    running = asyncio.create_task(consuming_sizes.run(stop))
    assert [await sizes.get() for _ in sent] == sent
    stop.set()
    await running


async def test_wherever_a_connection_breaks_each_message_arrives_whole(
    broker: Broker, pool: asyncpg.Pool, amqp_url: str, name_prefix: str
) -> None:
    sent = [f"{number} ".encode() + b"x" * size for number, size in enumerate([0, 900, 131_060, 131_080] * 30)]
    processed: set[bytes] = set()
    all_came = asyncio.Event()

    async def process(batch: Sequence[bytes]) -> None:
        processed.update(batch)
        if len(processed) == len(sent):
            all_came.set()

    await put(broker, QUEUE, sent)
    # Within the handshake, the declarations, a message's head, its body, the next frame's head; and later.
    cable = Cable(amqp_url, breaks_after=[1, 400, 6_000, *range(140_000, 140_020, 5), 400_000, 1_000_000])
    await cable.plug()
    frayed = Broker(cable.url, service="tests", prefix=name_prefix)
    connecting = asyncio.create_task(frayed.run())
    stop = asyncio.Event()
    consumer = Consumer(
        queue=QUEUE,
        schema="rule_engine",
        broker=frayed,
        pool=pool,
        parse=lambda message: message.body,
        process=process,
        batch_size=5,
    )
    running = asyncio.create_task(consumer.run(stop))
    await all_came.wait()
    stop.set()
    await running
    connecting.cancel()
    await asyncio.wait({connecting})
    await cable.pull()
    assert processed == set(sent)
    assert await depth(broker, dead(QUEUE)) == 0


async def test_a_deleted_queue_comes_back_with_the_connection_and_consuming_goes_on(
    broker: Broker, pool: asyncpg.Pool
) -> None:
    processed: asyncio.Queue[int] = asyncio.Queue()

    async def process(batch: Sequence[int]) -> None:
        for number in batch:
            await processed.put(number)

    async with consuming(broker, pool, process):
        await put(broker, QUEUE, bodies(1))
        assert await processed.get() == 1
        channel = await broker.channel(prefetch=1)
        await channel.queue_delete(broker.prefix + QUEUE)
        await channel.queue_delete(broker.prefix + dead(QUEUE))
        await broker.close()
        await broker._up.wait()
        await put(broker, QUEUE, bodies(2))
        assert await processed.get() == 2


async def test_a_queue_that_is_deleted_under_a_consumer_is_made_again(
    broker: Broker, pool: asyncpg.Pool, until: Until
) -> None:
    processed: asyncio.Queue[int] = asyncio.Queue()

    async def away() -> bool:
        return not broker.connected

    async def process(batch: Sequence[int]) -> None:
        for number in batch:
            await processed.put(number)

    async with consuming(broker, pool, process):
        await put(broker, QUEUE, bodies(1))
        assert await processed.get() == 1
        channel = await broker.channel(prefetch=1)
        await channel.queue_delete(broker.prefix + QUEUE)
        await until(away)
        await broker._up.wait()
        await put(broker, QUEUE, bodies(2))
        assert await processed.get() == 2
