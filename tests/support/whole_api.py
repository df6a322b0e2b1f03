"""The api with all whom it asks, in this process: real owners on a real broker; whoever is sent to answers 200."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg

from api.settings import ApiSettings
from api.stores import CreatedStore
from dispatcher.attempt import Attempts
from dispatcher.classify import Answer
from dispatcher.commands import EndpointCommands
from dispatcher.deliveries import Rules
from dispatcher.recorder import Recorder
from dispatcher.send import Sender
from rule_engine.__main__ import run as run_rule_engine
from rule_engine.settings import RuleEngineSettings
from scorer.__main__ import run as run_scorer
from scorer.settings import ScorerSettings
from shared.broker import Broker
from shared.db import Partitions
from shared.secrets import Vault
from shared.targets import Reach
from support.api_client import ApiClient, serving
from support.owner import owning


class Anywhere:
    """All receivers there are."""

    async def send(self, *_: object, **__: object) -> Answer:
        return Answer(1, status_code=200)


@asynccontextmanager
async def opened(
    settings: ApiSettings, store: CreatedStore, pool: asyncpg.Pool, broker: Broker, vault: Vault
) -> AsyncIterator[ApiClient]:
    common = settings.model_dump(include={"database_url", "amqp_url", "name_prefix", "secret_keys", "pool_size"})
    async with AsyncExitStack() as stack:
        stop = asyncio.Event()
        for service in (
            run_scorer(ScorerSettings(**common), stop),
            run_rule_engine(RuleEngineSettings(**common), stop),
        ):
            task = asyncio.create_task(cast("Any", service))
            stack.push_async_callback(_stopped, stop, task)
        await stack.enter_async_context(_dispatcher(pool, broker, vault))
        yield await stack.enter_async_context(serving(settings, store))


async def _stopped(stop: asyncio.Event, service: Awaitable[None]) -> None:
    stop.set()
    await service


@asynccontextmanager
async def _dispatcher(pool: asyncpg.Pool, broker: Broker, vault: Vault) -> AsyncIterator[None]:
    """Its commands. What is sent reaches nobody outside."""

    def now() -> datetime:
        return datetime.now(UTC)

    recorder = Recorder(pool, Rules(), now)
    attempts = Attempts(sender=cast("Sender", Anywhere()), recorder=recorder, reach=Reach(), clock=now)
    commands = EndpointCommands(
        pool=pool,
        vault=vault,
        reach=Reach(),
        attempts=attempts,
        partitions=Partitions("dispatcher.deliveries", "dispatcher.attempts", "dispatcher.bodies"),
        lease=timedelta(minutes=1),
        overlap=timedelta(days=1),
        clock=now,
    )
    recording = asyncio.create_task(recorder.run())
    async with owning("dispatcher", pool, broker, commands.handlers(), commands.background()):
        yield
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
