"""Dead messages, in RabbitMQ: looked at where they lie, sent back to the queue that they died in.

Looking is taking and putting back, so one looks at a time, over all api processes: what one holds, another would not
find. Nothing is lost if this process dies on the way: a message is acked only when its copy is confirmed.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import aiormq.abc
from pamqp.commands import Basic

from api.errors import unanswered, unavailable
from shared.broker import BROKER_ERRORS, Broker, Outgoing
from shared.db import Pool
from shared.erasure import Person, forget_text
from shared.ids import derived
from shared.topology import DIRECT, QUEUES, dead

QUEUE_NAMES = tuple(queue.name for queue in QUEUES)

LOOKED_AT = 500
"""Messages of each queue that are looked at, the oldest; more would be held in memory, and for seconds."""
PATIENCE = 20.0
"""Seconds for everything."""
WORN = 10
"""Times put back, after which a copy takes a message's place: RabbitMQ 4 gives up a message after 20."""
_LOCK = 0x7472757374646561
"""Ours among the advisory locks: `trustdea` in ASCII."""


class TooManyError(Exception):
    """A dead queue holds more messages than are looked at: it is to be emptied, by sending them back, say."""


@dataclass(frozen=True, slots=True)
class DeadMessage:
    id: str
    """The message's own, which it had in its queue. An event may lie dead in several queues under one id."""
    queue: str
    """The one it died in."""
    reason: str
    error: str
    service: str
    at: datetime | None
    body: bytes = field(repr=False)
    store_id: str | None
    """None: it names none, so that it is the operator's."""


@dataclass(frozen=True, slots=True)
class _Taken:
    message: DeadMessage
    tag: int
    returned: int
    """How often it was taken and put back."""


def described(queue: str, properties: Basic.Properties, body: bytes) -> DeadMessage:
    """What its headers tell: ours, or those of the broker where its fuse blew."""
    headers: Mapping[str, Any] = properties.headers or {}
    return DeadMessage(
        id=str(headers.get("x-trustlens-message-id") or properties.message_id or sha256(body).hexdigest()),
        queue=queue,
        reason=str(headers.get("x-trustlens-reason") or headers.get("x-first-death-reason") or "unknown"),
        error=str(headers.get("x-trustlens-error", "")),
        service=str(headers.get("x-trustlens-service") or queue.partition(".")[0].replace("-", "_")),
        at=_time(headers),
        body=body,
        store_id=_store_of(body),
    )


def _time(headers: Mapping[str, Any]) -> datetime | None:
    match headers:
        case {"x-trustlens-at": str(written)}:
            return _parsed(written)
        case {"x-death": [{"time": datetime() as at}, *_]}:
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        case _:
            return None


def _parsed(written: str) -> datetime | None:
    try:
        return datetime.fromisoformat(written).astimezone(UTC)
    except ValueError:
        return None


def _store_of(body: bytes) -> str | None:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    store_id = parsed.get("store_id") if isinstance(parsed, dict) else None
    return store_id.lower() if isinstance(store_id, str) else None


async def _shown(pool: Pool, store_id: UUID) -> frozenset[str | None]:
    """Whose messages a store's keys may see: its own; those that name no store, only where there is no other store
    that they may be of. With several they are the operator's, who sees them in RabbitMQ.
    """
    alone = await pool.fetchval("SELECT count(*) = 1 FROM api.stores")
    return frozenset({str(store_id), None} if alone else {str(store_id)})


async def look(pool: Pool, broker: Broker, store_id: UUID, queues: Collection[str]) -> list[DeadMessage]:
    """Those of a store, queue by queue, the oldest first.

    Raises:
        ApiError: 503, the broker is away.
    """
    found: list[DeadMessage] = []
    shown = await _shown(pool, store_id)
    async with _looking(pool, broker) as channel:
        for queue in queues:
            taken = [one async for one in _taken(channel, broker.prefix, queue)]
            await _put_back(channel, broker, taken)
            found += [one.message for one in taken if one.message.store_id in shown]
    return found


async def redrive(
    pool: Pool, broker: Broker, store_id: UUID, message_id: str, queues: Collection[str]
) -> DeadMessage | None:
    """Send a message back to its queue; None: there is no such. It may come twice there, which its consumer stands.

    Raises:
        ApiError: 503, the broker is away, or did not confirm.
    """
    shown = await _shown(pool, store_id)
    async with _looking(pool, broker) as channel:
        for queue in queues:
            others: list[_Taken] = []
            wanted: DeadMessage | None = None
            async for one in _taken(channel, broker.prefix, queue):
                if wanted is None and one.message.id == message_id and one.message.store_id in shown:
                    await _send_back(channel, broker, one)
                    wanted = one.message
                else:
                    others.append(one)
                if wanted and not others:
                    break  # it was the oldest: nobody lost his place
            await _put_back(channel, broker, others)
            if wanted:
                return wanted
    return None


