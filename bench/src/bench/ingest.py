"""How many orders a second one api process accepts, and how long a store waits at half of that."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from math import nan
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from bench import asking, stack
from bench.asking import BASE, ApiProcess
from bench.lookup import content_length
from bench.metrics import cpu_seconds
from bench.progress import counted
from bench.report import Bound, Figure, Result
from bench.stack import Site, Track
from cli.latency import percentile
from cli.shop import order_events
from cli.wc_order import Order
from local_stack.errors import StackError

CONNECTIONS = 64
WARMING_SECONDS = 1.0
"""Not measured: connections to Postgres open, statements are planned."""
BODY_BYTES = 3500
"""Of a usual order: between 3 and 4 kB, half of it what plugins write."""
PATTERNS = 500
"""Orders of the demo shop that are sent again and again under other ids."""
ACCEPTED = Bound("at least", 1000)
P99 = Bound("at most", 50)
NONE = Bound("at most", 0)


@dataclass(slots=True)
class Asked:
    """What came of many webhooks."""

    times: list[float] = field(default_factory=list)
    """Milliseconds from when each was due."""
    due: list[float] = field(default_factory=list)
    """When each was, by time.monotonic(), in the order in which they were taken."""
    refused: int = 0
    """Not answered 202."""
    seconds: float = 0
    processor: float = 0
    """Seconds that the api used meanwhile."""

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds


async def measure(site: Site, *, seconds: float, rounds: int) -> Result:
    async with stack.track(site) as track:
        webhooks = _webhooks(await secret(track), path(track))
        async with asking.api(track) as api:
            await ask(api, webhooks, WARMING_SECONDS)
            with counted("ingest", rounds + 1) as show:
                busy = []
                for number in range(rounds):
                    busy.append(await ask(api, webhooks, seconds))
                    show(number + 1)
                paced = await ask(api, webhooks, 2 * seconds, rate=ACCEPTED.limit / 2)
    return _result(busy, paced)


def path(track: Track) -> str:
    """Where the first shop's webhooks go."""
    return f"{BASE}/ingest/woocommerce/{track.site.shops[0].id}"


async def secret(track: Track) -> str:
    """Of the first shop."""
    async with stack.connected(track) as pool:
        sealed = await pool.fetchval("SELECT woocommerce_secret FROM api.stores WHERE id = $1", track.site.shops[0].id)
    return track.site.vault.open(sealed).decode()


def _webhooks(secret: str, path: str) -> Iterator[bytes]:
    """Without end, each another order, signed as the store would."""
    patterns = [event.order for event in islice(order_events(now=datetime.now(UTC), seed=1), PATTERNS)]
    for number, order in enumerate(_again_and_again(patterns), 1_000_000):
        yield request(body_of(order, number), number, secret=secret, path=path)


def request(body: bytes, number: int, *, secret: str, path: str) -> bytes:
    """The number-th webhook, as a store sends it."""
    signature = base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"X-WC-Webhook-Source: https://shop.example/\r\nX-WC-Webhook-Topic: order.updated\r\n"
        f"X-WC-Webhook-ID: 7\r\nX-WC-Webhook-Delivery-ID: {number}\r\n"
        f"X-WC-Webhook-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _again_and_again(patterns: Sequence[Order]) -> Iterator[Order]:
    while True:
        yield from patterns


def body_of(order: Mapping[str, Any], number: int) -> bytes:
    """With so much of plugins' metadata that it is as long as orders are."""
    made: Mapping[str, Any] = {**order, "id": number, "number": str(number)}
    lacking = max(BODY_BYTES - len(json.dumps(made)), 0)
    noise = hashlib.sha256(str(number).encode()).hexdigest() * (lacking // 64 + 1)
    plugin = {"id": 1, "key": "_plugin_session", "value": noise[:lacking]}
    return json.dumps({**made, "meta_data": [*order["meta_data"], plugin]}).encode()


async def ask(api: ApiProcess, webhooks: Iterator[bytes], seconds: float, *, rate: float | None = None) -> Asked:
    """As fast as they are answered, or at a rate, whether those before are answered or not."""
    loop, at = asyncio.get_running_loop(), urlsplit(api.url)
    host, port = str(at.hostname), int(at.port or 80)
    asked, used, began = Asked(), cpu_seconds(api.pid), time.perf_counter()
    pause = CONNECTIONS / rate if rate else 0.0
    lines = [
        Line(asked, webhooks, begin=loop.time() + number * pause / CONNECTIONS, pause=pause, seconds=seconds)
        for number in range(CONNECTIONS)
    ]
    await asyncio.gather(*(loop.create_connection(partial(_itself, line), host, port) for line in lines))
    await asyncio.gather(*(line.done for line in lines))
    asked.seconds, asked.processor = time.perf_counter() - began, cpu_seconds(api.pid) - used
    return asked


def _itself(line: "Line") -> "Line":
    return line


class Line(asyncio.Protocol):
    """One connection of a store: its next webhook goes out when it is due, and the last one is answered."""

    def __init__(self, asked: Asked, webhooks: Iterator[bytes], *, begin: float, pause: float, seconds: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._asked = asked
        self._webhooks = webhooks
        self._due = begin
        self._pause = pause
        self._until = begin + seconds
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP's
        self._loop.call_at(self._due, self._send)

    def _send(self) -> None:
        self._asked.due.append(self._due)
        self._transport.write(next(self._webhooks))

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, blank, body = self._came.partition(b"\r\n\r\n")
        if not blank or len(body) < content_length(head):
            return
        self._came = b""
        now = self._loop.time()
        self._asked.times.append(1000 * (now - self._due))
        self._asked.refused += not head.startswith(b"HTTP/1.1 202 ")
        self._due = self._due + self._pause if self._pause else now
        if self._due < self._until:
            self._loop.call_at(self._due, self._send)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._loop.time() < self._until - self._pause:
            self.done.set_exception(StackError(f"The api closed a connection: {exc}"))
        else:
            self.done.set_result(None)


def _result(busy: Sequence[Asked], paced: Asked) -> Result:
    return Result(
        "ingest",
        [
            Figure("accepted", median(asked.rate for asked in busy), "orders/s", ACCEPTED),
            Figure(
                "processor of the api",
                median(1e6 * asked.processor / len(asked.times) for asked in busy),
                "µs/order",
            ),
            Figure(f"at {ACCEPTED.limit / 2:.0f} orders/s, median", percentile(paced.times, 50) or nan, "ms"),
            Figure(f"at {ACCEPTED.limit / 2:.0f} orders/s, p99", percentile(paced.times, 99) or nan, "ms", P99),
            Figure("not answered 202", sum(asked.refused for asked in (*busy, paced)), "orders", NONE),
        ],
        series={"accepted/s": [asked.rate for asked in busy], "at half of it, ms": paced.times},
    )
