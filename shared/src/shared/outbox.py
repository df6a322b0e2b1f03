"""The outbox: state and the messages it causes commit together; publishing follows, and nothing waits for it.

Rows are born claimed by their own process, whose publisher normally deletes them within milliseconds. What it
cannot publish is taken up by any replica's sweeper once the claim has run out. So a message may come twice.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from shared import traces
from shared.broker import Broker, Outgoing
from shared.db import Connection, Pool, is_transient
from shared.metrics import OUTBOX_LAG, OUTBOX_PUBLISHED, OUTBOX_SWEPT, POSTGRES_ANSWERS, PUBLISH_SECONDS
from shared.steps import Step

log = structlog.get_logger()

CLAIM_SECONDS = 30
SWEEP_EVERY = 1.0
SWEEP_ROWS = 500
PUBLISH_MESSAGES = 500
"""Most messages awaiting their confirm at once."""
FAST_PATH_BATCHES = 200
"""Committed batches waiting for the publisher; beyond that they wait in their rows for the sweeper."""


class Transaction:
    """A Postgres transaction that also sends messages, if it commits."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.outgoing: list[Outgoing] = []

    def send(self, *messages: Outgoing) -> None:
        self.outgoing.extend(messages)


class Outbox:
    """One service's outbox table, `<schema>.outbox`."""

    def __init__(self, pool: Pool, broker: Broker, schema: str) -> None:
        self._pool = pool
        self._broker = broker
        self._schema = schema
        self._committed: asyncio.Queue[list[Outgoing]] = asyncio.Queue(FAST_PATH_BATCHES)
        self._publishing = Step("outbox.publisher")
        self._sweeping = Step("outbox.sweeper")
        self.steps = (self._publishing, self._sweeping)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Commit on leaving: the messages sent in it are stored with it and published after it."""
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                transaction = Transaction(connection)
                yield transaction
                fast = self._broker.connected and not self._committed.full()
                await self._store(connection, transaction.outgoing, CLAIM_SECONDS if fast else 0)
            if fast and transaction.outgoing:
                self._hand_over(transaction.outgoing)

    def _hand_over(self, messages: list[Outgoing]) -> None:
        try:
            self._committed.put_nowait(messages)
        except asyncio.QueueFull:
            log.info("outbox.full", left_to_sweeper=len(messages))

    async def _store(self, connection: Connection, messages: Sequence[Outgoing], claim_seconds: int) -> None:
        if not messages:
            return
        await connection.execute(
            f"INSERT INTO {self._schema}.outbox (id, exchange, routing_key, headers, body, claimed_until)"
            " SELECT *, now() + make_interval(secs => $6)"
            " FROM unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::bytea[])",
            [m.id for m in messages],
            [m.exchange for m in messages],
            [m.routing_key for m in messages],
            [json.dumps(dict(m.headers)) for m in messages],
            [m.body for m in messages],
            claim_seconds,
        )

    async def run_publisher(self) -> None:
        """Publish what was committed here, in the order of the commits. A long task."""
        while True:
            messages = await self._committed.get()
            taken = 1
            while len(messages) < PUBLISH_MESSAGES and not self._committed.empty():
                messages = messages + self._committed.get_nowait()
                taken += 1
            try:
                with self._publishing:
                    await self._publish(messages)
            finally:
                for _ in range(taken):
                    self._committed.task_done()

    async def drained(self) -> None:
        """Once everything handed to the publisher has been tried."""
        await self._committed.join()

    async def _publish(self, messages: Sequence[Outgoing]) -> None:
        began = time.perf_counter()
        with traces.batch(f"publish {self._schema}.outbox", messages, kind="producer"):
            confirmed = await self._broker.publish(messages)
        PUBLISH_SECONDS.labels(self._schema).inc(time.perf_counter() - began)
        if not confirmed:
            return
        OUTBOX_PUBLISHED.labels(self._schema).inc(len(confirmed))
        try:
            await self._pool.execute(
                f"DELETE FROM {self._schema}.outbox WHERE id = ANY($1::uuid[])", [m.id for m in confirmed]
            )
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("outbox.not_deleted", messages=len(confirmed), error=type(error).__name__)

    async def run_sweeper(self) -> None:
        """Publish what was left behind, by this process or one that died. A long task."""
        while True:
            try:
                with self._sweeping:
                    await self._measure()
                    found = await self._sweep() if self._broker.connected else 0
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("outbox.waiting", error=type(error).__name__)
                POSTGRES_ANSWERS.labels(self._schema).set(0)
                found = 0
            if found < SWEEP_ROWS:
                await asyncio.sleep(SWEEP_EVERY)

    async def _measure(self) -> None:
        left: float | None = await self._pool.fetchval(
            "SELECT extract(epoch FROM now() - claimed_until)::double precision"
            f" FROM {self._schema}.outbox ORDER BY claimed_until LIMIT 1"
        )
        POSTGRES_ANSWERS.labels(self._schema).set(1)
        OUTBOX_LAG.labels(self._schema).set(max(left or 0.0, 0.0))

    async def _sweep(self) -> int:
        rows = await self._pool.fetch(
            f"UPDATE {self._schema}.outbox SET claimed_until = now() + make_interval(secs => $1) WHERE id IN ("
            f" SELECT id FROM {self._schema}.outbox WHERE claimed_until < now() ORDER BY id LIMIT $2"
            " FOR UPDATE SKIP LOCKED) RETURNING id, exchange, routing_key, headers, body",
            CLAIM_SECONDS,
            SWEEP_ROWS,
        )
        messages = [
            Outgoing(row["id"], row["exchange"], row["routing_key"], row["body"], json.loads(row["headers"]))
            for row in sorted(rows, key=lambda row: row["id"])
        ]
        if messages:
            OUTBOX_SWEPT.labels(self._schema).inc(len(messages))
            log.info("outbox.swept", messages=len(messages))
            await self._publish(messages)
        return len(messages)
