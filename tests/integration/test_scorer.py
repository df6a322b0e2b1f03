"""Facts in, customers and events out, on a real Postgres."""

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from api.stores import create_store
from scorer import commands
from scorer.worker import Scorer, UnknownStoreError
from shared.broker import Broker
from shared.commands import Command, Commands
from shared.events import Event, Order, OrderFact, Refund
from shared.ids import uuid7
from shared.outbox import Outbox
from shared.secrets import Vault

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def store_id(pool: asyncpg.Pool, vault: Vault) -> UUID:
    async with pool.acquire() as connection:
        return (await create_store(connection, vault, url="https://shop.example", name="Shop")).id


@pytest.fixture
def outbox(pool: asyncpg.Pool) -> Outbox:
    return Outbox(pool, Broker("amqp://nobody", service="scorer"), "scorer")


@pytest.fixture
def scorer(outbox: Outbox, pool: asyncpg.Pool, vault: Vault) -> Scorer:
    return Scorer(outbox, pool, vault)


def fact(
    store_id: UUID,
    order_id: int,
    *,
    email: str | None = "jane@example.com",
    status: str = "completed",
    total: str = "100.00",
    refunds: Sequence[str] = (),
    day: int = 0,
) -> OrderFact:
    made = T0 + timedelta(days=order_id // 3)  # orders of one second, too
    order = Order(
        id=order_id,
        number=str(order_id),
        total=Decimal(total),
        currency="EUR",
        status=status,
        created_at=made,
        modified_at=made + timedelta(days=day),
        email=email,
        refunds=tuple(Refund(id=1000 * order_id + n, amount=Decimal(a)) for n, a in enumerate(refunds)),
    )
    return OrderFact(id=uuid7(), store_id=store_id, occurred_at=order.modified_at, data=order)


async def customer(pool: asyncpg.Pool, email: str = "jane@example.com") -> asyncpg.Record:
    return await pool.fetchrow("SELECT * FROM scorer.customers WHERE email = $1", email)


async def sent(pool: asyncpg.Pool) -> list[Event]:
    rows = await pool.fetch("SELECT body FROM scorer.outbox ORDER BY id")
    events = [Event.model_validate_json(row["body"]) for row in rows]
    return sorted(events, key=lambda event: (event.customer.email_hash, event.sequence))


async def test_two_partial_refunds_are_two_refunds_of_one_order(
    scorer: Scorer, pool: asyncpg.Pool, store_id: UUID
) -> None:
    await scorer.process([fact(store_id, n) for n in (1, 2, 3)])
    await scorer.process([fact(store_id, 3, refunds=["10.00"], day=1)])
    await scorer.process([fact(store_id, 3, refunds=["10.00", "20.00"], day=2)])
    row = await customer(pool)
    assert (row["total_refunds"], row["return_rate"], row["full_refunds"]) == (2, Decimal("33.3"), 0)
    assert row["total_refund_value"] == Decimal("30.00")


async def test_a_fact_that_changes_nothing_says_so_and_sends_nothing(
    scorer: Scorer, pool: asyncpg.Pool, store_id: UUID
) -> None:
    await scorer.process([fact(store_id, 1)])
    before = await sent(pool)
    again, older = fact(store_id, 1), fact(store_id, 1, status="processing", day=-1)
    await scorer.process([again, older])
    assert await sent(pool) == before
    outcomes = await pool.fetch("SELECT input_id, outcome FROM scorer.input_outcomes")
    assert {row["input_id"]: row["outcome"] for row in outcomes} == {
        before[0].cause.id: "applied",
        again.id: "unchanged",
        older.id: "stale",
    }


async def test_the_same_batch_twice_ends_the_same(scorer: Scorer, pool: asyncpg.Pool, store_id: UUID) -> None:
    batch = [fact(store_id, n, refunds=["100.00"] if n % 2 else []) for n in range(1, 8)]
    await scorer.process(batch)
    before = (await customer(pool), await sent(pool))
    await scorer.process(batch)
    assert (await customer(pool), await sent(pool)) == before


async def test_events_are_numbered_without_gaps_and_end_with_the_stored_score(
    scorer: Scorer, pool: asyncpg.Pool, store_id: UUID
) -> None:
    for n in range(1, 6):
        await scorer.process([fact(store_id, n, refunds=["100.00"])])
    events, row = await sent(pool), await customer(pool)
    assert [event.sequence for event in events] == list(range(1, row["sequence"] + 1))
    last = next(event for event in reversed(events) if event.type == "score_updated")
    assert (last.customer.trust_score, last.customer.segment) == (row["trust_score"], row["segment"])
    assert 50 + sum(s["points"] for s in json.loads(row["signals"])) == row["trust_score"]


async def test_an_order_without_email_belongs_to_nobody_until_it_has_one(
    scorer: Scorer, pool: asyncpg.Pool, store_id: UUID
) -> None:
    await scorer.process([fact(store_id, 1, email=None)])
    assert (await customer(pool), await sent(pool)) == (None, [])
    await scorer.process([fact(store_id, 1, day=1)])
    assert (await customer(pool))["total_orders"] == 1


async def test_an_order_that_moves_leaves_its_former_customer(
    scorer: Scorer, pool: asyncpg.Pool, store_id: UUID
) -> None:
    await scorer.process([fact(store_id, n, refunds=["100.00"]) for n in (1, 2, 3)])
    assert (await customer(pool))["segment"] == "critical"
    await scorer.process([fact(store_id, 3, email="john@example.com", refunds=["100.00"], day=1)])
    assert await scorer.rescore_due(10) == 1
    assert [(await customer(pool, e))["total_orders"] for e in ("jane@example.com", "john@example.com")] == [2, 1]
    assert (await customer(pool))["segment"] == "normal"
    assert (await sent(pool))[-1].type in ("score_updated", "segment_changed")


async def test_a_fact_of_an_unknown_store_is_refused(scorer: Scorer) -> None:
    with pytest.raises(UnknownStoreError):
        await scorer.process([fact(UUID(int=0), 1)])


def _year(store_id: UUID, seed: int) -> list[OrderFact]:
    """Twenty customers with versions of their orders, as a store would send them."""
    chance = random.Random(seed)  # noqa: S311  # reproducible, not secret
    facts = []
    for order_id in range(1, 80):
        email = f"c{chance.randrange(20)}@example.com"
        versions: list[tuple[str, list[str]]] = [("processing", []), ("completed", [])]
        if chance.random() < 0.4:
            versions.append(("completed", ["40.00"]))
        if chance.random() < 0.2:
            versions.append(("refunded", ["40.00", "60.00"]))
        facts += [
            fact(store_id, order_id, email=email, status=status, refunds=refunds, day=day)
            for day, (status, refunds) in enumerate(versions)
        ]
    return facts


_STATE = (
    "SELECT email, trust_score, segment, signals, total_orders, total_refunds, full_refunds, return_rate,"
    " total_order_value, total_refund_value FROM scorer.customers ORDER BY email"
)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_shuffled_repeated_and_concurrent_batches_end_like_the_ordered_year(
    scorer: Scorer, pool: asyncpg.Pool, store_id: UUID, seed: int
) -> None:
    year = _year(store_id, seed)
    await scorer.process(year)
    expected = await pool.fetch(_STATE)
    await pool.execute("TRUNCATE scorer.customers, scorer.orders, scorer.refunds, scorer.outbox, scorer.score_history")
    chance = random.Random(seed)  # noqa: S311  # reproducible, not secret
    shuffled = year + chance.sample(year, 30)
    chance.shuffle(shuffled)
    batches = [shuffled[start : start + 25] for start in range(0, len(shuffled), 25)]
    await asyncio.gather(*(scorer.process(batch) for batch in batches))
    assert await pool.fetch(_STATE) == expected


class Asking:
    """Sends commands to the scorer and keeps the refusals."""

    def __init__(self, scorer: Scorer, store_id: UUID) -> None:
        self._commands = Commands(
            outbox=scorer.outbox,
            broker=Broker("amqp://nobody", service="scorer"),
            schema="scorer",
            handlers=commands.handlers(scorer),
        )
        self._store_id = store_id

    async def update(self, email_hash: str, **flags: object) -> tuple[int, str]:
        command = Command(
            id=uuid7(),
            type="customer.update",
            store_id=self._store_id,
            actor="test",
            data={"email_hash": email_hash, **flags},
        )
        answer = await self._commands.answer(command)
        return (answer.refusal.status, answer.refusal.code) if answer.refusal else (200, "")


@pytest.fixture
def asking(scorer: Scorer, store_id: UUID) -> Asking:
    return Asking(scorer, store_id)


async def test_blocking_tells_why_once_and_keeps_the_score(
    scorer: Scorer, asking: Asking, pool: asyncpg.Pool, store_id: UUID
) -> None:
    await scorer.process([fact(store_id, 1)])
    email_hash = (await customer(pool))["email_hash"]
    assert await asking.update(email_hash, is_blocked=True, reason="chargebacks") == (200, "")
    row = await customer(pool)
    assert (row["is_blocked"], row["block_reason"], row["trust_score"]) == (True, "chargebacks", 50)
    assert await asking.update(email_hash, is_blocked=True) == (200, "")
    updates = [event for event in await sent(pool) if event.type == "score_updated"]
    assert len(updates) == 2, "one for the order, one for the block, none for asking what was so already"
    blocked = [event for event in await sent(pool) if event.type == "customer_blocked"]
    assert [event.data.reason for event in blocked] == ["chargebacks"]
    assert (await customer(pool))["block_reason"] == "chargebacks"


async def test_the_allowlisted_are_vip_until_they_are_removed(
    scorer: Scorer, asking: Asking, pool: asyncpg.Pool, store_id: UUID
) -> None:
    await scorer.process([fact(store_id, n, refunds=["100.00"]) for n in (1, 2, 3)])
    row = await customer(pool)
    await asking.update(row["email_hash"], is_allowlisted=True)
    listed = await customer(pool)
    assert (listed["trust_score"], listed["segment"], listed["signals"]) == (100, "vip", "[]")
    await asking.update(row["email_hash"], is_allowlisted=False)
    assert (await customer(pool))["trust_score"] == row["trust_score"]
    assert [event.type for event in await sent(pool)][-6:] == [
        "customer_allowlisted",
        "score_updated",
        "segment_changed",
        "customer_allowlist_removed",
        "score_updated",
        "segment_changed",
    ]


async def test_blocked_and_allowlisted_at_once_is_refused(
    scorer: Scorer, asking: Asking, pool: asyncpg.Pool, store_id: UUID
) -> None:
    await scorer.process([fact(store_id, 1)])
    email_hash = (await customer(pool))["email_hash"]
    await asking.update(email_hash, is_blocked=True)
    refused = (409, "trustlens_blocked_and_allowlisted")
    assert await asking.update(email_hash, is_allowlisted=True) == refused
    assert await asking.update(email_hash, is_blocked=True, is_allowlisted=True) == refused
    assert (await customer(pool))["is_allowlisted"] is False


async def test_an_unknown_customer_is_not_found_and_a_bad_field_is_named(asking: Asking) -> None:
    assert await asking.update("0" * 64, is_blocked=True) == (404, "trustlens_customer_not_found")
    assert await asking.update("0" * 64, is_bloked=True) == (400, "rest_invalid_param")
