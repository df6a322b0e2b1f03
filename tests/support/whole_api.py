"""The api with all whom it asks, in this process: real owners on a real broker; whoever is sent to answers 200."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg

from api.examples import EVENTS, NOTE, WEBHOOK
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
from shared.broker import Broker, Outgoing
from shared.db import Partitions
from shared.ids import uuid7
from shared.secrets import Vault
from shared.targets import Reach
from shared.topology import DIRECT
from support.api_client import ApiClient, serving
from support.delivery_rows import insert_attempt, insert_delivery
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


async def stocked(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> Mapping[str, str]:
    """One of each thing that there is, in the api's store: what is listed is then not empty. Their ids, by route."""
    rule = {"name": "All orders", "trigger": "order_placed", "actions": [{"type": "add_note", "text": "seen"}]}
    webhook = await _made(api, "/webhooks", WEBHOOK["all defaults"])
    made = await _made(api, "/rules", rule)
    for body in EVENTS.values():
        assert (await api.post("/ingest/events", json=body)).status == 200
    lookup = "/customers/lookup?email=jane@example.com"
    while (found := await api.get(lookup)).status != 200:  # noqa: ASYNC110  # as of a row, nothing tells of it
        await asyncio.sleep(0.05)
    hashed = found.json["email_hash"]
    await _made(api, f"/customers/{hashed}/notes", NOTE["note"])
    assert (await api.post(f"/webhooks/{webhook}/test", json={})).status == 200
    delivery = await insert_delivery(pool, api.store.id, endpoint_id=UUID(webhook), email_hash=hashed)
    await insert_attempt(pool, delivery)
    return {
        "customers": hashed,
        "webhooks": webhook,
        "rules": made,
        "deliveries": str(delivery),
        "jobs": (await api.post("/store/recompute", json={})).json["job_id"],
        "dead": await _bury(api, broker),
        "keys": (await api.get("/keys")).json[0]["id"],
    }


async def _made(api: ApiClient, path: str, body: object) -> str:
    answer = await api.post(path, json=body)
    assert answer.status == 201, answer.text
    return str(answer.json["id"])


async def _bury(api: ApiClient, broker: Broker) -> str:
    """As a consumer does it; the message's id."""
    message_id = str(uuid7())
    told = {"reason": "rejected", "error": "ValueError", "service": "scorer", "message-id": message_id}
    headers = {f"x-trustlens-{name}": value for name, value in told.items()}
    body = json.dumps({"store_id": str(api.store.id)}).encode()
    copy = Outgoing(uuid7(), DIRECT, "scorer.facts.dead", body, headers)
    assert await broker.publish([copy]) == [copy]
    return message_id
