"""Stores what came of attempts: those that wait together, in one commit. A result is never lost while we live.

Here it is decided what an answer means: with the target's breaker locked, so that of two dispatchers that see an
endpoint fail both know of each other's failures.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog

from dispatcher import breaker as breakers
from dispatcher import deliveries, store
from dispatcher.breaker import HEALTHY, Breaker
from dispatcher.classify import Answer, classify
from dispatcher.clock import Clock, utc_now
from dispatcher.deliveries import Delivery, Rules, Step
from dispatcher.store import Recorded
from shared.db import Connection, Pool, is_transient
from shared.steps import Step as Stepping
from shared.traces import Headers

log = structlog.get_logger()

AT_ONCE = 500
"""Most results in one commit."""
GONE_REASON = "the endpoint answered 410 Gone"
UNKEPT = "the answer could not be kept"


@dataclass(frozen=True, slots=True)
class Record:
    """What came of one leased delivery: an answer, or the step that was decided without sending it."""

    delivery: Delivery
    lease: UUID
    at: datetime
    """When the attempt began."""
    answer: Answer | None = None
    step: Step | None = None
    permanent: Collection[int] = ()
    jitter: float = 0.0
    probe: bool = False
    trace: Headers | None = None
    """Of the attempt, for its line in the log."""


Stored = Callable[[Step | None], None]
"""Called once a record is stored, with what it led to; None: its lease was lost, so that another's result counts."""


class Recorder:
    """`run()` as a long task that outlives the attempts. `outages`: breakers as last seen, by target."""

    def __init__(self, pool: Pool, rules: Rules, clock: Clock = utc_now) -> None:
        self._pool = pool
        self._clock = clock
        self._rules = rules
        self._waiting: asyncio.Queue[tuple[Record, Stored]] = asyncio.Queue()
        self.outages: dict[UUID, Breaker] = {}
        self.step = Stepping("recorder")

    def take(self, record: Record, stored: Stored) -> None:
        """Store it with what else waits."""
        self._waiting.put_nowait((record, stored))

    async def record(self, record: Record) -> Step | None:
        """The same, for who waits for what it led to."""
        stored: asyncio.Future[Step | None] = asyncio.get_running_loop().create_future()
        self.take(record, stored.set_result)
        return await asyncio.shield(stored)

    async def drained(self) -> None:
        """Once all that was taken is stored, and told."""
        await self._waiting.join()

    async def run(self) -> None:
        while True:
            group = [await self._waiting.get()]
            while len(group) < AT_ONCE and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            try:
                with self.step:
                    await self._settle(group)
            finally:
                for _ in group:
                    self._waiting.task_done()

    async def _settle(self, group: Sequence[tuple[Record, Stored]]) -> None:
        """Store a group; where the data is to blame, by halves, until the bad one is alone."""
        try:
            held = await self._patiently([record for record, _ in group])
        except Exception as error:  # noqa: BLE001  # is_transient said that it is this data's
            if len(group) > 1:
                middle = len(group) // 2
                await self._settle(group[:middle])
                await self._settle(group[middle:])
                return
            held = await self._bare(group[0][0], error)
        loop = asyncio.get_running_loop()
        for record, stored in group:
            loop.call_soon(stored, held.get((record.delivery.id, record.lease)))  # a mistake in there is not ours

    async def _bare(self, record: Record, error: Exception) -> Mapping[tuple[UUID, UUID], Step]:
        """Store at least that there was an attempt: else the delivery would be sent again whenever its lease ends."""
        log.error("delivery.answer_not_kept", delivery=str(record.delivery.id), error=type(error).__name__)
        try:
            return await self._patiently([bare(record)])
        except Exception as again:  # noqa: BLE001  # as above
            log.error("delivery.not_recorded", delivery=str(record.delivery.id), error=type(again).__name__)
            return {}

    async def _patiently(self, records: Sequence[Record]) -> Mapping[tuple[UUID, UUID], Step]:
        wait = 0.1
        while True:
            self.step.begin()
            try:
                async with self._pool.acquire() as connection:
                    held, seen = await _store(connection, records, self._rules, self._clock)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("recorder.waiting", results=len(records), error=type(error).__name__, retry_in=wait)
            else:
                self.see(seen)
                return held
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)

    def see(self, seen: Mapping[UUID, Breaker]) -> None:
        """Remember how these targets are."""
        for target, breaker in seen.items():
            if breaker == HEALTHY:
                self.outages.pop(target, None)
            else:
                self.outages[target] = breaker


