"""The scorer's own kinds of jobs."""

from typing import Literal
from uuid import UUID

from shared import jobs
from shared.db import Connection
from shared.ids import uuid7
from shared.jobs import Job

Kind = Literal["recompute", "categories", "history_categories"]
"""`history_categories`: as `categories`, without a word to anybody."""

_COUNTED: dict[Kind, str] = {
    "recompute": "SELECT count(*) FROM scorer.customers WHERE store_id = $1",
    "categories": "SELECT count(*) FROM scorer.orders WHERE store_id = $1",
    "history_categories": "SELECT count(*) FROM scorer.orders WHERE store_id = $1",
}


async def queue(connection: Connection, store_id: UUID, kind: Kind) -> UUID:
    """The id of a job that does this from its beginning: one that waits already, or a new one."""
    total = await connection.fetchval(_COUNTED[kind], store_id)
    return await jobs.queue(connection, "scorer", Job(uuid7(), store_id, kind), total=total, once=True)


async def queue_categories(connection: Connection, store_id: UUID, *, live: bool) -> UUID:
    """As `queue`. A quiet job that waits is no longer quiet once a live change is among what it does."""
    if live:
        await connection.execute(
            "UPDATE scorer.jobs SET kind = 'categories'"
            " WHERE store_id = $1 AND kind = 'history_categories' AND state = 'queued'",
            store_id,
        )
    return await queue(connection, store_id, "categories" if live else "history_categories")
