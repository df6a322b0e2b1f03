"""How messages go through RabbitMQ and the outbox by our layer, and by the bare libraries that it stands on.

By turns, on one core. Nothing is parsed or decided.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from statistics import median
from typing import Any

import aio_pika
import aiormq
import asyncpg
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from bench import stack
from bench.progress import counted
from bench.report import Figure, Result
from bench.stack import Site, Track
from shared.broker import Outgoing
from shared.consumer import Consumer, Message
from shared.db import Pool
from shared.ids import uuid7
from shared.outbox import Outbox
from shared.topology import FACTS

BODY = b"x" * 600
"""Bytes: of a usual event."""
BATCH = 200
"""Of the services' settings, the default."""
QUEUE = "scorer.facts"
OUTBOX = "scorer.outbox"
COLUMNS = ("id", "exchange", "routing_key", "headers", "body", "claimed_until")
INSERT = f"INSERT INTO {OUTBOX} (id, exchange, routing_key, headers, body, claimed_until)"
OF_PARAMETERS = f"{INSERT} VALUES ($1, $2, $3, $4, $5, $6)"
OF_ARRAYS = (
    f"{INSERT} SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::bytea[], $6::timestamptz[])"
)
DELETE = f"DELETE FROM {OUTBOX} WHERE id = ANY($1::uuid[])"
Batches = Sequence[Sequence[Outgoing]]
Way = Callable[[Batches], Awaitable[None]]
"""Does something with all messages, batch by batch."""


async def measure(site: Site, *, count: int, rounds: int) -> Result:
    took: dict[str, list[float]] = {}
    async with stack.track(site) as track, stack.connected(track) as pool, _ways(track, pool) as ways:
        with counted("broker", rounds) as show:
            for number in range(rounds):
                async with stack.on_scorer_core(site):
                    for name, way in ways.items():
                        took.setdefault(name, []).append(await _timed(way, _batches(count)))
                show(number + 1)
    return _result(took)


@asynccontextmanager
async def _ways(track: Track, pool: Pool) -> AsyncIterator[Mapping[str, Way]]:
    """In this order: what one publishes, the next consumes. Names that begin with _ clear away, and are not told."""
    bare = await aiormq.connect(track.site.stack.amqp_url)
    pika = await aio_pika.connect(track.site.stack.amqp_url)
    channel, pika_channel = await bare.channel(), await pika.channel()
    exchange = await pika_channel.get_exchange(track.prefix + FACTS)
    connection = await asyncpg.connect(track.database_url)
    yield {
        "publish": lambda batches: _publish(track, batches),
        "consume": lambda batches: _consume(track, pool, batches),
        "publish by aiormq": lambda batches: _publish_bare(track, channel, batches),
        "consume by aiormq": lambda batches: _consume_bare(track, bare, batches),
        "publish by aio-pika": lambda batches: _publish_pika(exchange, batches),
        "consume by aio-pika": lambda batches: _consume_pika(track, pika, batches),
        "outbox": lambda batches: _outbox(track, pool, batches),
        "_empty": lambda batches: _consume_bare(track, bare, batches),
        "outbox by asyncpg and aiormq": lambda batches: _outbox_bare(track, connection, channel, batches),
        "_empty again": lambda batches: _consume_bare(track, bare, batches),
        "rows by executemany": lambda batches: _rows(connection, batches, _by_executemany),
        "rows by arrays": lambda batches: _rows(connection, batches, _by_arrays),
        "rows by COPY": lambda batches: _rows(connection, batches, _by_copy),
    }
    await connection.close()
    await pika.close()
    await bare.close()