Outcome = tuple[Mapping[tuple[UUID, UUID], Step], Mapping[UUID, Breaker]]


async def _store(connection: Connection, records: Sequence[Record], rules: Rules, clock: Clock) -> Outcome:
    """What was stored, by delivery and lease, and how the targets are then.

    Where all is well there is nothing to lock, and nothing but the records to store: one round trip.
    """
    if all(record.answer and record.answer.complaint is None for record in records):
        now = clock()
        steps, after = decide(records, {}, rules, now)
        if held := await store.record(connection, steps, now=now, unless_troubled=after):
            return _told(steps, held), after
    async with connection.transaction():
        return await _store_all(connection, records, rules, clock)


async def _store_all(connection: Connection, records: Sequence[Record], rules: Rules, clock: Clock) -> Outcome:
    targets = {record.delivery.target_id for record in records if record.answer}
    before = await store.lock_breakers(connection, targets)
    if troubled := {r.delivery.target_id for r in records if r.answer and r.answer.complaint} - before.keys():
        endpoints = {record.delivery.endpoint_id for record in records if record.delivery.endpoint_id}
        before = await store.ensure_breakers(connection, targets, troubled, endpoints=endpoints)
    now = clock()
    steps, after = decide(records, before, rules, now)
    held = await store.record(connection, steps, now=now)
    parked = {r.delivery.target_id for r in steps if r.step.status == "parked"}
    await _act(connection, before, after, parked, rules=rules, now=now)
    ended = {r.delivery.endpoint_id for r in steps if r.step.disables and (r.delivery.id, r.lease) in held}
    await _disable(connection, {endpoint for endpoint in ended if endpoint})
    return _told(steps, held), after


def _told(steps: Sequence[Recorded], held: Collection[tuple[UUID, UUID]]) -> Mapping[tuple[UUID, UUID], Step]:
    return {(r.delivery.id, r.lease): r.step for r in steps if (r.delivery.id, r.lease) in held}


def bare(record: Record) -> Record:
    """Of an answer what decides, without any of its words: Postgres may refuse a text."""
    if record.answer is None:
        return record
    final = record.answer.final and UNKEPT
    return replace(record, answer=replace(record.answer, error=UNKEPT, final=final, address=None, body=b""))


def decide(
    records: Sequence[Record], before: Mapping[UUID, Breaker], rules: Rules, now: datetime
) -> tuple[list[Recorded], dict[UUID, Breaker]]:
    """What each record leads to, one after the other, and how the targets are then."""
    seen = dict.fromkeys((r.delivery.target_id for r in records if r.answer), HEALTHY) | dict(before)
    steps = []
    for record in sorted(records, key=lambda record: record.at):
        step, target = record.step, record.delivery.target_id
        if record.answer:
            was = seen[target]
            seen[target] = breakers.after(was, record.delivery.id, record.answer, now=now, probe=record.probe)
            step = deliveries.after(
                record.delivery,
                classify(record.answer, now=now, permanent=record.permanent),
                rules=rules,
                jitter=record.jitter,
                now=now,
                before=was,
                breaker=seen[target],
            )
        if step is None:
            raise ValueError("a record has an answer or a step")
        steps.append(Recorded(record.delivery, record.lease, step, record.at, record.answer))
    return steps, seen


async def _act(
    connection: Connection,
    before: Mapping[UUID, Breaker],
    after: Mapping[UUID, Breaker],
    parked: Collection[UUID],
    *,
    rules: Rules,
    now: datetime,
) -> None:
    """Save the breakers that moved; park what waits behind one that opened, let out what waited for one to close.

    `parked`: targets of deliveries parked just now. A breaker may have opened and closed again within these records.
    """
    await store.save_breakers(connection, {t: b for t, b in after.items() if b != before.get(t, HEALTHY)})
    for target, breaker in after.items():
        was = before.get(target, HEALTHY)
        if breaker.is_open and not was.is_open:
            log.warning("endpoint.down", endpoint=str(target), failures=breaker.failures)
            await store.park(connection, [target], rules.park_for, now=now)
        elif not breaker.is_open and (was.is_open or target in parked):
            released = await store.let_out(connection, target, now=now)
            log.info("endpoint.back", endpoint=str(target), released=released)


async def _disable(connection: Connection, endpoint_ids: Collection[UUID]) -> None:
    if endpoint_ids and (stores := await store.disable_retried(connection, endpoint_ids, GONE_REASON)):
        for endpoint in endpoint_ids:
            log.warning("endpoint.disabled", endpoint=str(endpoint), why=GONE_REASON)
        await store.bump_revision(connection, stores)