async def forget(pool: Pool, broker: Broker, store_id: UUID, person: Person) -> int:
    """Without the person those of a store, and of nobody knows which, that name them, at the end of their queues; how
    many that were.

    Raises:
        ApiError: 503, the broker is away, or did not confirm.
        TooManyError: not all could be looked at.
    """
    if not broker.connected:
        raise unavailable()
    forgotten, most = 0, 0
    async with _looking(pool, broker) as channel:
        for queue in QUEUE_NAMES:
            others: list[_Taken] = []
            looked_at = 0
            async for one in _taken(channel, broker.prefix, queue):
                looked_at += 1
                emptied = replace(one.message, body=forget_text(one.message.body, person))
                if emptied == one.message or one.message.store_id not in {None, str(store_id)}:
                    others.append(one)
                    continue
                await _replace(channel, broker, one, emptied)
                forgotten += 1
            await _put_back(channel, broker, others)
            most = max(most, looked_at)
    if most == LOOKED_AT:
        raise TooManyError
    return forgotten


async def _replace(channel: aiormq.abc.AbstractChannel, broker: Broker, one: _Taken, by: DeadMessage) -> None:
    if not await broker.publish([_copy(by)]):
        raise unanswered()
    await channel.basic_ack(one.tag)


async def _send_back(channel: aiormq.abc.AbstractChannel, broker: Broker, one: _Taken) -> None:
    """Between the confirm and the ack it is in both queues: rather twice than not at all."""
    if not await broker.publish([_original(one.message)]):
        raise unanswered()
    try:
        await channel.basic_ack(one.tag)
    except BROKER_ERRORS:
        raise unanswered() from None


@asynccontextmanager
async def _looking(pool: Pool, broker: Broker) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    """A channel; whatever was taken through it and neither acked nor put back, its end puts back, sooner or later."""
    try:
        async with asyncio.timeout(PATIENCE), pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            channel = await broker.channel(prefetch=0)
            try:
                yield channel
            finally:
                if not channel.is_closed:
                    await channel.close()
    except BROKER_ERRORS:
        raise unavailable() from None


async def _taken(channel: aiormq.abc.AbstractChannel, prefix: str, queue: str) -> AsyncIterator[_Taken]:
    """The oldest of a dead queue, each held until it is acked or put back."""
    for _ in range(LOOKED_AT):
        got = await channel.basic_get(prefix + dead(queue))
        if not isinstance(got.delivery, Basic.GetOk):
            return
        properties = got.header.properties
        returned = (properties.headers or {}).get("x-delivery-count", 0)
        yield _Taken(
            described(queue, properties, got.body),
            got.delivery.delivery_tag or 0,
            returned if isinstance(returned, int) else 0,
        )


async def _put_back(channel: aiormq.abc.AbstractChannel, broker: Broker, taken: Sequence[_Taken]) -> None:
    """All in their order, which is that of the queue where all of it was taken: they go to its end.

    A copy takes the place of what was put back too often. By a nack and not by the channel's end, after which the next
    who looks may come before them.
    """
    worn = [one for one in taken if one.returned >= WORN]
    copies = [_copy(one.message) for one in worn]
    confirmed = {id(copy) for copy in await broker.publish(copies)} if copies else set()
    renewed = {one.tag for one, copy in zip(worn, copies, strict=True) if id(copy) in confirmed}
    for tag in renewed:
        await channel.basic_ack(tag)
    kept = [one for one in taken if one.tag not in renewed]
    if kept:
        await channel.basic_nack(kept[-1].tag, multiple=True)


def _original(message: DeadMessage) -> Outgoing:
    return Outgoing(_uuid(message.id), DIRECT, message.queue, message.body)


def _copy(message: DeadMessage) -> Outgoing:
    """As the consumer writes them."""
    headers = {
        "x-trustlens-reason": message.reason,
        "x-trustlens-error": message.error,
        "x-trustlens-service": message.service,
        "x-trustlens-message-id": message.id,
    }
    if message.at:
        headers["x-trustlens-at"] = message.at.isoformat()
    return Outgoing(derived(message.id, message.queue), DIRECT, dead(message.queue), message.body, headers)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return derived(text)
