"""A customer was erased: what is frozen here goes on without them, and so does what was under way and comes later.

What a dispatcher has in its hands at that moment may still go out as it was, until its lease ends at the latest.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import structlog

from dispatcher import store
from dispatcher.directory import Directory
from dispatcher.store import Body
from shared import erased
from shared.db import Connection, Pool
from shared.erasure import Person, forget_automation, forget_event, forget_text
from shared.events import Automation, Event

log = structlog.get_logger()

SERVICE = "dispatcher"
GONE = b""
"""A body that could not be without the customer."""

_SLACK_REASON = re.compile(rb'\\nReason: (?:[^"\\]|\\.)*')

S = TypeVar("S", Event, Automation)


async def known(connection: Connection, directory: Directory, batch: Sequence[S]) -> Sequence[S]:
    """The batch without those who were erased since; to be asked in a transaction before it keeps any of it."""
    late = await erased.held(connection, SERVICE, batch)
    return [await _forget(connection, directory, source) if source.id in late else source for source in batch]


async def _forget(connection: Connection, directory: Directory, source: S) -> S:
    if isinstance(source, Event):
        return forget_event(source)
    person = await directory.person(connection, source.store_id, source.customer.email_hash)
    return forget_automation(source, person)


async def forget(pool: Pool, directory: Directory, event: Event) -> None:
    """What is kept of the customer of a customer_erased. Idempotent."""
    hashed = event.customer.email_hash
    async with pool.acquire() as connection, connection.transaction():
        await erased.alone(connection, SERVICE)
        person = await directory.person(connection, event.store_id, hashed)
        times = await store.times_of(connection, event.store_id, hashed)
        bodies = await store.bodies_of(connection, times, hashed)
        emptied = [replace(body, content=without(body, person)) for body in bodies]
        await store.replace_bodies(connection, [new for new, old in zip(emptied, bodies, strict=True) if new != old])
        await store.end_erased(connection, [body for body in emptied if body.content == GONE])
        await store.take_away(connection, times, hashed)
        await store.forget_answers(connection, times, hashed)
    log.info("erasure.done", customer=hashed[:12], bodies=len(bodies))


def without(body: Body, person: Person) -> bytes:
    """What of a frozen body may be sent again; GONE: nothing."""
    match body.shape:
        case _ if body.content == GONE:
            return GONE
        case "email" if person.has(json.loads(body.content)["to"]):
            return GONE
        case "slack":
            return _SLACK_REASON.sub(rb"\\nReason: not specified", forget_text(body.content, person))
        case _:
            return forget_text(body.content, person)
