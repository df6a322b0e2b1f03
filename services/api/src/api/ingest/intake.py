"""Accepted inputs → Postgres: many in one commit, each caller told only after it."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import structlog

from api.ingest import store
from api.ingest.about import About
from api.ingest.store import RawInput
from api.metrics import INPUTS, INTAKE_BATCH
from shared import traces
from shared.broker import Outgoing
from shared.db import Connection, Partitions, Pool, is_transient
from shared.events import Fact
from shared.outbox import Outbox, Transaction
from shared.steps import Step
from shared.topology import FACTS
from shared.traces import Headers

log = structlog.get_logger()


MAX_WAITING = 2000
"""Inputs waiting for their commit; one more is told 503 at once. A 4 kB order each, some MB in all."""


@dataclass(frozen=True, slots=True)
class Input:
    """One delivery of a store, checked, with the fact it becomes. The fact's id is the input's."""

    source: str
    topic: str
    digest: bytes
    """Tells this delivery from every other: the same twice is the same delivery."""
    body: bytes
    fact: Fact
    about: About
    lane: Literal["live", "history"] = "live"
    """History is scored and told to nobody."""
    headers: Headers = field(default_factory=traces.current)
    """By which the trace of the request goes on."""

    @property
    def id(self) -> UUID:
        return self.fact.id


class NotCommittedError(Exception):
    """Nothing is known to be stored: the sender must count it as failed, or send it again."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What one request brought: it is committed together, or not at all."""

    inputs: Sequence[Input]
    new: "asyncio.Future[set[UUID]]"
    """The ids of those not seen before."""
    deadline: float
    """By the loop's clock: after it the store is told that nothing is known to be stored."""


class Intake:
    """`accept` from any number of requests; `run` as the one long task that commits."""

    def __init__(
        self,
        pool: Pool,
        outbox: Outbox,
        partitions: Partitions,
        *,
        gather_seconds: float,
        commit_seconds: float,
        batch_size: int,
    ) -> None:
        self._pool = pool
        self._outbox = outbox
        self._partitions = partitions
        self._gather_seconds = gather_seconds
        self._commit_seconds = commit_seconds
        self._batch_size = batch_size
        self._waiting: deque[_Waiting] = deque()
        self._inputs_waiting = 0
        self._arrived = asyncio.Event()
        self._closed = False
        self.step = Step("intake")

    async def accept(self, given: Sequence[Input]) -> set[UUID]:
        """Once all are committed together: the ids of the new ones; a delivery seen before has no effect.

        Raises:
            NotCommittedError: the database is away, or this process is ending.
        """
        if self._closed or self._inputs_waiting + len(given) > MAX_WAITING:
            raise NotCommittedError
        loop = asyncio.get_running_loop()
        waiting = _Waiting(given, loop.create_future(), loop.time() + self._commit_seconds)
        self._waiting.append(waiting)
        self._inputs_waiting += len(given)
        self._arrived.set()
        return await waiting.new

    async def run(self) -> None:
        """Commit what arrives, until cancelled. A long task."""
        try:
            while True:
                await self._arrived.wait()
                await asyncio.sleep(self._gather_seconds)
                self._arrived.clear()
                while self._waiting:
                    with self.step:
                        await self._settle(self._take())
        finally:
            self._closed = True
            _fail(self._waiting, NotCommittedError())

    def _take(self) -> list[_Waiting]:
        """The next requests, until they make a batch; one that brings more than a batch stays whole."""
        taken, inputs = [], 0
        while self._waiting and inputs < self._batch_size:
            taken.append(self._waiting.popleft())
            inputs += len(taken[-1].inputs)
        self._inputs_waiting -= inputs
        return taken

    async def _settle(self, taken: Sequence[_Waiting]) -> None:
        """Tell each of a batch what became of it; one that Postgres cannot store stops no other."""
        try:
            async with asyncio.timeout_at(taken[0].deadline):  # the first waits longest
                inputs = [given for waiting in taken for given in waiting.inputs]
                with traces.batch("store inputs", inputs, kind="internal"):
                    new = await self._commit(inputs)
        except asyncio.CancelledError:
            _fail(taken, NotCommittedError())
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, its callers are told, and the next batch goes on
            await self._settle_failed(taken, error)
            return
        for waiting in taken:
            count(waiting.inputs, new)
            if not waiting.new.done():
                waiting.new.set_result(new.intersection(given.id for given in waiting.inputs))

    async def _settle_failed(self, taken: Sequence[_Waiting], error: Exception) -> None:
        if is_transient(error):
            log.warning("intake.not_committed", requests=len(taken), error=type(error).__name__)
            _fail(taken, NotCommittedError())
        elif len(taken) == 1:
            _fail(taken, error)
        else:
            for waiting in taken:
                await self._settle([waiting])

    async def _commit(self, inputs: Sequence[Input]) -> set[UUID]:
        """Store them and what they send in one transaction; the ids of those not seen before."""
        INTAKE_BATCH.observe(len(inputs))
        now = datetime.now(UTC)
        await self._partitions.cover(self._pool, [now])
        async with self._outbox.transaction() as transaction:
            return await take(transaction, inputs, now)


async def take(transaction: Transaction, inputs: Sequence[Input], now: datetime) -> set[UUID]:
    """Store them and what they send, if the transaction commits; the ids of those not seen before.

    The partition of raw input that `now` lies in must be there.
    """
    new = await _store(transaction.connection, inputs, now)
    transaction.send(*(_outgoing(given) for given in inputs if given.id in new))
    return new


async def _store(connection: Connection, inputs: Sequence[Input], now: datetime) -> set[UUID]:
    new = await store.remember(connection, [(given.digest, given.id) for given in inputs], now)
    await store.save_raw(
        connection,
        [
            RawInput(given.id, given.fact.store_id, given.source, given.topic, given.body, given.about)
            for given in inputs
            if given.id in new
        ],
        now,
    )
    return new


def _outgoing(given: Input) -> Outgoing:
    name = f"{given.lane}.{given.fact.type}"
    return Outgoing(given.id, FACTS, name, given.fact.encode(), traces.carried(given.id))


def count(inputs: Sequence[Input], new: set[UUID]) -> None:
    """Of what is committed, or about to be."""
    for given in inputs:
        INPUTS.labels(given.source, "accepted" if given.id in new else "duplicate").inc()


def _fail(waiting: Sequence[_Waiting] | deque[_Waiting], error: Exception) -> None:
    for one in waiting:
        if not one.new.done():
            one.new.set_exception(error)


async def forget_seen(pool: Pool, days: int) -> None:
    """Repeated deliveries this old are recognised no more."""
    await store.forget(pool, datetime.now(UTC) - timedelta(days=days))
