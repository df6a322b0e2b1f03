"""Who may send and record a delivery: leases in Postgres, and results that survive its absence."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from dispatcher import store
from dispatcher.classify import Answer
from dispatcher.deliveries import Delivery, Rules, Step
from dispatcher.recorder import UNKEPT, Record, Recorder
from dispatcher.store import Recorded
from shared.db import Partitions
from shared.ids import uuid7

MINUTE = timedelta(minutes=1)
DELIVERED = Step("delivered")
OK = Answer(3, status_code=200, body=b"ok")


@pytest.fixture
async def connection(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    partitions = Partitions("dispatcher.bodies", "dispatcher.deliveries", "dispatcher.attempts")
    await partitions.cover(pool, [datetime.now(UTC)])
    async with pool.acquire() as connection:
        yield connection


def delivery(target_id: UUID, number: int = 0) -> Delivery:
    return Delivery(
        recorded_at=datetime.now(UTC),
        id=uuid7(),
        store_id=uuid7(),
        target_id=target_id,
        endpoint_id=target_id,
        rule_id=None,
        event="score_updated",
        source_id=uuid7(),
        shape="trustlens",
        email_hash="ab" * 32,
        sequence=number,
        mode="retry",
        max_attempts=4,
    )


async def insert(connection: asyncpg.Connection, deliveries: Sequence[Delivery], *, lease: UUID | None = None) -> None:
    leased = [d.id for d in deliveries] if lease else []
    await store.insert_deliveries(
        connection,
        [(d, None) for d in deliveries],
        {},
        lease=lease or uuid7(),
        leased=leased,
        lease_for=MINUTE,
        now=datetime.now(UTC),
    )


def result(of: Delivery, lease: UUID, step: Step = DELIVERED) -> Recorded:
    return Recorded(of, lease, step, datetime.now(UTC), OK)


def record(of: Delivery, lease: UUID) -> Record:
    return Record(of, lease, datetime.now(UTC), answer=OK)


async def store_results(connection: asyncpg.Connection, *results: Recorded) -> set[tuple[UUID, UUID]]:
    return await store.record(connection, results, now=datetime.now(UTC))


async def state(connection: asyncpg.Connection, of: Delivery) -> tuple[object, ...]:
    row = await connection.fetchrow(
        "SELECT status, attempts, lease, (SELECT count(*) FROM dispatcher.attempts WHERE delivery_id = $1) AS made"
        " FROM dispatcher.deliveries WHERE id = $1",
        of.id,
    )
    return tuple(row)


async def test_a_late_answer_under_a_lost_lease_changes_nothing(connection: asyncpg.Connection) -> None:
    mine, others, made = uuid7(), uuid7(), delivery(uuid7())
    await insert(connection, [made], lease=others)
    assert await store_results(connection, result(made, mine)) == set()
    assert await state(connection, made) == ("pending", 0, others, 0)
    assert await store_results(connection, result(made, others)) == {(made.id, others)}
    assert await state(connection, made) == ("delivered", 1, None, 1)


async def test_the_same_result_twice_is_recorded_once(connection: asyncpg.Connection) -> None:
    lease, made = uuid7(), delivery(uuid7())
    await insert(connection, [made], lease=lease)
    await store_results(connection, result(made, lease))
    assert await store_results(connection, result(made, lease)) == set()
    assert await state(connection, made) == ("delivered", 1, None, 1)


async def test_of_a_target_in_trouble_nothing_is_recorded_as_if_all_were_well(connection: asyncpg.Connection) -> None:
    lease, made = uuid7(), delivery(uuid7())
    await insert(connection, [made], lease=lease)
    targets = [made.target_id]
    await store.ensure_breakers(connection, targets, targets, endpoints=[])
    recorded = await store.record(connection, [result(made, lease)], now=datetime.now(UTC), unless_troubled=targets)
    assert (recorded, await state(connection, made)) == (set(), ("pending", 0, lease, 0))


async def test_a_retry_is_due_after_its_wait_and_not_before(connection: asyncpg.Connection) -> None:
    lease, made = uuid7(), delivery(uuid7())
    await insert(connection, [made], lease=lease)
    before = await connection.fetchval("SELECT clock_timestamp()")
    await store_results(connection, result(made, lease, Step("retrying", wait=MINUTE)))
    row = await connection.fetchrow("SELECT due_at, finished_at FROM dispatcher.deliveries WHERE id = $1", made.id)
    assert row["due_at"] >= before + MINUTE
    assert row["finished_at"] is None
    assert await claim(connection, {made.target_id: 9}) == []


async def claim(connection: asyncpg.Connection, rooms: dict[UUID, int]) -> list[Delivery]:
    return await store.claim(connection, rooms, down=(), lease=uuid7(), lease_for=MINUTE, now=datetime.now(UTC))


async def test_each_target_is_claimed_up_to_its_room_in_order(connection: asyncpg.Connection) -> None:
    hung, healthy = uuid7(), uuid7()
    await insert(connection, [delivery(hung, n) for n in range(50)])
    await insert(connection, [delivery(healthy, n) for n in range(3)])
    assert set(await store.unfinished_targets(connection)) == {hung, healthy}
    claimed = await claim(connection, {hung: 2, healthy: 10})
    assert Counter(d.target_id for d in claimed) == {hung: 2, healthy: 3}
    assert await claim(connection, {healthy: 10}) == []


async def test_first_tries_come_before_retries(connection: asyncpg.Connection) -> None:
    target = uuid7()
    again, first = delivery(target, 1), delivery(target, 2)
    await insert(connection, [again, first])
    await connection.execute(
        "UPDATE dispatcher.deliveries SET status = 'retrying', attempts = 1, due_at = now() - interval '1 h'"
        " WHERE id = $1",
        again.id,
    )
    assert [d.id for d in await claim(connection, {target: 1})] == [first.id]
    assert [(d.id, d.attempts) for d in await claim(connection, {target: 1})] == [(again.id, 1)]


async def test_a_leased_delivery_is_claimed_only_after_its_lease(connection: asyncpg.Connection) -> None:
    made = delivery(uuid7())
    await insert(connection, [made], lease=uuid7())
    assert await claim(connection, {made.target_id: 1}) == []
    await connection.execute("UPDATE dispatcher.deliveries SET leased_until = now() - interval '1 ms'")
    assert [d.id for d in await claim(connection, {made.target_id: 1})] == [made.id]


async def test_two_dispatchers_never_claim_the_same(pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
    target = uuid7()
    await insert(connection, [delivery(target, n) for n in range(60)])

    async def take_some() -> list[UUID]:
        taken: list[UUID] = []
        async with pool.acquire() as own:
            while some := await claim(own, {target: 7}):
                taken += [d.id for d in some]
        return taken

    taken = [delivery_id for ids in await asyncio.gather(*(take_some() for _ in range(4))) for delivery_id in ids]
    assert len(taken) == len(set(taken)) == 60


async def test_what_is_released_can_be_claimed_at_once(connection: asyncpg.Connection) -> None:
    lease, made = uuid7(), delivery(uuid7())
    await insert(connection, [made], lease=lease)
    await store.release(connection, [(made, uuid7())])
    assert await claim(connection, {made.target_id: 1}) == []
    await store.release(connection, [(made, lease)])
    assert [d.id for d in await claim(connection, {made.target_id: 1})] == [made.id]


class Flaky:
    """A pool whose server is away for the first few times."""

    def __init__(self, pool: asyncpg.Pool, *, failures: int) -> None:
        self._pool = pool
        self.failures = failures

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        if self.failures:
            self.failures -= 1
            raise ConnectionRefusedError
        async with self._pool.acquire() as connection:
            yield connection


@asynccontextmanager
async def recording(pool: object) -> AsyncIterator[Recorder]:
    recorder = Recorder(pool, Rules())
    running = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_result_waits_until_postgres_is_back(pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
    lease, made = uuid7(), delivery(uuid7())
    await insert(connection, [made], lease=lease)
    flaky = Flaky(pool, failures=2)
    async with recording(flaky) as recorder:
        assert await recorder.record(record(made, lease)) == DELIVERED
    assert flaky.failures == 0
    assert await state(connection, made) == ("delivered", 1, None, 1)


@pytest.mark.parametrize(
    ("answer", "led_to"),
    [
        (Answer(3, status_code=200, error="said \x00"), "delivered"),
        (Answer(3, status_code=500, phase="body", error="\x00"), "retrying"),
        (Answer(3, status_code=404, final="\x00"), "exhausted"),
    ],
)
async def test_an_answer_that_cannot_be_stored_is_an_attempt_all_the_same_and_takes_no_other_with_it(
    pool: asyncpg.Pool, connection: asyncpg.Connection, answer: Answer, led_to: str
) -> None:
    lease, made = uuid7(), [delivery(uuid7(), n) for n in range(5)]
    await insert(connection, made, lease=lease)
    odd = Record(made[2], lease, datetime.now(UTC), answer=answer)
    records = [odd if d is made[2] else record(d, lease) for d in made]
    async with recording(pool) as recorder:
        stored = await asyncio.gather(*(recorder.record(r) for r in records))
    assert [step and step.status for step in stored] == [led_to if d is made[2] else "delivered" for d in made]
    attempt = await pool.fetchrow(
        "SELECT number, status_code, phase, error, address, answer FROM dispatcher.attempts WHERE delivery_id = $1",
        made[2].id,
    )
    assert tuple(attempt) == (1, answer.status_code, answer.phase, UNKEPT, None, b"")
    assert (await state(connection, made[2]))[0] == led_to


async def test_a_result_is_stored_though_its_attempt_is_cancelled_meanwhile(
    pool: asyncpg.Pool, connection: asyncpg.Connection
) -> None:
    lease, made = uuid7(), delivery(uuid7())
    await insert(connection, [made], lease=lease)
    async with recording(Flaky(pool, failures=1)) as recorder:
        attempt = asyncio.create_task(recorder.record(record(made, lease)))
        await asyncio.sleep(0)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        await recorder.drained()
    assert await state(connection, made) == ("delivered", 1, None, 1)
