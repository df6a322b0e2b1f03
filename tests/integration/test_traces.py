"""One trace from a store's webhook to the receivers', through the four services as processes and a real collector."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aio_pika
import aiohttp
import asyncpg
import pytest

from api.stores import create_store
from local_stack.stack import Stack
from shared import topology
from shared.secrets import Vault
from support import servers
from support.api_client import ApiClient
from support.collector import Collector, Span, collecting
from support.dispatching import Receiver, receiving
from support.orders import order

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
"""The trace id of the specification's own example."""
TRACEPARENT = f"00-{CALLER}-00f067aa0ba902b7-01"
SERVICES = ("scorer", "rule_engine", "dispatcher", "api")


@dataclass
class Log:
    """What a service writes."""

    process: Process
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def until(self, event: str) -> dict[str, Any]:
        assert self.process.stdout
        while not (self.lines and self.lines[-1]["event"] == event):
            self.lines.append(json.loads(await self.process.stdout.readline()))
        return self.lines[-1]


@asynccontextmanager
async def process(module: str, environment: Mapping[str, str]) -> AsyncIterator[Log]:
    started = await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=environment, stdout=PIPE)
    try:
        yield Log(started)
    finally:
        started.terminate()
        await started.communicate()
        assert started.returncode == 0


@dataclass(frozen=True)
class Road:
    api: ApiClient
    receiver: Receiver
    collector: Collector
    logs: Mapping[str, Log]


@pytest.fixture(scope="module")
async def road(postgres: Stack, amqp_url: str, secret_keys: str, vault: Vault) -> AsyncIterator[Road]:
    """Once for all: its processes take seconds to start."""
    prefix = f"t{uuid4().hex[:12]}."
    async with AsyncExitStack() as stack:
        database_url = await stack.enter_async_context(servers.copied_database(postgres))
        collector = await stack.enter_async_context(collecting())
        receiver = await stack.enter_async_context(receiving())
        environment = {
            "PATH": os.environ["PATH"],
            "TRUSTLENS_DATABASE_URL": database_url,
            "TRUSTLENS_AMQP_URL": amqp_url,
            "TRUSTLENS_SECRET_KEYS": secret_keys,
            "TRUSTLENS_NAME_PREFIX": prefix,
            "TRUSTLENS_POOL_SIZE": "4",
            "TRUSTLENS_ALLOW_HTTP": "true",
            "TRUSTLENS_ALLOWED_TARGETS": "127.0.0.0/8",
            "TRUSTLENS_RETRY_DELAYS": "0.1,0.1,0.1",
            "TRUSTLENS_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",  # milliseconds; the SDK's own are 5,000
        }
        connection = await asyncpg.connect(database_url)
        store = await create_store(connection, vault, url="https://shop.example", name="Shop")
        await connection.close()
        logs = {name: await stack.enter_async_context(process(name, environment)) for name in SERVICES}
        port = (await logs["api"].until("service.listening"))["port"]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        api = ApiClient(session, f"http://127.0.0.1:{port}", store, asyncio.Event())
        yield Road(api, receiver, collector, logs)
    async with await aio_pika.connect(amqp_url) as broker, broker.channel() as channel:
        for queue in topology.QUEUES:
            await channel.queue_delete(prefix + queue.name)
            await channel.queue_delete(prefix + topology.dead(queue.name))


def shown(spans: list[Span]) -> set[tuple[str, str]]:
    return {(span.service, span.name) for span in spans}


async def deliver(road: Road, number: int, *, traceparent: str = TRACEPARENT) -> None:
    answer = await road.api.deliver(
        json.dumps(order(id=number)).encode(), delivery_id=str(number), headers={"traceparent": traceparent}
    )
    assert answer.status == 202