def _batches(count: int) -> Batches:
    return [[Outgoing(uuid7(), FACTS, "live.order", BODY) for _ in range(BATCH)] for _ in range(count // BATCH)]


async def _timed(way: Way, batches: Batches) -> float:
    """Microseconds a message."""
    began = time.perf_counter()
    await way(batches)
    return 1e6 * (time.perf_counter() - began) / sum(map(len, batches))


# RabbitMQ -------------------------------------------------------------------------------------------------------------


async def _publish(track: Track, batches: Batches) -> None:
    for batch in batches:
        await track.broker.publish(batch)


async def _publish_bare(track: Track, channel: AbstractChannel, batches: Batches) -> None:
    for batch in batches:
        await asyncio.gather(*(_publish_one(track, channel, message) for message in batch))


async def _publish_one(track: Track, channel: AbstractChannel, message: Outgoing) -> None:
    properties = Basic.Properties(message_id=str(message.id), delivery_mode=2)
    await channel.basic_publish(
        message.body,
        exchange=track.prefix + message.exchange,
        routing_key=message.routing_key,
        properties=properties,
        mandatory=True,
    )


async def _publish_pika(exchange: aio_pika.abc.AbstractExchange, batches: Batches) -> None:
    for batch in batches:
        made = (
            aio_pika.Message(m.body, message_id=str(m.id), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            for m in batch
        )
        await asyncio.gather(*(exchange.publish(message, "live.order") for message in made))


async def _consume(track: Track, pool: Pool, batches: Batches) -> None:
    """By the consumer of the services, which does nothing with what it takes."""
    left, stop = sum(map(len, batches)), asyncio.Event()

    async def process(messages: Sequence[Message]) -> None:  # as the consumer asks for
        nonlocal left
        left -= len(messages)
        if left <= 0:
            stop.set()

    consumer = Consumer(
        queue=QUEUE,
        schema="scorer",
        broker=track.broker,
        pool=pool,
        parse=lambda message: message,
        process=process,
        batch_size=BATCH,
    )
    await consumer.run(stop)


async def _consume_bare(track: Track, connection: aiormq.abc.AbstractConnection, batches: Batches) -> None:
    """Each batch is acked at once."""
    left, done = sum(map(len, batches)), asyncio.Event()
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=2 * BATCH)

    async def take(delivered: DeliveredMessage) -> None:
        nonlocal left
        left -= 1
        if left % BATCH == 0:
            await channel.basic_ack(delivered.delivery_tag or 0, multiple=True)
        if left == 0:
            done.set()

    await channel.basic_consume(track.prefix + QUEUE, take)
    await done.wait()
    await channel.close()


async def _consume_pika(track: Track, connection: aio_pika.abc.AbstractConnection, batches: Batches) -> None:
    """Each message is acked by itself, as its documentation shows it."""
    left, done = sum(map(len, batches)), asyncio.Event()
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=2 * BATCH)
    queue = await channel.get_queue(track.prefix + QUEUE)

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        nonlocal left
        await message.ack()
        left -= 1
        if left == 0:
            done.set()

    await queue.consume(take)
    await done.wait()
    await channel.close()


# Postgres -------------------------------------------------------------------------------------------------------------


async def _outbox(track: Track, pool: Pool, batches: Batches) -> None:
    """Committed with its transaction, published, confirmed, deleted."""
    outbox = Outbox(pool, track.broker, "scorer")
    publishing = asyncio.create_task(outbox.run_publisher(), name="publisher")
    for batch in batches:
        async with outbox.transaction() as transaction:
            transaction.send(*batch)
    await outbox.drained()
    publishing.cancel()
    with suppress(asyncio.CancelledError):
        await publishing


async def _outbox_bare(
    track: Track, connection: asyncpg.Connection, channel: AbstractChannel, batches: Batches
) -> None:
    """The same statements and publishes, one after the other."""
    for batch in batches:
        async with connection.transaction():
            await _by_arrays(connection, _rows_of(batch))
        await asyncio.gather(*(_publish_one(track, channel, message) for message in batch))
        await connection.execute(DELETE, [message.id for message in batch])


Rows = list[tuple[Any, ...]]


def _rows_of(batch: Sequence[Outgoing]) -> Rows:
    now = datetime.now(UTC)
    return [(m.id, m.exchange, m.routing_key, "{}", m.body, now) for m in batch]


async def _rows(
    connection: asyncpg.Connection, batches: Batches, insert: Callable[[asyncpg.Connection, Rows], Awaitable[object]]
) -> None:
    """A commit for each batch."""
    for batch in batches:
        async with connection.transaction():
            await insert(connection, _rows_of(batch))
    await connection.execute(f"TRUNCATE {OUTBOX}")


async def _by_executemany(connection: asyncpg.Connection, rows: Rows) -> None:
    await connection.executemany(OF_PARAMETERS, rows)


async def _by_arrays(connection: asyncpg.Connection, rows: Rows) -> None:
    await connection.execute(OF_ARRAYS, *map(list, zip(*rows, strict=True)))


async def _by_copy(connection: asyncpg.Connection, rows: Rows) -> None:
    schema, _, table = OUTBOX.partition(".")
    await connection.copy_records_to_table(table, schema_name=schema, columns=COLUMNS, records=rows)


def _result(took: Mapping[str, Sequence[float]]) -> Result:
    shown = {name: median(micros) for name, micros in took.items() if not name.startswith("_")}
    ratios = {
        f"{ours}, ratio to {theirs.partition(' by ')[2]}": shown[ours] / shown[theirs]
        for ours, theirs in _compared(shown)
    }
    return Result(
        "broker",
        [
            *(Figure(name, micros, "µs/message") for name, micros in shown.items()),
            *(Figure(name, ratio, "times") for name, ratio in ratios.items()),
        ],
        series={f"{name}, µs/message": micros for name, micros in took.items() if not name.startswith("_")},
    )


def _compared(shown: Mapping[str, float]) -> list[tuple[str, str]]:
    """(ours, a bare library's)"""
    return [
        (ours, theirs)
        for ours in ("publish", "consume", "outbox")
        for theirs in shown
        if theirs.startswith(f"{ours} by ")
    ]
