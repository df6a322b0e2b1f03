"""A stand-in for the service that owns a thing: takes its commands from its real queue."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

from shared.broker import Broker
from shared.commands import BackgroundHandler, Commands, Handler, parse_asked
from shared.consumer import Consumer
from shared.outbox import Outbox


@asynccontextmanager
async def owning(
    service: str,
    pool: asyncpg.Pool,
    broker: Broker,
    handlers: Mapping[str, Handler],
    background: Mapping[str, BackgroundHandler] | None = None,
) -> AsyncIterator[None]:
    schema = service.replace("-", "_")
    commands = Commands(
        outbox=Outbox(pool, broker, schema), broker=broker, schema=schema, handlers=handlers, background=background
    )
    consumer = Consumer(
        queue=f"{service}.commands",
        schema=schema,
        broker=broker,
        pool=pool,
        parse=parse_asked,
        process=commands.process,
        batch_size=10,
    )
    stop = asyncio.Event()
    consuming = asyncio.create_task(consumer.run(stop))
    try:
        yield
    finally:
        stop.set()
        await consuming
