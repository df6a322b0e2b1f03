"""Following the scorer's erasures: raw input and dead messages go on without the customer.

An erasure is followed once it is committed, whoever asked for it and whichever api process died meanwhile. An input
that is being stored then was either stored before, and is emptied, or is stored after, and knows of the erasure.
"""

from datetime import UTC, datetime

import structlog

from api import dead
from api.dead import TooManyError
from api.errors import ApiError
from api.store import erasures
from api.store.erasures import Erasure
from api.stores import find_secrets
from shared.broker import Broker
from shared.db import Pool
from shared.erasure import Person
from shared.secrets import Vault

log = structlog.get_logger()


async def follow(pool: Pool, vault: Vault, broker: Broker) -> None:
    """Those that were not followed yet. What cannot be done now is done the next time."""
    found = [(erasure, await _empty_raw(pool, erasure)) for erasure in await erasures.unfollowed(pool)]
    for erasure, raw in found:
        try:
            await _forget_dead(pool, vault, broker, erasure, raw)
        except (ApiError, TooManyError) as error:
            log.warning("erasure.waiting", customer=erasure.email_hash[:12], error=type(error).__name__)
            return  # all others would wait for the same


async def _empty_raw(pool: Pool, erasure: Erasure) -> int:
    async with pool.acquire() as connection, connection.transaction():
        return await erasures.empty_raw(connection, erasure)


async def _forget_dead(pool: Pool, vault: Vault, broker: Broker, erasure: Erasure, raw: int) -> None:
    secrets = await find_secrets(pool, vault, erasure.store_id)
    if secrets is None:
        return
    person = Person(erasure.email_hash, secrets.hash_key)
    messages = await dead.forget(pool, broker, erasure.store_id, person)
    await erasures.save_followed(pool, erasure, raw_inputs=raw, dead_messages=messages, followed_at=datetime.now(UTC))
    log.info("erasure.done", customer=erasure.email_hash[:12], raw_inputs=raw, dead_messages=messages)