async def test_a_webhook_that_comes_in_and_all_that_comes_of_it_are_one_trace(road: Road) -> None:
    rule = {
        "name": "Every new order",
        "trigger": "order_placed",
        "actions": [
            {"type": "send_webhook", "url": f"{road.receiver.url}/rule"},
            {"type": "tag_customer", "tag": "new"},
        ],
    }
    assert (await road.api.post("/rules", json=rule)).status == 201
    asked = {"url": f"{road.receiver.url}/endpoint", "delivery": "retry", "events": ["score_updated"]}
    road.receiver.statuses["/endpoint"] = 500
    assert (await road.api.post("/webhooks", json=asked)).status == 201

    await deliver(road, 1)

    received = [await road.receiver.next() for _ in range(5)]
    assert sorted(one.path for one in received) == [*["/endpoint"] * 4, "/rule"]
    assert {one.headers["traceparent"].split("-")[1] for one in received} == {CALLER}
    expected = {
        ("api", "POST /wp-json/trustlens/v1/ingest/woocommerce/{store_id}"),
        ("api", "store inputs"),
        ("api", "INSERT api.raw_input"),
        ("api", "INSERT api.outbox"),
        ("api", "publish api.outbox"),
        ("scorer", "process scorer.facts"),
        ("scorer", "UPDATE scorer.customers"),
        ("scorer", "process scorer.actions"),
        ("rule-engine", "process rule-engine.events"),
        ("dispatcher", "process dispatcher.events"),
        ("dispatcher", "process dispatcher.automation"),
        ("dispatcher", "deliver"),
    }

    def complete() -> bool:
        trace = road.collector.trace(CALLER)
        return expected <= shown(trace) and len([span for span in trace if span.name == "deliver"]) == 5

    await road.collector.until(complete)
    trace = road.collector.trace(CALLER)
    assert {span.parent_id for span in trace} - {span.span_id for span in trace} == {"00f067aa0ba902b7"}
    attempts = [span for span in trace if span.name == "deliver"]
    answers = Counter((span.told["http.response.status_code"], span.failed) for span in attempts)
    assert answers == {(500, True): 4, (200, False): 1}
    assert {one.headers["traceparent"].split("-")[2] for one in received} == {span.span_id for span in attempts}
    line = await road.logs["dispatcher"].until("delivery.attempt")
    assert line["trace_id"] == CALLER
    assert line["span_id"] in {span.span_id for span in attempts}


async def test_what_is_done_with_many_messages_together_is_a_trace_that_is_linked_with_theirs(road: Road) -> None:
    traces = [f"{number:032x}" for number in range(1, 21)]
    await asyncio.gather(
        *(deliver(road, n, traceparent=f"00-{trace}-00f067aa0ba902b7-01") for n, trace in enumerate(traces, 201))
    )

    def linked() -> set[str]:
        batches = [span for span in road.collector.spans if span.name == "store inputs (batch)"]
        alone = {span.trace_id for span in road.collector.spans if span.name == "store inputs" and not span.links}
        return alone.union(*(span.links for span in batches))

    await road.collector.until(lambda: linked() >= set(traces))
    batches = {span.trace_id for span in road.collector.spans if span.name == "store inputs (batch)"}
    assert batches
    assert not batches & set(traces)
    inserted = {span.trace_id for span in road.collector.spans if span.name == "INSERT api.raw_input"}
    assert batches <= inserted


async def test_a_trace_that_its_caller_does_not_keep_is_kept_by_nobody_here(road: Road) -> None:
    kept, unkept = "a" * 32, "b" * 32
    await deliver(road, 101, traceparent=f"00-{unkept}-00f067aa0ba902b7-00")
    await deliver(road, 102, traceparent=f"00-{kept}-00f067aa0ba902b7-01")
    await road.collector.until(lambda: ("scorer", "process scorer.facts") in shown(road.collector.trace(kept)))
    assert road.collector.trace(unkept) == []


async def test_nothing_personal_is_in_a_trace(road: Road) -> None:
    await deliver(road, 103, traceparent=f"00-{'c' * 32}-00f067aa0ba902b7-01")
    await road.collector.until(lambda: ("scorer", "process scorer.facts") in shown(road.collector.trace("c" * 32)))
    told = json.dumps([dict(span.told) for span in road.collector.spans])
    given = json.loads(json.dumps(order(id=103)))["billing"]
    assert [value for value in given.values() if len(str(value)) > 3 and str(value) in told] == []
