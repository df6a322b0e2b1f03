"""Orders on their way to the ingest URL: signed, bounded in number, tried again while the stack is away."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import assert_never

from aiohttp import ClientError, ClientResponse, ClientSession
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay, wait_exponential_jitter

from cli import woocommerce
from cli.order_lines import BadLine, OrderLine

CONCURRENCY = 32
PATIENCE_SECONDS = 300.0
TRY_AGAIN = frozenset({429, 500, 502, 503, 504})
_AHEAD = 4  # lines that wait per lane: enough that no lane idles while the file is read


class Result(Enum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Posted:
    """The answer to one line. `started_at` is when its last try began, in Unix seconds."""

    line: OrderLine | BadLine
    result: Result
    started_at: float
    detail: str = ""


class UnavailableError(Exception):
    """Nothing is known about the line: send it again, not before `retry_after` seconds."""

    def __init__(self, why: str, *, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after


def retry_after(header: str, *, now: float) -> float:
    """Seconds to wait from a Retry-After header, which has either seconds or a date; 0 if it has neither."""
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except ValueError:
        return 0.0


def patient_wait(*, first: float = 0.2, longest: float = 5.0) -> Callable[[RetryCallState], float]:
    """Exponential backoff with jitter, and never sooner than the server asked."""
    backoff = wait_exponential_jitter(multiplier=first, max=longest, jitter=first)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return max(backoff(state), error.retry_after if isinstance(error, UnavailableError) else 0.0)

    return wait


@dataclass(frozen=True, slots=True)
class Target:
    """Where one store's webhooks go, what signs them, and the shop's own address."""

    url: str
    secret: str = field(repr=False)
    source: str = "https://shop.example/"


@dataclass(frozen=True, kw_only=True)
class Poster:
    """Posts lines to one store's ingest URL as its own webhooks would."""

    session: ClientSession
    target: Target
    patience: float = PATIENCE_SECONDS
    wait: Callable[[RetryCallState], float] = field(default_factory=patient_wait)

    async def post(self, line: OrderLine) -> Posted:
        """The store's answer, however often it took; UnavailableError when patience ends."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(UnavailableError),
            wait=self.wait,
            stop=stop_before_delay(self.patience),
            reraise=True,
        )
        return await retrying(self._post_once, line)

    async def _post_once(self, line: OrderLine) -> Posted:
        started_at = time.time()
        try:
            async with self.session.post(
                self.target.url, data=line.body, headers=self._headers(line), allow_redirects=False
            ) as response:
                return await _read(response, line, started_at)
        except (ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"{type(error).__name__}: {error}") from error

    def _headers(self, line: OrderLine) -> dict[str, str]:
        return woocommerce.headers(
            line.body,
            topic=line.topic,
            secret=self.target.secret,
            source=self.target.source,
            delivery_id=woocommerce.delivery_id(line.number, line.body),
        )


async def _read(response: ClientResponse, line: OrderLine, started_at: float) -> Posted:
    text = await response.text(errors="replace")
    if response.status in TRY_AGAIN:
        header = response.headers.get("Retry-After", "")
        raise UnavailableError(f"HTTP {response.status}", retry_after=retry_after(header, now=time.time()))
    match response.status:
        case 202:
            return Posted(line, Result.ACCEPTED, started_at)
        case 200:
            return Posted(line, Result.DUPLICATE, started_at)
        case status:
            return Posted(line, Result.REJECTED, started_at, f"HTTP {status}: {text[:200]}")


async def post_all(
    lines: Iterable[OrderLine | BadLine],
    poster: Poster,
    *,
    on_posted: Callable[[Posted], None],
    concurrency: int = CONCURRENCY,
    rate: float | None = None,
) -> None:
    """Post every line, `concurrency` at a time; the versions of one order share a lane and so keep their order.

    `rate`: lines per second at most; None: as fast as they are taken.

    Raises UnavailableError as soon as one line's patience ends; the others in flight are then unsure too.
    """
    lanes = [asyncio.Queue[OrderLine | None](_AHEAD) for _ in range(concurrency)]
    try:
        async with asyncio.TaskGroup() as group:
            for number, lane in enumerate(lanes):
                group.create_task(_drive(lane, poster, on_posted), name=f"lane-{number}")
            await _fill(lanes, _paced(lines, rate), on_posted)
    except* UnavailableError as errors:
        gave_up = errors
    else:
        return
    raise UnavailableError(str(gave_up.exceptions[0]))


async def _fill(
    lanes: list[asyncio.Queue[OrderLine | None]],
    lines: AsyncIterator[OrderLine | BadLine],
    on_posted: Callable[[Posted], None],
) -> None:
    async for line in lines:
        match line:
            case OrderLine():
                await lanes[line.order_id % len(lanes)].put(line)
            case BadLine():
                on_posted(Posted(line, Result.REJECTED, time.time(), line.why))
            case _:
                assert_never(line)
    for lane in lanes:
        await lane.put(None)


async def _paced(lines: Iterable[OrderLine | BadLine], rate: float | None) -> AsyncIterator[OrderLine | BadLine]:
    started = time.monotonic()
    for number, line in enumerate(lines):
        if rate and (early := started + number / rate - time.monotonic()) > 0:
            await asyncio.sleep(early)
        yield line


async def _drive(lane: asyncio.Queue[OrderLine | None], poster: Poster, on_posted: Callable[[Posted], None]) -> None:
    while line := await lane.get():
        on_posted(await poster.post(line))
