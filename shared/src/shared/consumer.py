"""The one consumer: takes what is waiting, processes it as one batch, settles each message in one place.

Transient errors keep the batch in memory, neither acked nor nacked, until the infrastructure is back.
Data errors halve the batch until the bad message is alone: that one goes to the dead queue, the rest commit.
Redeliveries are counted by the broker for every prefetched message, whoever was to blame, so a message seen
three times is processed alone, and its tries are counted where a crash cannot forget them.
"""

import asyncio
import hashlib
import time
import traceback
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import aiormq.abc
import structlog
from aiormq.exceptions import ChannelNotFoundEntity
from pydantic import ValidationError

from shared import traces
from shared.broker import BROKER_ERRORS, Broker, Outgoing
from shared.db import Pool, is_transient
from shared.frames import consume
from shared.ids import derived
from shared.metrics import BATCH_SECONDS, BATCH_SIZE, MESSAGES, PARSE_SECONDS, RETRIES
from shared.outcome import Dead, Done, Outcome
from shared.pause import pause
from shared.steps import Step
from shared.topology import DIRECT, dead

log = structlog.get_logger()

T = TypeVar("T")
R = TypeVar("R")

SUSPICIOUS = 3
"""Earlier deliveries after which a message is processed alone."""
MAX_TRIES = 3
"""Unfinished tries alone before a message is poison."""
TRIES_APART = timedelta(seconds=30)
"""Tries that begin within this time of a counted one are not counted. A message that ends its process does so again
later too; one that was at the head of the queue while somebody ended the process again and again does not."""


@dataclass(frozen=True, slots=True)
class Message:
    tag: int
    id: str
    body: bytes
    deliveries: int
    """Earlier deliveries, as the broker counts them."""
    reply_to: str | None = None
    correlation_id: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)


class _Abandon(Exception):  # noqa: N818  # a signal between two functions here, not an error for anybody
    """Stopping in the middle of a transient failure: the batch stays unacked."""


