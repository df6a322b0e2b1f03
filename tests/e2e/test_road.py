"""A store's order goes in, a verified webhook comes out."""

import asyncio
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession

from cli import books
from cli.order_lines import OrderLine
from cli.posting import Poster, Result, Target, post_all
from cli.receiver import Received, Receiver
from cli.replay import ingest_url
from cli.shop import order_events
from local_stack.stack import Stack
from shared.signing import sign
from support.languages import NODE, present
from support.seed.verify import verify_trustlens_webhook

SECRET = "an endpoint's secret, longer than 32 characters"
SEED = Path(verify_trustlens_webhook.__code__.co_filename).parent
NOW = datetime(2026, 6, 5, 12, tzinfo=UTC)


class Api:
    """The REST API as an integrator calls it."""

    def __init__(self, road: Mapping[str, str], session: ClientSession) -> None:
        self.base = f"{road['TRUSTLENS_API_URL']}/wp-json/trustlens/v1"
        self.session = session
        self._headers = {"X-TrustLens-API-Key": road["TRUSTLENS_API_KEY"]}

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self.session.request(method, self.base + path, json=body, headers=self._headers) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def api(road: Mapping[str, str]) -> AsyncIterator[Api]:
    async with ClientSession() as session:
        yield Api(road, session)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver(secret=SECRET) as receiver:
        yield receiver


@pytest.fixture
def poster(road: Mapping[str, str], api: Api) -> Poster:
    target = Target(
        ingest_url(road["TRUSTLENS_API_URL"], road["TRUSTLENS_STORE_ID"]), road["TRUSTLENS_WOOCOMMERCE_SECRET"]
    )
    return Poster(session=api.session, target=target)


async def play(poster: Poster, lines: list[OrderLine]) -> Counter[Result]:
    results: Counter[Result] = Counter()
    await post_all(lines, poster, on_posted=lambda posted: results.update([posted.result]))
    return results


async def settled(road: Mapping[str, str]) -> books.Books:
    return await books.settled(road["TRUSTLENS_DATABASE_URL"], road["TRUSTLENS_AMQP_URL"], within=60)


def shop_of(*, seed: int, events: int) -> list[OrderLine]:
    return [OrderLine.of(n, event) for n, event in enumerate(order_events(now=NOW, seed=seed)[:events], 1)]


def pid_of(stack: Stack, service: str) -> int:
    return int((stack.folder.run / f"{service}.pid").read_text().split()[0])


async def delivered_ids(road: Mapping[str, str], url: str) -> set[str]:
    connection = await asyncpg.connect(road["TRUSTLENS_DATABASE_URL"])
    try:
        rows = await connection.fetch(
            "SELECT d.id FROM dispatcher.deliveries d JOIN dispatcher.endpoints e ON e.id = d.endpoint_id"
            " WHERE e.url = $1 AND d.status = 'delivered'",
            url,
        )
    finally:
        await connection.close()
    return {str(row["id"]) for row in rows}


def accepts(received: Received) -> bool:
    """What the seed's Python receiver says."""
    return bool(verify_trustlens_webhook(received.body, received.signature, received.timestamp, SECRET))


def node_accepts(received: list[Received]) -> list[bool]:
    """What the seed's Node receiver says."""
    node = str(present(NODE))
    lines = (
        json.dumps({"body": r.body.decode(), "signature": r.signature, "timestamp": r.timestamp, "secret": SECRET})
        for r in received
    )
    script = SEED / "verify.js"
    done = subprocess.run(  # our own script
        [node, str(script)], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    return [line == "true" for line in done.stdout.split()]


async def test_orders_become_webhooks_that_the_seed_s_receivers_accept(
    road: Mapping[str, str], api: Api, poster: Poster, receiver: Receiver
) -> None:
    await api.call("POST", "/webhooks", {"url": receiver.url("/crm"), "secret": SECRET})
    lines = shop_of(seed=7, events=300)
    assert await play(poster, lines) == {Result.ACCEPTED: 300}
    balance = await settled(road)
    assert balance.balanced, balance.lines

    came = [received for received in receiver.received if received.path == "/crm"]
    assert {received.event for received in came} >= {"score_updated"}
    assert all(received.verified and accepts(received) for received in came)
    assert len({received.delivery_id for received in came}) == len(came)
    assert all(node_accepts(came))

    first = came[0]
    changed = replace(first, body=first.body.replace(b"score_updated", b"score_updatee"))
    then = int(first.timestamp) - 360
    old = replace(first, timestamp=str(then), signature=sign(SECRET, then, first.body))
    assert not accepts(changed)
    assert not accepts(old)
    assert node_accepts([changed, old]) == [False, False]

    assert await play(poster, lines) == {Result.DUPLICATE: 300}
    await settled(road)
    assert len([received for received in receiver.received if received.path == "/crm"]) == len(came)


async def test_a_rule_s_webhook_is_tried_again_with_the_same_delivery_id(
    road: Mapping[str, str], api: Api, poster: Poster, receiver: Receiver
) -> None:
    receiver.answers["/rule"] = 500
    rule = {
        "name": "Every order of a new customer",
        "trigger": "order_placed",
        "conditions": {"all": [{"field": "email_domain", "operator": "=", "value": "rule.example"}]},
        "actions": [{"type": "send_webhook", "url": receiver.url("/rule"), "secret": SECRET}],
    }
    status, made = await api.call("POST", "/rules", rule)
    assert status == 201, made
    event = order_events(now=NOW, seed=8)[0]
    event.order["billing"]["email"] = "somebody@rule.example"
    await play(poster, [OrderLine.of(1, event)])

    (first,) = await receiver.wait_for(1, within=20, where=lambda r: r.path == "/rule")
    receiver.answers["/rule"] = 200
    tries = await receiver.wait_for(2, within=20, where=lambda r: r.path == "/rule")
    assert {r.delivery_id for r in tries} == {first.delivery_id}
    assert {r.body for r in tries} == {first.body}
    assert all(r.verified and accepts(r) for r in tries)
    body = json.loads(first.body)
    assert (body["event"], body["rule"]["id"], body["order_id"]) == (
        "automation_triggered",
        made["id"],
        event.order["id"],
    )
    assert (await settled(road)).balanced


@pytest.mark.parametrize("service", ["scorer", "rule-engine", "dispatcher", "api"])
async def test_a_service_that_is_killed_while_orders_come_in_loses_nothing(
    service: str, stack_up: Stack, road: Mapping[str, str], api: Api, poster: Poster, receiver: Receiver
) -> None:
    path = f"/killed-{service}"
    await api.call("POST", "/webhooks", {"url": receiver.url(path), "secret": SECRET})
    lines = shop_of(seed=sum(service.encode()), events=400)
    posting = asyncio.create_task(play(poster, lines))
    await receiver.wait_for(20, within=30, where=lambda r: r.path == path)
    os.kill(pid_of(stack_up, service), signal.SIGKILL)
    await asyncio.to_thread(stack_up.up)
    results = await posting
    assert results[Result.REJECTED] == 0
    balance = await settled(road)
    assert (balance.balanced, balance.unfinished) == (True, 0), balance.lines

    delivered = await delivered_ids(road, receiver.url(path))
    came = [received for received in receiver.received if received.path == path]
    assert delivered
    assert delivered <= {received.delivery_id for received in came if received.verified}
    bodies = {received.delivery_id: received.body for received in came}
    assert all(bodies[received.delivery_id] == received.body for received in came)
