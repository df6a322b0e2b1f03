"""How many customers a second one api finds by their addresses, beside a bare handler that reads a row by its key."""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from urllib.parse import urlsplit

from api.settings import ApiSettings
from bench import asking, lists, stack
from bench.asking import BASE
from bench.metrics import cpu_seconds
from bench.progress import counted
from bench.report import Bound, Figure, Result
from bench.stack import Site, Track
from local_stack.errors import StackError
from shared.identity import email_hash

CUSTOMERS = 10_000
CONNECTIONS = 64
WARMING_SECONDS = 1.0
"""Not measured: connections to Postgres open, statements are planned, keys come into memory."""
RATIO = Bound("at least", 0.60)
NONE = Bound("at most", 0)
SIGNALS = json.dumps(
    [
        {"module": "returns", "points": -25, "reason": "41.7 % of 12 orders were returned", "evidence": [4821, 4833]},
        {"module": "orders", "points": 10, "reason": "7 orders without a refund", "evidence": []},
    ]
)
"""A customer has two, as many have."""


@dataclass(frozen=True, slots=True)
class Served:
    """What answers, and what it is asked for in turn."""

    host: str
    port: int
    pid: int
    requests: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Run:
    answers: int
    refused: int
    seconds: float
    processor: float
    """Seconds that the process used."""

    @property
    def rate(self) -> float:
        return self.answers / self.seconds

    @property
    def micros(self) -> float:
        return 1e6 * self.processor / self.answers


async def measure(site: Site, *, seconds: float, rounds: int) -> Result:
    """By turns, so that what else the machine does meets both."""
    pairs: list[tuple[Run, Run]] = []
    async with stack.track(site) as track:
        ids = await _fill(track)
        async with _ours(track) as ours, _bare(track, ids) as bare:
            with counted("lookup", rounds) as show:
                for number in range(rounds):
                    pairs.append((await _run(ours, seconds), await _run(bare, seconds)))
                    show(number + 1)
    return _result([ours for ours, _ in pairs], [bare for _, bare in pairs])


async def _fill(track: Track) -> list[int]:
    """Customers of the first shop who can be found by their addresses; their ids."""
    await lists.fill(track, CUSTOMERS)
    emails = _emails()
    hashes = [email_hash(track.site.shops[0].key, email) for email in emails]
    async with stack.connected(track) as pool:
        await pool.execute(
            "UPDATE scorer.customers AS c SET email_hash = k.hashed, signals = $3"
            " FROM unnest($1::text[], $2::text[]) AS k (email, hashed) WHERE c.email = k.email",
            emails,
            hashes,
            SIGNALS,
        )
        await pool.execute("VACUUM (ANALYZE) scorer.customers")
        return [row["id"] for row in await pool.fetch("SELECT id FROM scorer.customers ORDER BY id")]


def _emails() -> list[str]:
    return [f"c{number}@bench.example" for number in range(1, CUSTOMERS + 1)]


@asynccontextmanager
async def _ours(track: Track) -> AsyncIterator[Served]:
    async with asking.api(track) as api:
        at = urlsplit(api.url)
        header = f"X-TrustLens-API-Key: {api.key}\r\n"
        requests = [_request(f"{BASE}/customers/lookup?email={email}", header) for email in _emails()]
        yield Served(str(at.hostname), int(at.port or 80), api.pid, requests)


@asynccontextmanager
async def _bare(track: Track, ids: Sequence[int]) -> AsyncIterator[Served]:
    """On the api's core, with as many connections to Postgres."""
    pool_size = ApiSettings.model_fields["pool_size"].default
    command = (sys.executable, "-m", "bench.bare_lookups", str(track.site.scorer_core), str(pool_size))
    process = await asyncio.create_subprocess_exec(*command, track.database_url, stdin=PIPE, stdout=PIPE)
    try:
        told = await process.stdout.readline() if process.stdout else b""
        if not told:
            raise StackError("The bare handler did not start.")
        yield Served("127.0.0.1", int(told), process.pid, [_request(f"/customers/{one}") for one in ids])
    finally:
        await process.communicate(b"")


def _request(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n".encode()


async def _run(served: Served, seconds: float) -> Run:
    requests = cycle(served.requests)
    await _ask(served, requests, WARMING_SECONDS)
    used, began = cpu_seconds(served.pid), time.perf_counter()
    lines = await _ask(served, requests, seconds)
    took, used = time.perf_counter() - began, cpu_seconds(served.pid) - used
    return Run(sum(line.answers for line in lines), sum(line.refused for line in lines), took, used)


async def _ask(served: Served, requests: Iterator[bytes], seconds: float) -> "list[Line]":
    loop = asyncio.get_running_loop()
    lines = [Line(requests, loop.time() + seconds) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(loop.create_connection(lambda line=line: line, served.host, served.port) for line in lines))  # type: ignore[misc]  # mypy does not see the default's type
    await asyncio.gather(*(line.done for line in lines))
    return lines


class Line(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last is whole.

    A client library would need longer for a request than the handler that is measured.
    """

    def __init__(self, requests: Iterator[bytes], until: float) -> None:
        self.answers = 0
        self.refused = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._until = until
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP's
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, blank, body = self._came.partition(b"\r\n\r\n")
        if not blank or len(body) < content_length(head):
            return
        self._came = b""
        self.answers += 1
        self.refused += not head.startswith(b"HTTP/1.1 200 ")
        if asyncio.get_running_loop().time() < self._until:
            self._transport.write(next(self._requests))
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc or not self.answers:
            self.done.set_exception(StackError(f"The connection was closed before it was answered: {exc}"))
        else:
            self.done.set_result(None)


def content_length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


def _result(ours: Sequence[Run], bare: Sequence[Run]) -> Result:
    rate, bare_rate = median(run.rate for run in ours), median(run.rate for run in bare)
    return Result(
        "lookup",
        [
            Figure("lookups", rate, "requests/s"),
            Figure("processor of the api", median(run.micros for run in ours), "µs/request"),
            Figure("bare handler", bare_rate, "requests/s"),
            Figure("processor of the bare handler", median(run.micros for run in bare), "µs/request"),
            Figure("ratio to the bare handler", rate / bare_rate, "times", RATIO),
            Figure("not answered 200", sum(run.refused for run in (*ours, *bare)), "requests", NONE),
        ],
        series={"lookups/s": [run.rate for run in ours], "bare/s": [run.rate for run in bare]},
    )