class Consumer(Generic[T]):
    """`parse` turns a message into what `process` takes; a ValueError there is a dead letter.

    `process` is all or nothing, commits by itself, and may see a message again: it is idempotent.
    """

    def __init__(
        self,
        *,
        queue: str,
        schema: str,
        broker: Broker,
        pool: Pool,
        parse: Callable[[Message], T],
        process: Callable[[Sequence[T]], Awaitable[None]],
        batch_size: int,
    ) -> None:
        self._queue = queue
        self._schema = schema
        self._broker = broker
        self._pool = pool
        self._parse = parse
        self._process = process
        self._batch_size = batch_size
        self.step = Step(queue)

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop`; a lost connection only interrupts."""
        stopping = asyncio.create_task(stop.wait(), name=f"{self._queue} stop")
        try:
            while not stop.is_set():
                try:
                    await self._session(stop, stopping)
                except ChannelNotFoundEntity:
                    log.warning("consumer.queue_gone", queue=self._queue)
                    await self._broker.close()  # a new connection declares it again
                except BROKER_ERRORS as error:
                    log.warning("consumer.interrupted", queue=self._queue, error=str(error)[:200])
                    await asyncio.wait({stopping}, timeout=0.2)
        finally:
            stopping.cancel()

    async def _session(self, stop: asyncio.Event, stopping: "asyncio.Task[bool]") -> None:
        """One channel's life."""
        opening = asyncio.create_task(self._broker.channel(self._batch_size * 2))
        await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            opening.cancel()
            return
        channel = await opening
        arrived = asyncio.Event()
        stopping.add_done_callback(lambda _: arrived.set())
        try:
            await self._consume(channel, arrived, stop)
        except _Abandon:
            pass
        finally:
            if not channel.is_closed:
                await channel.close()

    async def _consume(self, channel: aiormq.abc.AbstractChannel, arrived: asyncio.Event, stop: asyncio.Event) -> None:
        """Take and settle until `stop` or the channel's end. `arrived`: something may have happened.

        Raises:
            ChannelNotFoundEntity: there is no such queue, or no longer.
        """
        waiting: deque[Message] = deque()
        cancelled = asyncio.Event()

        def take(delivered: aiormq.abc.DeliveredMessage) -> None:
            waiting.append(_message(delivered))
            arrived.set()

        def on_cancel(_: object) -> None:
            cancelled.set()
            arrived.set()

        channel.closing.add_done_callback(lambda _: arrived.set())
        channel.on_consumer_cancel_callbacks.add(on_cancel)
        await consume(channel, self._broker.prefix + self._queue, take)
        while not stop.is_set():
            await arrived.wait()
            if channel.is_closed:
                return
            if cancelled.is_set():
                raise ChannelNotFoundEntity(self._queue)  # the broker's own word for it, had we asked now
            arrived.clear()
            while waiting and not stop.is_set() and not channel.is_closed:
                with self.step:
                    await self._settle_batch(channel, _next_batch(waiting, self._batch_size), stop)

    async def _settle_batch(
        self, channel: aiormq.abc.AbstractChannel, batch: list[Message], stop: asyncio.Event
    ) -> None:
        started = time.perf_counter()
        with traces.batch(f"process {self._queue}", batch, kind="consumer"):
            outcomes = await self._outcomes(batch, stop)
        await self._bury([(m, o) for m, o in zip(batch, outcomes, strict=True) if isinstance(o, Dead)], stop)
        if channel.is_closed:
            return  # the broker delivers these again, and processing them again changes nothing
        await channel.basic_ack(batch[-1].tag, multiple=True)
        BATCH_SIZE.labels(self._queue).observe(len(batch))
        BATCH_SECONDS.labels(self._queue).observe(time.perf_counter() - started)
        for what, count in Counter("done" if isinstance(o, Done) else o.reason for o in outcomes).items():
            MESSAGES.labels(self._queue, what).inc(count)

    async def _outcomes(self, batch: list[Message], stop: asyncio.Event) -> list[Outcome]:
        suspect = batch[0] if batch[0].deliveries >= SUSPICIOUS else None
        if suspect and await self._tries(suspect, stop) > MAX_TRIES:
            return [Dead("poison", f"left unfinished {MAX_TRIES} times")]
        try:
            outcomes = await self._outcomes_of(batch, stop)
        except _Abandon:
            if suspect:
                await self._forget_tries(suspect)
            raise
        if suspect:
            await self._cleared(suspect, stop)
        return outcomes

    async def _outcomes_of(self, batch: list[Message], stop: asyncio.Event) -> list[Outcome]:
        outcomes: list[Outcome] = [Done()] * len(batch)
        parsed: list[tuple[int, T]] = []
        began = time.perf_counter()
        for index, message in enumerate(batch):
            try:
                parsed.append((index, self._parse(message)))
            except ValueError as error:
                outcomes[index] = Dead("unparseable", _brief(error))
        PARSE_SECONDS.labels(self._queue).inc(time.perf_counter() - began)
        for index, fault in await self._rejected(parsed, stop):
            outcomes[index] = Dead("rejected", _brief(fault))
        return outcomes

    async def _rejected(self, parsed: list[tuple[int, T]], stop: asyncio.Event) -> list[tuple[int, Exception]]:
        """Process all of it; those that cannot be, found by halving."""
        if not parsed:
            return []
        try:
            await self._patiently(lambda: self._process([item for _, item in parsed]), stop)
        except _Abandon:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this data's: is_transient said so
            if len(parsed) == 1:
                return [(parsed[0][0], error)]
            middle = len(parsed) // 2
            return await self._rejected(parsed[:middle], stop) + await self._rejected(parsed[middle:], stop)
        return []

    async def _patiently(self, work: Callable[[], Awaitable[R]], stop: asyncio.Event) -> R:
        """Do it; after transient errors again, for ever, unless stopping."""
        wait = 0.1
        while True:
            self.step.begin()
            try:
                return await work()
            except Exception as error:
                if not is_transient(error):
                    raise
                RETRIES.labels(self._queue).inc()
                log.warning("consumer.waiting", queue=self._queue, error=type(error).__name__, retry_in=wait)
            await _pause(wait, stop)
            wait = min(wait * 2, 5.0)

    async def _tries(self, message: Message, stop: asyncio.Event) -> int:
        return await self._patiently(lambda: self._count_try(message), stop)

    async def _count_try(self, message: Message) -> int:
        """How many there were, this one included. `last_try_at` is of the last that was counted."""
        return int(
            await self._pool.fetchval(
                f"INSERT INTO {self._schema}.suspects AS s (queue, message_id, tries, last_try_at)"
                " VALUES ($1, $2, 1, now()) ON CONFLICT (queue, message_id) DO UPDATE"
                " SET tries = s.tries + (s.last_try_at <= now() - $3::interval)::integer,"
                "  last_try_at = CASE WHEN s.last_try_at <= now() - $3::interval THEN now() ELSE s.last_try_at END"
                " RETURNING tries",
                self._queue,
                message.id,
                TRIES_APART,
            )
        )

    async def _forget_tries(self, message: Message) -> None:
        """Who waits with it for better times ends no process. Where Postgres is away they stay counted."""
        try:
            async with asyncio.timeout(1):
                await self._pool.execute(
                    f"DELETE FROM {self._schema}.suspects WHERE queue = $1 AND message_id = $2",
                    self._queue,
                    message.id,
                )
        except Exception as error:
            if not is_transient(error):
                raise
            log.info("consumer.try_counted", queue=self._queue, error=type(error).__name__)

    async def _cleared(self, message: Message, stop: asyncio.Event) -> None:
        await self._patiently(
            lambda: self._pool.execute(
                f"DELETE FROM {self._schema}.suspects WHERE queue = $1 AND message_id = $2", self._queue, message.id
            ),
            stop,
        )

    async def _bury(self, dying: list[tuple[Message, Dead]], stop: asyncio.Event) -> None:
        """Copies to the dead queue, until confirmed: only then may the originals be acked."""
        copies = [self._copy(message, verdict) for message, verdict in dying]
        while copies:
            self.step.begin()
            confirmed = {copy.id for copy in await self._broker.publish(copies)}
            copies = [copy for copy in copies if copy.id not in confirmed]
            if copies:
                await _pause(1, stop)

    def _copy(self, message: Message, verdict: Dead) -> Outgoing:
        log.error(
            "consumer.dead",
            queue=self._queue,
            message_id=message.id,
            reason=verdict.reason,
            error=verdict.error,
        )
        return Outgoing(
            id=derived(message.id, self._queue),
            exchange=DIRECT,
            routing_key=dead(self._queue),
            body=message.body,
            headers={
                "x-trustlens-reason": verdict.reason,
                "x-trustlens-error": verdict.error,
                "x-trustlens-service": self._schema,
                "x-trustlens-message-id": message.id,
                "x-trustlens-at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait; a stop in the meantime abandons the batch."""
    if await pause(seconds, stop):
        raise _Abandon


def _next_batch(waiting: deque[Message], size: int) -> list[Message]:
    """The next messages in order: a suspicious one alone, others together."""
    batch = [waiting.popleft()]
    if batch[0].deliveries >= SUSPICIOUS:
        return batch
    while waiting and len(batch) < size and waiting[0].deliveries < SUSPICIOUS:
        batch.append(waiting.popleft())
    return batch


def _message(delivered: aiormq.abc.DeliveredMessage) -> Message:
    properties = delivered.header.properties
    headers = properties.headers or {}
    count = headers.get("x-delivery-count", 0)
    return Message(
        tag=delivered.delivery_tag or 0,
        id=properties.message_id or hashlib.sha256(delivered.body).hexdigest(),
        body=delivered.body,
        deliveries=count if isinstance(count, int) else 0,
        reply_to=properties.reply_to,
        correlation_id=properties.correlation_id,
        headers=headers,
    )


def _brief(error: Exception) -> str:
    """What was wrong, without the values: an error must not carry an e-mail into a header or a log."""
    if isinstance(error, ValidationError):
        mistakes = error.errors(include_input=False, include_url=False, include_context=False)
        return "; ".join(": ".join(filter(None, (_dotted(m["loc"]), m["msg"]))) for m in mistakes[:5])[:500]
    return f"{type(error).__name__} at {_place(error)}"


def _dotted(location: Sequence[int | str]) -> str:
    """Empty where the whole is meant: a body that is no JSON."""
    return ".".join(map(str, location))


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}:{frames[-1].lineno}" if frames else "unknown"
