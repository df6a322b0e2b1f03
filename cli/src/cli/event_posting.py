"""Old orders on their way to POST /ingest/events: in batches, several in flight, tried again while it is away."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay

from cli import api
from cli.answers import Ingested
from cli.api import ApiError
from cli.order_exports import Event
from cli.order_lines import BadLine
from cli.posting import PATIENCE_SECONDS, TRY_AGAIN, Result, UnavailableError, patient_wait, retry_after

BATCH_EVENTS = 200
BATCH_BYTES = 1024 * 1024
"""Of both a fifth to a half of what the API takes at once: a batch is answered within a second."""
IN_FLIGHT = 4
"""Batches. The API refuses what makes more than 2,000 events wait for their commit."""
_OUR_FAULT = frozenset({400, 413})
"""Answers to a body as a whole, which one of its events may have spoiled."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one line; `why` where it was rejected. `field`: of the order, where one was wrong."""

    number: int
    result: Result
    why: str = ""
    field: str = ""


@dataclass(frozen=True, kw_only=True)
class EventPoster:
    """Posts to one store, whose key the session carries."""

    session: ClientSession
    url: str
    """Of the API, with its namespace."""
    patience: float = PATIENCE_SECONDS
    wait: Callable[[RetryCallState], float] = field(default_factory=patient_wait)

    async def post(self, events: Sequence[Event]) -> list[Answered]:
        """What became of each, however often it took. A body that is refused as a whole is sent in halves.

        Raises:
            UnavailableError: patience has ended; nothing is known of them.
            ApiError: the API would refuse any: the key, or the URL, is wrong.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(UnavailableError),
            wait=self.wait,
            stop=stop_before_delay(self.patience),
            reraise=True,
        )
        try:
            return await retrying(self._post_once, events)
        except ApiError as error:
            if error.status not in _OUR_FAULT:
                raise
            if len(events) == 1:
                return [Answered(events[0].number, Result.REJECTED, str(error))]
        middle = len(events) // 2
        return [*await self.post(events[:middle]), *await self.post(events[middle:])]

    async def _post_once(self, events: Sequence[Event]) -> list[Answered]:
        body = b'{"history":true,"events":[' + b",".join(event.body for event in events) + b"]}"
        headers = {"Content-Type": "application/json"}
        url = f"{self.url}/ingest/events"
        try:
            async with self.session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                status, text = response.status, await response.text(errors="replace")
                wait = retry_after(response.headers.get("Retry-After", ""), now=time.time())
        except (ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"{type(error).__name__}: {error}") from error
        if status in TRY_AGAIN:
            raise UnavailableError(f"HTTP {status}", retry_after=wait)
        return _results(events, status, _parsed(text))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _results(events: Sequence[Event], status: int, answer: Any) -> list[Answered]:
    match answer:
        case {"results": [*results]} if status == 200 and len(results) == len(events):
            told = map(Ingested.model_validate, results)
            return [_answered(event, one) for event, one in zip(events, told, strict=True)]
        case _:
            raise ApiError(api.refusal(status, answer), status=status)


def _answered(event: Event, told: Ingested) -> Answered:
    where = (told.field or "").removeprefix("data.")
    return Answered(event.number, Result(told.status), told.message or "", where)


async def post_all(
    lines: Iterable[Event | BadLine],
    poster: EventPoster,
    *,
    on_answered: Callable[[Answered], None],
    in_flight: int = IN_FLIGHT,
) -> None:
    """Post all of a file. The versions of an order may overtake one another: the later one wins all the same.

    Raises UnavailableError as soon as one batch's patience ends, and ApiError where none would be taken; the others
    in flight are then unsure too.
    """
    waiting = asyncio.Queue[Sequence[Event] | None](in_flight)
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(in_flight):
                group.create_task(_drive(waiting, poster, on_answered), name=f"events-{number}")
            await _fill(waiting, lines, on_answered)
            for _ in range(in_flight):
                await waiting.put(None)
    except* (UnavailableError, ApiError) as errors:
        gave_up = errors.exceptions[0]
    else:
        return
    raise gave_up


async def _fill(
    waiting: asyncio.Queue[Sequence[Event] | None],
    lines: Iterable[Event | BadLine],
    on_answered: Callable[[Answered], None],
) -> None:
    batch: list[Event] = []
    size = 0
    for line in lines:
        if isinstance(line, BadLine):
            on_answered(Answered(line.number, Result.REJECTED, line.why))
            await asyncio.sleep(0)  # a file of nothing else must not keep the progress from being shown
            continue
        if batch and (len(batch) == BATCH_EVENTS or size + len(line.body) > BATCH_BYTES):
            await waiting.put(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line.body)
    if batch:
        await waiting.put(batch)


async def _drive(
    waiting: asyncio.Queue[Sequence[Event] | None], poster: EventPoster, on_answered: Callable[[Answered], None]
) -> None:
    while batch := await waiting.get():
        for answered in await poster.post(batch):
            on_answered(answered)
