"""The scorer's own kinds of jobs."""

from typing import Literal
from uuid import UUID

from shared import jobs
from shared.db import Connection
from shared.ids import uuid7
from shared.jobs import Job

Kind = Literal["recompute", "categories"]

_COUNTED: dict[Kind, str] = {
    "recompute": "SELECT count(*) FROM scorer.customers WHERE store_id = $1",
    "categories": "SELECT count(*) FROM scorer.orders WHERE store_id = $1",
}


async def queue(connection: Connection, store_id: UUID, kind: Kind) -> UUID:
    """The id of a job that does this from its beginning: one that waits already, or a new one."""
    total = await connection.fetchval(_COUNTED[kind], store_id)
    return await jobs.queue(connection, "scorer", Job(uuid7(), store_id, kind), total=total, once=True)
