"""One run: load and faults at once, then peace until nothing is under way, then the audit."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp
import asyncpg
from rich.console import Console

from bench.faults import database, replica, report
from bench.faults.audit import Told, audit
from bench.faults.chaos import KINDS, Kind, plan
from bench.faults.inflict import Inflicting
from bench.faults.ledger import Arrival, Ledger, digest
from bench.faults.load import ANSWER_SECONDS, Shop
from bench.faults.orders import Version, orders
from bench.faults.report import Run
from bench.faults.setting import PATHS, SECRETS, set_up
from bench.faults.site import Site, site, until_ready
from cli import books
from cli.books import Books
from cli.receiver import Received, Receiver
from cli.replay import ingest_url
from local_stack import passwords
from local_stack.stack import Stack
from shared.secrets import Vault

LINE_SECONDS = 5.0
LOOK_SECONDS = 2.0
BASE = "/wp-json/trustlens/v1"
EPOCH = timedelta(hours=12)
"""The shop's orders are so old: none lies ahead, however long a run is."""
PATIENCE = 120.0
"""Seconds after the load in which the shop still tries to post what was not accepted."""


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    kills: int = 100
    seconds: float = 480
    rate: float = 20
    """Webhooks a second."""
    settle: float = 600
    """Seconds after which what is still under way counts as lost."""
    only: Collection[Kind] = KINDS


async def run(stack: Stack, options: Options) -> Run:
    kept = Ledger()
    faults = plan(options.seed, kills=options.kills, seconds=options.seconds, only=options.only)
    made = orders(options.seed, rate=options.rate, seconds=options.seconds)
    async with _parts(stack, kept) as (where, receiver, shop):
        inflicting = Inflicting(where, receiver, kept)
        async with _watched(where, kept), _shown(lambda: _line(kept, inflicting, len(faults))):
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                until = asyncio.get_running_loop().time() + options.seconds + PATIENCE
                group.create_task(shop.post_all(made, until=until), name="load")
                group.create_task(inflicting.run(faults), name="faults")
            seconds = time.monotonic() - began
            await until_ready(where.replicas.values())
        began = time.monotonic()
        balance = await _settled(stack, within=options.settle)
        settling = time.monotonic() - began
        told = await _told(stack, [version for versions in made for version in versions], balance)
    verdict = audit(kept, told, PATHS)
    return Run(options.seed, options.rate, seconds, settling, tuple(inflicting.done), kept, verdict)


def _line(kept: Ledger, inflicting: Inflicting, planned: int) -> str:
    return report.progress(kept, done=inflicting.done, now=inflicting.now, planned=planned)


@asynccontextmanager
async def _parts(stack: Stack, kept: Ledger) -> AsyncIterator[tuple[Site, Receiver, Shop]]:
    async with AsyncExitStack() as open_:
        where = await open_.enter_async_context(site(stack))
        receiver = Receiver(
            secrets=SECRETS,
            port=where.receiver_port,
            remember=0,
            on_received=lambda received: kept.arrivals.append(_arrival(received)),
        )
        await open_.enter_async_context(receiver)
        apis = [api.url for api in where.of("api")]
        async with aiohttp.ClientSession(headers={"X-TrustLens-API-Key": where.store["TRUSTLENS_API_KEY"]}) as owner:
            await set_up(owner, apis[0] + BASE, where.receiver_url)
        session = await open_.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS), connector=aiohttp.TCPConnector(limit=0)
            )
        )
        urls = [ingest_url(api, where.store["TRUSTLENS_STORE_ID"]) for api in apis]
        epoch = datetime.now(UTC) - EPOCH
        yield where, receiver, Shop(session, urls, where.store["TRUSTLENS_WOOCOMMERCE_SECRET"], kept, epoch)


def _arrival(received: Received) -> Arrival:
    return Arrival(
        at=received.received_at,
        path=received.path,
        delivery=received.delivery_id,
        event=received.event,
        customer=received.customer,
        sequence=received.sequence,
        order_id=received.order_id,
        digest=digest(received.body),
        verified=received.verified,
        status=None if received.answer == "hang" else received.answer,
        tells=json.loads(received.body).get("customer", {}) if received.verified else {},
    )


@asynccontextmanager
async def _watched(where: Site, kept: Ledger) -> AsyncIterator[None]:
    stop = asyncio.Event()
    watching = asyncio.create_task(replica.watch(where.replicas, kept.ended, stop), name="watch")
    try:
        yield
    finally:
        stop.set()
        await watching


@asynccontextmanager
async def _shown(line: Callable[[], str]) -> AsyncIterator[None]:
    """A line that changes on a terminal, one every few seconds elsewhere; and a last one."""
    console, began = Console(), time.monotonic()
    status = console.status("") if console.is_terminal else None

    def told() -> str:
        return f"{time.monotonic() - began:4.0f} s: {line()}"

    async def show() -> None:
        while True:
            await asyncio.sleep(1 if status else LINE_SECONDS)
            if status:
                status.update(told())
            else:
                console.print(told(), highlight=False, soft_wrap=True)

    with status or nullcontext():
        showing = asyncio.create_task(show(), name="progress")
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
    console.print(told(), highlight=False, soft_wrap=True)


async def _settled(stack: Stack, *, within: float) -> Books:
    """The books once they balance and nothing is under way, or as they are after `within` seconds."""
    deadline, left = time.monotonic() + within, "looking"
    async with _shown(lambda: f"waiting until all is done: {left}"):
        while True:
            balance = await books.check(stack.database_url, stack.amqp_url)
            if (balance.balanced and not balance.unfinished) or time.monotonic() > deadline:
                left = "nothing is left"
                return balance
            left = _left(balance)
            await asyncio.sleep(LOOK_SECONDS)


def _left(balance: Books) -> str:
    lines = [f"{line.name} {line.count}" for line in balance.lines if not line.balanced]
    return "; ".join([f"{balance.unfinished} deliveries under way", *lines])


async def _told(stack: Stack, made: Collection[Version], balance: Books) -> Told:
    people = sorted({version.customer for version in made})
    connection = await asyncpg.connect(stack.database_url)
    try:
        return await database.read(
            connection,
            Vault(passwords.kept(stack.folder).secret_key),
            people=people,
            unbalanced=[str(line) for line in balance.lines if not line.balanced],
        )
    finally:
        await connection.close()
