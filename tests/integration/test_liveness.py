"""A service that hangs though its loop turns says so at /healthz, one that waits for what is away does not."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from integration.conftest import Until
from shared import health
from shared.broker import Broker
from shared.consumer import Message
from shared.depths import measure
from shared.service import Service, running
from shared.settings import Settings
from shared.steps import Step
from shared.topology import dead
from support.queues import put, take

QUEUE = "rule-engine.events"
SOON = 0.05
"""Seconds; a service's own patience is a minute."""


@pytest.fixture
def settings(database_url: str, amqp_url: str, name_prefix: str, secret_keys: str) -> Settings:
    return Settings(
        database_url=database_url, amqp_url=amqp_url, name_prefix=name_prefix, secret_keys=secret_keys, pool_size=2
    )


@pytest.fixture
async def service(settings: Settings, broker: Broker) -> AsyncIterator[Service]:
    async with running("rule-engine", "rule_engine", settings, asyncio.Event()) as service:
        app = web.Application()
        health.add_routes(app, {}, steps=service.steps, stuck_seconds=SOON)
        await service.listen(app)
        yield service


async def is_stuck(service: Service) -> bool:
    """Whether the consumer is: others may well take longer than this test's patience."""
    async with aiohttp.request("GET", f"http://127.0.0.1:{service.port}/healthz") as answer:
        stuck = (await answer.json()).get("tasks", {}).keys()
        assert answer.status == (503 if stuck else 200)
        return QUEUE in stuck


async def test_a_consumer_that_stands_on_one_batch_is_named_until_it_goes_on(
    service: Service, broker: Broker, until: Until
) -> None:
    on_it, go_on = asyncio.Event(), asyncio.Event()

    async def process(_: Sequence[bytes]) -> None:
        on_it.set()
        await go_on.wait()

    async def moves() -> bool:
        return not await is_stuck(service)

    service.work(QUEUE, service.consume(QUEUE, _body, process))
    assert await moves()
    await put(broker, QUEUE, [b"1"])
    await on_it.wait()
    await until(partial(is_stuck, service))
    assert (REGISTRY.get_sample_value("trustlens_step_seconds", {"task": QUEUE}) or 0) > SOON
    await service.look_at_steps(SOON)
    assert await is_stuck(service), "all that it may wait for is there"
    go_on.set()
    await until(moves)


@pytest.mark.parametrize("away", ["broker", "database"])
async def test_who_waits_for_what_is_away_is_excused(service: Service, settings: Settings, away: str) -> None:
    lost = replace(service, broker=Broker("amqp://nobody", service="tests")) if away == "broker" else service
    if away == "database":
        nowhere = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
        lost = replace(service, settings=nowhere)
    step = Step("waiting")
    lost.steps.append(step)
    step.begin()
    await asyncio.sleep(SOON)
    waited = step.seconds(time.monotonic())
    await lost.look_at_steps(SOON / 2)
    assert step.seconds(time.monotonic()) < waited


async def test_what_waits_in_queues_and_lies_dead_is_seen(service: Service, broker: Broker, until: Until) -> None:
    await put(broker, QUEUE, [b"1", b"2", b"3"])
    await put(broker, dead(QUEUE), [b"4"])

    async def seen() -> bool:
        await measure(broker)
        return (_seen(QUEUE), _seen(dead(QUEUE))) == (3, 1)

    await until(seen)
    assert len(await take(broker, QUEUE, count=3)) == 3


def _seen(queue: str) -> float | None:
    return REGISTRY.get_sample_value("trustlens_queue_messages", {"queue": queue})


def _body(message: Message) -> bytes:
    return message.body
