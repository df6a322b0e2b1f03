"""`trustlens demo`: a shop's orders go in, verified webhooks come out, and the books balance."""

import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import aiohttp
import asyncpg
import typer
import uvloop
from rich.console import Console

from api import stores
from cli import books, demo_numbers, progress, stack_env
from cli.demo_summary import Findings, complaints, print_findings
from cli.latency import PostTimes
from cli.order_lines import OrderLine
from cli.posting import Posted, Poster, Result, Target, UnavailableError, post_all
from cli.receiver import Receiver
from cli.replay import ingest_url
from cli.shop import order_events
from cli.wc_order import ShopEvent
from local_stack.errors import StackError
from local_stack.stack import Stack as LocalStack
from shared.secrets import Vault

SHOP_URL = "https://shop.example"
SEED = 1
SETTLE_SECONDS = 60.0
EVENTS_PER_SECOND = 100.0
"""Below what one small machine sustains: the latencies shall be those of deliveries, not of a queue."""
ENDPOINT_PATH, RULE_PATH = "/hooks/crm", "/hooks/rule"


@dataclass(frozen=True, slots=True)
class Stack:
    """What of `stack.env` the demo needs."""

    api_url: str
    database_url: str
    amqp_url: str
    vault: Vault

    @classmethod
    def of(cls, env: Mapping[str, str]) -> "Stack":
        return cls(
            stack_env.need(env, "TRUSTLENS_API_URL").rstrip("/"),
            stack_env.need(env, "TRUSTLENS_DATABASE_URL"),
            stack_env.need(env, "TRUSTLENS_AMQP_URL"),
            Vault(stack_env.need(env, "TRUSTLENS_SECRET_KEYS")),
        )


class RefusedError(Exception):
    """The API did not accept the demo's endpoint or rule."""


@dataclass
class Playing:
    """What is noted while the shop's events are posted."""

    emails: Mapping[int, str]  # by order id
    times: PostTimes = field(default_factory=PostTimes)
    results: Counter[Result] = field(default_factory=Counter)
    first_rejection: str = ""

    def note(self, posted: Posted) -> None:
        self.results[posted.result] += 1
        if posted.result is Result.REJECTED:
            self.first_rejection = self.first_rejection or posted.detail
        elif isinstance(posted.line, OrderLine):
            order_id = posted.line.order_id
            self.times.note(order_id=order_id, email=self.emails[order_id], at=posted.started_at)


async def run(stack: Stack, events: Sequence[ShopEvent], console: Console) -> Findings:
    """A new store for each run, so that the second run starts where the first did."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        return await _run(stack, events, connection, console)
    finally:
        await connection.close()


async def _run(stack: Stack, events: Sequence[ShopEvent], connection: asyncpg.Connection, console: Console) -> Findings:
    store = await stores.create_store(connection, stack.vault, url=SHOP_URL, name="Demo shop")
    hooks = {ENDPOINT_PATH: secrets.token_urlsafe(32), RULE_PATH: secrets.token_urlsafe(32)}
    async with aiohttp.ClientSession() as session, Receiver(secrets=hooks) as receiver:
        await _register(session, stack.api_url, store.api_key, receiver)
        console.print(f"Playing {len(events):,} order events of a shop, into a receiver on port {receiver.port}")
        target = Target(ingest_url(stack.api_url, str(store.id)), store.woocommerce_secret, SHOP_URL)
        began = time.monotonic()
        playing = await _play(events, Poster(session=session, target=target))
        posting_seconds = time.monotonic() - began
        balance = await books.settled(stack.database_url, stack.amqp_url, within=SETTLE_SECONDS)
        console.print(books.table(balance))
        return Findings(
            posted=playing.results,
            first_rejection=playing.first_rejection,
            posting_seconds=posting_seconds,
            numbers=await demo_numbers.read(connection, store.id),
            received=list(receiver.received),
            latencies=_latencies(playing.times, receiver),
            balanced=balance.balanced,
        )


async def _register(session: aiohttp.ClientSession, api_url: str, key: str, receiver: Receiver) -> None:
    """An endpoint with the default events, and a rule that tells when a customer becomes a risk."""
    endpoint = {"url": receiver.url(ENDPOINT_PATH), "secret": receiver.secrets[ENDPOINT_PATH]}
    action = {"type": "send_webhook", "url": receiver.url(RULE_PATH), "secret": receiver.secrets[RULE_PATH]}
    rule = {
        "name": "Became a risk",
        "trigger": "segment_changed",
        "conditions": {"field": "new_segment", "operator": "in", "value": ["risk", "critical"]},
        "actions": [action],
    }
    await _create(session, f"{api_url}/wp-json/trustlens/v1/webhooks", key, endpoint)
    await _create(session, f"{api_url}/wp-json/trustlens/v1/rules", key, rule)


async def _create(session: aiohttp.ClientSession, url: str, key: str, body: Mapping[str, Any]) -> None:
    async with session.post(url, json=body, headers={"X-TrustLens-API-Key": key}) as response:
        if response.status != 201:
            raise RefusedError(f"POST {url}: {response.status} {await response.text()}")


async def _play(events: Sequence[ShopEvent], poster: Poster) -> Playing:
    playing = Playing({event.order["id"]: event.order["billing"]["email"] for event in events})
    lines = (OrderLine.of(number, event) for number, event in enumerate(events, start=1))
    await post_all(lines, poster, on_posted=playing.note, rate=EVENTS_PER_SECOND)
    return playing


def _latencies(times: PostTimes, receiver: Receiver) -> list[float]:
    found = (times.latency(received) for received in receiver.received if received.verified)
    return [latency for latency in found if latency is not None]


def report(findings: Findings, console: Console) -> bool:
    """Print the summary; whether everything that was promised happened."""
    print_findings(findings, console)
    problems = complaints(findings)
    for problem in problems:
        console.print(problem, style="red", markup=False)
    return not problems


def command(
    *,
    seed: Annotated[int, typer.Option(help="Another seed is another shop.")] = SEED,
) -> None:
    """Play a generated shop through the whole system on this machine and check every result.

    Exit code 1: the books do not balance, or a delivered webhook did not arrive verified.
    """
    console, began = Console(), time.monotonic()
    events = order_events(now=datetime.now(UTC), seed=seed)
    local = LocalStack()
    was_up = local.runs()
    try:
        local.up(progress.step)
        findings = uvloop.run(run(Stack.of(stack_env.read()), events, console))
        good = report(findings, console)
    except (StackError, RefusedError, UnavailableError) as error:
        console.print(str(error), style="red", markup=False)
        good = False
    finally:
        if not was_up:
            local.down(progress.step)
    console.print(f"The demo took {time.monotonic() - began:.0f} s and {'succeeded' if good else 'FAILED'}.")
    raise typer.Exit(0 if good else 1)
