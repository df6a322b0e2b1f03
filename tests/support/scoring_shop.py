"""A store with a scorer on a real Postgres, a clock that stands still, and questions about what became of facts."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from api.stores import create_store
from scorer import commands, sweep
from scorer.worker import Scorer
from shared.broker import Broker
from shared.commands import Answer, Command, Commands
from shared.db import is_transient
from shared.events import Automation, Event, Fact
from shared.identity import email_hash
from shared.ids import uuid7
from shared.outbox import Outbox
from shared.secrets import Vault
from support.facts import JANE, NOW

Process = Callable[[Sequence[Fact | Automation]], Awaitable[None]]


@dataclass(slots=True)
class Clock:
    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at


@dataclass(slots=True)
class Shop:
    pool: asyncpg.Pool
    vault: Vault
    store_id: UUID
    hash_key: bytes
    clock: Clock = field(default_factory=Clock)
    scorer: Scorer = field(init=False)
    owner: Commands = field(init=False)

    def __post_init__(self) -> None:
        self.scorer = self.another_scorer()
        self.owner = Commands(
            outbox=self.scorer.outbox,
            broker=Broker("amqp://nobody", service="scorer"),
            schema="scorer",
            handlers=commands.handlers(self.scorer),
            vault=self.vault,
        )

    def another_scorer(self) -> Scorer:
        outbox = Outbox(self.pool, Broker("amqp://nobody", service="scorer"), "scorer")
        return Scorer(outbox, self.pool, self.vault, clock=self.clock)

    # Facts and commands in --------------------------------------------------------------------------------------------

    def _ours(self, facts: Sequence[Fact | Automation]) -> list[Fact | Automation]:
        return [fact.model_copy(update={"store_id": self.store_id}) for fact in facts]

    async def process(self, *facts: Fact | Automation, by: Scorer | None = None) -> None:
        """As the consumer has it done: again and again, while that may help."""
        await _insisting((by or self.scorer).process, self._ours(facts))

    async def history(self, *facts: Fact, by: Scorer | None = None) -> None:
        await _insisting((by or self.scorer).process_history, self._ours(facts))

    async def settle(self) -> None:
        """All jobs done, and everybody recalculated who was marked."""
        await sweep.do_jobs(self.scorer, asyncio.Event())
        await sweep.rescore_all_due(self.scorer)

    async def ask(self, kind: str, *, command_id: UUID | None = None, **data: Any) -> Any:
        """The answer's body.

        Raises:
            AssertionError: it was refused.
        """
        answer = await self.answer(kind, command_id=command_id, **data)
        assert answer.refusal is None, answer.refusal
        return answer.body

    async def refused(self, kind: str, **data: Any) -> tuple[int, str, dict[str, str]]:
        answer = await self.answer(kind, **data)
        assert answer.refusal is not None, answer.body
        return answer.refusal.status, answer.refusal.code, dict(answer.refusal.params)

    async def answer(self, kind: str, *, command_id: UUID | None = None, **data: Any) -> Answer:
        asked = Command(id=command_id or uuid7(), type=kind, store_id=self.store_id, actor="test", data=data)
        return await self.owner.answer(asked)

    # What is so -------------------------------------------------------------------------------------------------------

    def hash(self, email: str = JANE) -> str:
        return email_hash(self.hash_key, email)

    async def customer(self, email: str = JANE) -> Any:
        """The row of a customer, erased ones too. None: there is no such customer."""
        return await self.pool.fetchrow("SELECT * FROM scorer.customers WHERE email_hash = $1", self.hash(email))

    async def signals(self, email: str = JANE) -> list[tuple[str, int]]:
        """(module, points)"""
        return [(s["module"], s["points"]) for s in json.loads((await self.customer(email))["signals"])]

    async def points(self, module: str, email: str = JANE) -> int:
        return sum(points for name, points in await self.signals(email) if name == module)

    async def events(self, email: str | None = JANE) -> list[Event]:
        """What was sent of a customer, or of all, by sequence."""
        rows = await self.pool.fetch("SELECT body FROM scorer.outbox")
        sent = [Event.model_validate_json(row["body"]) for row in rows]
        wanted = [event for event in sent if email is None or event.customer.email_hash == self.hash(email)]
        return sorted(wanted, key=lambda event: (event.customer.email_hash, event.sequence))

    async def told(self, email: str | None = JANE) -> list[str]:
        return [event.type for event in await self.events(email)]

    async def timeline(self, email: str = JANE) -> list[Any]:
        """Rows, the earliest first, their data parsed."""
        rows = await self.pool.fetch(
            "SELECT type, occurred_at, data FROM scorer.timeline WHERE email_hash = $1 ORDER BY occurred_at, id",
            self.hash(email),
        )
        return [{**row, "data": json.loads(row["data"])} for row in rows]

    async def entries(self, email: str = JANE) -> list[str]:
        return [row["type"] for row in await self.timeline(email)]

    async def outcome(self, fact: Fact) -> tuple[str, str | None]:
        row = await self.pool.fetchrow("SELECT outcome, reason FROM scorer.input_outcomes WHERE input_id = $1", fact.id)
        return row["outcome"], row["reason"]

    async def due(self) -> int:
        count: int = await self.pool.fetchval("SELECT count(*) FROM scorer.rescore_due")
        return count


async def _insisting(process: Process, batch: Sequence[Fact | Automation]) -> None:
    while True:
        try:
            await process(batch)
        except Exception as error:
            if not is_transient(error):
                raise
            await asyncio.sleep(0)
        else:
            return


async def open_shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    async with pool.acquire() as connection:
        store_id = (await create_store(connection, vault, url="https://shop.example", name="Shop")).id
        sealed = await connection.fetchval("SELECT hash_key FROM api.stores WHERE id = $1", store_id)
    return Shop(pool, vault, store_id, vault.open(sealed))
