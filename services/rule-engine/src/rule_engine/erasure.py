"""A customer was erased: which rules fired for them stays, what the rules saw of them does not."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from rule_engine.store import erasures
from shared import erased
from shared.db import Connection, Pool
from shared.erasure import Person, forget_event
from shared.events import Event
from shared.secrets import Vault

log = structlog.get_logger()

SERVICE = "rule-engine"


async def known(connection: Connection, events: Sequence[Event]) -> list[Event]:
    """The events without those who were erased since; to be asked in a transaction before it keeps any of them."""
    late = await erased.held(connection, SERVICE, events)
    return [forget_event(event) if event.id in late else event for event in events]


async def shown(
    connection: Connection, store_id: UUID, samples: Sequence[Mapping[str, Any]], *, since: datetime
) -> list[Mapping[str, Any]]:
    """A backtest's samples, without the values of those who were erased `since` it was asked for: it may have read
    their events before. To be asked in the transaction that keeps them.
    """
    await erased.still(connection, SERVICE)
    late = await erasures.erased_since(connection, store_id, since - erased.CLOCKS)
    return [erasures.emptied(sample) if sample["customer"] in late else sample for sample in samples]


async def forget(pool: Pool, vault: Vault, event: Event) -> None:
    """What is kept of the customer of a customer_erased. Idempotent."""
    hashed = event.customer.email_hash
    async with pool.acquire() as connection, connection.transaction():
        await erased.alone(connection, SERVICE)
        person = Person(hashed, vault.open(await erasures.hash_key(connection, event.store_id)))
        await erasures.forget_evaluations(connection, event.store_id, hashed)
        await erasures.forget_outgoing(connection, person)
        await erasures.forget_samples(connection, event.store_id, hashed)
    log.info("erasure.done", customer=hashed[:12])
