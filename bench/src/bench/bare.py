"""The same volume through the libraries alone: what no scorer could go below on this machine.

aiormq takes the same messages in the same batches, asyncpg copies the rows that the scorer left behind, batch by
batch in as many commits, with the outbox's rows in and out, and aiormq publishes the same events. Nothing is parsed,
decided, read or updated.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import aiormq
import asyncpg
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from bench import stack
from bench.progress import Show, counted
from bench.stack import Track
from shared.broker import Outgoing
from shared.db import Partitions
from shared.topology import EVENTS

BATCH = 200
"""Of the scorer's settings, the default."""
TABLES = (
    "customers",
    "orders",
    "refunds",
    "payments",
    "fingerprints",
    "link_hashes",
    "events",
    "timeline",
    "score_history",
    "input_outcomes",
)


@dataclass(frozen=True, slots=True)
class Bare:
    seconds: float
    facts: int

    @property
    def micros(self) -> float:
        return 1e6 * self.seconds / self.facts


@dataclass(frozen=True, slots=True)
class Written:
    """What a scorer wrote, table by table."""

    columns: dict[str, list[str]]
    rows: dict[str, list[tuple[object, ...]]]

    def batch(self, table: str, number: int, batches: int) -> list[tuple[object, ...]]:
        """An equal part of a table's rows."""
        rows = self.rows[table]
        return rows[len(rows) * number // batches : len(rows) * (number + 1) // batches]

    def events(self, number: int, batches: int) -> list[Outgoing]:
        names = self.columns["events"]
        told = (dict(zip(names, row, strict=True)) for row in self.batch("events", number, batches))
        return [Outgoing(one["id"], EVENTS, one["type"], one["body"]) for one in told]  # type: ignore[arg-type]  # a row's


async def written_by(track: Track) -> Written:
    columns: dict[str, list[str]] = {}
    rows: dict[str, list[tuple[object, ...]]] = {}
    async with stack.connected(track) as pool:
        for table in TABLES:
            found = await pool.fetch(f"SELECT * FROM scorer.{table}")
            columns[table] = list(found[0].keys()) if found else []
            rows[table] = [tuple(row) for row in found]
    return Written(columns, rows)


async def replay(track: Track, messages: Sequence[Outgoing], written: Written, text: str) -> Bare:
    """On an empty track, on the scorer's core."""
    with counted(f"{text}: filling the queue", len(messages)) as show:
        await stack.fill(track, messages, show)
    with counted(text, len(messages)) as show:
        async with stack.on_scorer_core(track.site), stack.connected(track) as pool, pool.acquire() as connection:
            await Partitions("scorer.events", "scorer.timeline").cover(connection, [datetime.now(UTC)])
            broker = await aiormq.connect(track.site.stack.amqp_url)
            began = time.perf_counter()
            await _play(track, await broker.channel(), connection, written, total=len(messages), show=show)
            seconds = time.perf_counter() - began
            await broker.close()
    return Bare(seconds, len(messages))


async def _play(
    track: Track, channel: AbstractChannel, connection: asyncpg.Connection, written: Written, *, total: int, show: Show
) -> None:
    arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    await channel.basic_qos(prefetch_count=2 * BATCH)
    await channel.basic_consume(f"{track.prefix}scorer.facts", arrived.put)
    batches = -(-total // BATCH)
    publishing: asyncio.Task[None] | None = None
    for number in range(batches):
        taken = [await arrived.get() for _ in range(min(BATCH, total - number * BATCH))]
        events = written.events(number, batches)
        await _commit(connection, written, number, batches, events)
        await channel.basic_ack(taken[-1].delivery_tag or 0, multiple=True)
        if publishing:
            await publishing
        publishing = asyncio.create_task(_publish(track, channel, events))
        show((number + 1) * BATCH)
    if publishing:
        await publishing


async def _commit(
    connection: asyncpg.Connection, written: Written, number: int, batches: int, events: Sequence[Outgoing]
) -> None:
    async with connection.transaction():
        for table in TABLES:
            rows = written.batch(table, number, batches)
            if rows:
                await connection.copy_records_to_table(
                    table, schema_name="scorer", columns=written.columns[table], records=rows
                )
        await connection.copy_records_to_table(
            "outbox",
            schema_name="scorer",
            columns=("id", "exchange", "routing_key", "headers", "body", "claimed_until"),
            records=[(e.id, e.exchange, e.routing_key, "{}", e.body, datetime.now(UTC)) for e in events],
        )
    await connection.execute("DELETE FROM scorer.outbox WHERE id = ANY($1::uuid[])", [event.id for event in events])


async def _publish(track: Track, channel: AbstractChannel, events: Sequence[Outgoing]) -> None:
    await asyncio.gather(
        *(
            channel.basic_publish(
                event.body,
                exchange=track.prefix + event.exchange,
                routing_key=event.routing_key,
                properties=Basic.Properties(message_id=str(event.id), delivery_mode=2),
                wait=False,  # type: ignore[call-arg]  # in aiormq's channel, not yet in its interface
            )
            for event in events
        )
    )
