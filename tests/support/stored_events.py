"""Events as the scorer keeps them."""

from collections.abc import Sequence

import asyncpg

from shared.db import Partitions
from shared.events import Event


async def store(pool: asyncpg.Pool, events: Sequence[Event]) -> None:
    await Partitions("scorer.events").cover(pool, [event.recorded_at for event in events])
    await pool.copy_records_to_table(
        "events",
        schema_name="scorer",
        columns=("recorded_at", "id", "store_id", "email_hash", "sequence", "type", "occurred_at", "body"),
        records=[
            (
                event.recorded_at,
                event.id,
                event.store_id,
                event.customer.email_hash,
                event.sequence,
                event.type,
                event.occurred_at,
                event.encode(),
            )
            for event in events
        ],
    )
