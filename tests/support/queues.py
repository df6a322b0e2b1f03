"""What lies in queues, for tests to put there and to look at."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiormq.abc

from shared.broker import Broker, Outgoing
from shared.ids import uuid7
from shared.topology import DIRECT


@dataclass(frozen=True, slots=True)
class Found:
    body: bytes
    headers: dict[str, object] = field(default_factory=dict)


async def put(broker: Broker, queue: str, bodies: Sequence[bytes]) -> None:
    messages = [Outgoing(uuid7(), DIRECT, queue, body) for body in bodies]
    assert await broker.publish(messages) == messages


async def depth(broker: Broker, queue: str) -> int:
    """Messages ready to be delivered."""
    channel = await broker.channel(prefetch=1)
    declared = await channel.queue_declare(broker.prefix + queue, passive=True)
    await channel.close()
    return declared.message_count or 0


async def take(broker: Broker, queue: str, count: int = 1) -> list[Found]:
    """The next messages, as soon as there are so many; nothing beyond them is fetched."""
    async with taking(broker, queue) as arrived:
        return [await arrived.get() for _ in range(count)]


@asynccontextmanager
async def taking(broker: Broker, queue: str) -> AsyncIterator["asyncio.Queue[Found]"]:
    arrived: asyncio.Queue[Found] = asyncio.Queue()
    channel = await broker.channel(prefetch=0)

    async def on_message(delivered: aiormq.abc.DeliveredMessage) -> None:
        await arrived.put(Found(delivered.body, dict(delivered.header.properties.headers or {})))

    await channel.basic_consume(broker.prefix + queue, on_message, no_ack=True)
    yield arrived
    await channel.close()


async def let_go(broker: Broker, queue: str, *, times: int, count: int) -> None:
    """Have `count` messages delivered and left unacked by a channel that closes, so many times over."""
    for _ in range(times):
        channel = await broker.channel(prefetch=0)
        arrived: asyncio.Queue[None] = asyncio.Queue()

        async def on_message(_: aiormq.abc.DeliveredMessage, arrived: "asyncio.Queue[None]" = arrived) -> None:
            await arrived.put(None)

        await channel.basic_consume(broker.prefix + queue, on_message)
        for _ in range(count):
            await arrived.get()
        await channel.close()
