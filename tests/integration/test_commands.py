"""Commands between two processes on a real RabbitMQ, with their answers in a real Postgres."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import structlog

from integration.conftest import Until
from shared.broker import Broker, Outgoing
from shared.commands import BACKGROUND_AT_ONCE, Asked, Asker, Command, Commands, NoAnswerError, invalid, parse_asked
from shared.consumer import Consumer
from shared.ids import uuid7
from shared.outbox import Outbox, Transaction
from shared.secrets import Vault
from shared.topology import DIRECT, dead
from support.events import STORE
from support.queues import depth

QUEUE = "rule-engine.commands"
LONG = timedelta(seconds=30)


class Owner:
    """Counts what it is asked to do."""

    def __init__(self, broker: Broker, pool: asyncpg.Pool, vault: Vault | None = None) -> None:
        self.counted: list[int] = []
        self.waited_for: list[UUID] = []
        self.released = asyncio.Event()
        self._broker = broker
        self._pool = pool
        self.commands = Commands(
            outbox=Outbox(pool, broker, "rule_engine"),
            broker=broker,
            schema="rule_engine",
            handlers={
                "count": self.count,
                "refuse": self.refuse,
                "count_and_cut": self.count_and_cut,
                "fail": self.fail,
            },
            background={"wait": self.wait, "break": self.break_},
            vault=vault,
        )

    async def count(self, _: Transaction, command: Command) -> Any:
        self.counted.append(command.data["n"])
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return {"secret": "s3cret", "n": len(self.counted), "at": at, "amount": Decimal("1.50"), "nothing": None}

    async def refuse(self, transaction: Transaction, _: Command) -> Any:
        await transaction.connection.execute("CREATE TABLE must_not_be ()")
        transaction.send(Outgoing(uuid7(), DIRECT, QUEUE, b"must not be sent"))
        raise invalid({"url": "must begin with https://"})

    async def count_and_cut(self, transaction: Transaction, command: Command) -> Any:
        """Does its work, and loses the connection that its answer should go by."""
        await self._broker.close()
        return await self.count(transaction, command)

    async def fail(self, _: Transaction, command: Command) -> Any:
        raise KeyError(command.data["email"])

    async def break_(self, command: Command) -> Any:
        raise KeyError(command.data["email"])

    async def wait(self, command: Command) -> Any:
        self.waited_for.append(command.id)
        await self.released.wait()
        return "waited"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        consumer = Consumer(
            queue=QUEUE,
            schema="rule_engine",
            broker=self._broker,
            pool=self._pool,
            parse=parse_asked,
            process=self.commands.process,
            batch_size=50,
        )
        task = asyncio.create_task(consumer.run(stop))
        yield
        stop.set()
        await task


@pytest.fixture
def owner(broker: Broker, pool: asyncpg.Pool) -> Owner:
    return Owner(broker, pool)


def command(n: int = 1, *, kind: str = "count", command_id: UUID | None = None) -> Command:
    return Command(id=command_id or uuid7(), type=kind, store_id=STORE, actor="test", data={"n": n})


ANSWER = {"secret": "s3cret", "n": 1, "at": "2026-01-01T00:00:00Z", "amount": "1.50", "nothing": None}


async def test_an_asker_gets_the_owner_s_answer(owner: Owner, broker: Broker) -> None:
    async with owner.running():
        answer = await Asker(broker).ask(QUEUE, "count", store_id=STORE, actor="test", data={"n": 7}, within=LONG)
    assert (answer.body, answer.refusal) == (ANSWER, None)
    assert owner.counted == [7]


async def test_many_askers_at_once_each_get_their_own_answer(owner: Owner, broker: Broker) -> None:
    asker = Asker(broker)
    async with owner.running():
        answers = await asyncio.gather(
            *(asker.ask(QUEUE, "count", store_id=STORE, actor="test", data={"n": n}, within=LONG) for n in range(50))
        )
    assert [owner.counted[answer.body["n"] - 1] for answer in answers] == list(range(50))


@pytest.mark.parametrize("sealed", [False, True])
async def test_the_same_command_again_is_not_executed_and_answers_the_same(
    broker: Broker, pool: asyncpg.Pool, vault: Vault, sealed: bool
) -> None:
    owner = Owner(broker, pool, vault if sealed else None)
    asked = command()
    first, again = await owner.commands.answer(asked), await owner.commands.answer(asked)
    assert first.encode() == again.encode()
    assert json.loads(again.encode())["body"] == ANSWER
    assert owner.counted == [1]
    stored = await pool.fetchval("SELECT answer::text FROM rule_engine.commands_seen WHERE id = $1", asked.id)
    assert ("s3cret" in stored) is not sealed


async def test_the_same_command_at_the_same_time_is_executed_once(owner: Owner, pool: asyncpg.Pool) -> None:
    asked = command()
    answers = await asyncio.gather(*(owner.commands.answer(asked) for _ in range(8)))
    assert {answer.encode() for answer in answers} == {answers[0].encode()}
    assert owner.counted == [1]


async def test_a_refusal_reaches_the_asker_and_changes_nothing(
    owner: Owner, broker: Broker, pool: asyncpg.Pool
) -> None:
    async with owner.running():
        answer = await Asker(broker).ask(QUEUE, "refuse", store_id=STORE, actor="test", data={}, within=LONG)
    assert answer.refusal is not None
    assert (answer.refusal.status, answer.refusal.params) == (400, {"url": "must begin with https://"})
    assert await pool.fetchval("SELECT to_regclass('must_not_be')") is None
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.commands_seen") == 0


async def test_a_refusal_that_nobody_waits_for_is_kept_once_and_changes_nothing(
    owner: Owner, pool: asyncpg.Pool
) -> None:
    asked = command(kind="refuse")
    first, again = await owner.commands.answer(asked), await owner.commands.answer(asked)
    assert first.refusal is not None
    assert first == again
    kept = await pool.fetch("SELECT id, answer, refusal->>'code' AS code FROM rule_engine.commands_seen")
    assert [tuple(row) for row in kept] == [(asked.id, None, "rest_invalid_param")]
    assert await pool.fetchval("SELECT to_regclass('must_not_be')") is None
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.outbox") == 0


async def test_a_command_that_nobody_waits_for_is_refused_and_the_next_is_executed(
    owner: Owner, broker: Broker, pool: asyncpg.Pool, until: Until
) -> None:
    asked = [command(kind="refuse"), command(2), command(kind="dance"), command(3)]
    await broker.publish([Outgoing(uuid7(), DIRECT, QUEUE, one.encode()) for one in asked])

    async def all_answered() -> bool:
        return bool(await pool.fetchval("SELECT count(*) = 4 FROM rule_engine.commands_seen"))

    async with owner.running():
        await until(all_answered)
    assert owner.counted == [2, 3]
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.commands_seen WHERE refusal IS NOT NULL") == 2
    assert await depth(broker, dead(QUEUE)) == 0


async def test_an_unknown_command_is_refused_by_name(owner: Owner) -> None:
    refusal = (await owner.commands.answer(command(kind="dance"))).refusal
    assert refusal is not None
    assert (refusal.code, refusal.message) == ("trustlens_unknown_command", "dance")


async def test_a_command_is_not_executed_after_its_deadline(owner: Owner, broker: Broker) -> None:
    late = command(1).model_copy(update={"deadline": datetime.now(UTC) - timedelta(seconds=1)})
    await owner.commands.process([Asked(late, None, None)])
    async with owner.running():
        await broker.publish([Outgoing(late.id, DIRECT, QUEUE, late.encode())])
        await Asker(broker).ask(QUEUE, "count", store_id=STORE, actor="test", data={"n": 2}, within=LONG)
    assert owner.counted == [2]
    assert await depth(broker, dead(QUEUE)) == 0


async def test_without_an_owner_there_is_no_answer_after_the_deadline_and_nothing_is_done_later(
    owner: Owner, broker: Broker
) -> None:
    asker, began = Asker(broker), asyncio.get_running_loop().time()
    within = timedelta(seconds=0.3)
    with pytest.raises(NoAnswerError):
        await asker.ask(QUEUE, "count", store_id=STORE, actor="test", data={"n": 1}, within=within)
    assert asyncio.get_running_loop().time() - began >= within.total_seconds()
    async with owner.running():
        await asker.ask(QUEUE, "count", store_id=STORE, actor="test", data={"n": 2}, within=LONG)
    assert owner.counted == [2]


async def test_a_command_that_waits_for_the_outside_delays_no_other(owner: Owner, broker: Broker) -> None:
    asker = Asker(broker)
    async with owner.running():
        waiting = asyncio.create_task(asker.ask(QUEUE, "wait", store_id=STORE, actor="test", data={}, within=LONG))
        await asker.ask(QUEUE, "count", store_id=STORE, actor="test", data={"n": 1}, within=LONG)
        assert not waiting.done()
        owner.released.set()
        assert (await waiting).body == "waited"
        await owner.commands.finished()


async def test_an_asker_asks_again_after_its_connection_broke(owner: Owner, broker: Broker) -> None:
    asker = Asker(broker)
    async with owner.running():
        await asker.ask(QUEUE, "count", store_id=STORE, actor="test", data={"n": 1}, within=LONG)
        await broker.close()
        answer = await asker.ask(QUEUE, "count", store_id=STORE, actor="test", data={"n": 2}, within=LONG)
    assert answer.body["n"] == len(owner.counted) == 2


async def test_an_answer_lost_on_its_way_is_asked_for_again_and_nothing_is_done_twice(
    owner: Owner, broker: Broker
) -> None:
    async with owner.running():
        data = {"n": 1}
        answer = await Asker(broker).ask(QUEUE, "count_and_cut", store_id=STORE, actor="test", data=data, within=LONG)
    assert answer.body["n"] == len(owner.counted) == 1


async def test_a_background_command_whose_batch_is_tried_again_is_begun_once(owner: Owner) -> None:
    asked = Asked(command(kind="wait"), None, None)
    for _ in range(3):
        await owner.commands.process([asked])
    owner.released.set()
    await owner.commands.finished()
    assert owner.waited_for == [asked.command.id]


async def test_a_background_command_that_got_its_turn_too_late_is_not_executed(owner: Owner) -> None:
    waiting = [Asked(command(kind="wait"), None, None) for _ in range(BACKGROUND_AT_ONCE)]
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    late = command(kind="wait").model_copy(update={"deadline": soon})
    await owner.commands.process([*waiting, Asked(late, None, None)])
    while datetime.now(UTC) <= soon:  # noqa: ASYNC110  # a deadline that passes is no event
        await asyncio.sleep(0)
    owner.released.set()
    await owner.commands.finished()
    assert late.id not in owner.waited_for
    assert len(owner.waited_for) == BACKGROUND_AT_ONCE


@pytest.mark.parametrize("kind", ["fail", "break"])
async def test_a_mistake_of_the_owner_s_is_answered_and_told_without_values(
    owner: Owner, broker: Broker, kind: str
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with owner.running():
            data = {"email": "jane@example.com"}
            answer = await Asker(broker).ask(QUEUE, kind, store_id=STORE, actor="test", data=data, within=LONG)
            await owner.commands.finished()
    assert answer.refusal
    assert (answer.refusal.status, answer.refusal.code) == (500, "internal_server_error")
    assert [entry["error"] for entry in logs if entry["event"] == "commands.failed"] == ["KeyError"]
    assert "jane" not in str(logs)
    assert await depth(broker, dead(QUEUE)) == 0
