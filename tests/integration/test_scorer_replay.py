"""A year of facts of all kinds: whatever the order, the repetitions and the crashes, one end."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from local_stack.stack import Stack
from shared import db
from shared.events import Fact
from shared.secrets import Vault
from support.facts import NOW, order
from support.scoring_shop import Shop, open_shop
from support.servers import copied_database
from support.year import year

# What must be the same ------------------------------------------------------------------------------------------------

_SAME = {
    "orders": "SELECT * FROM scorer.orders ORDER BY order_id",
    "refunds": "SELECT * FROM scorer.refunds ORDER BY order_id, refund_id",
    "reported": "SELECT * FROM scorer.reported_refunds ORDER BY order_id, refund_id",
    "deleted": "SELECT * FROM scorer.deleted_orders ORDER BY order_id",
    "disputes": "SELECT * FROM scorer.disputes ORDER BY dispute_id",
    "payments": "SELECT * FROM scorer.payments ORDER BY payment",
    "checkouts": "SELECT * FROM scorer.checkouts ORDER BY id",
    "products": "SELECT * FROM scorer.products ORDER BY product_id",
    "coupons": "SELECT * FROM scorer.coupons ORDER BY code",
    "fingerprints": "SELECT * FROM scorer.fingerprints ORDER BY hash, email_hash",
    "link_hashes": "SELECT * FROM scorer.link_hashes WHERE customers > 0 ORDER BY hash",
    # Whose only order went to somebody else in the batch that brought it was never known.
    "customers": (
        "SELECT * FROM scorer.customers c WHERE EXISTS (SELECT FROM scorer.orders o"
        " WHERE o.store_id = c.store_id AND o.email_hash = c.email_hash) OR EXISTS (SELECT FROM scorer.checkouts k"
        " WHERE k.store_id = c.store_id AND k.email_hash = c.email_hash) ORDER BY email_hash"
    ),
}
_NOT_SAME = {
    "orders": {"store_id", "announced"},
    "disputes": {"store_id", "told"},
    "customers": {"store_id", "id", "created_at", "updated_at", "sequence", "card_testing_at"},
}
"""What counts events, or remembers what was told, or when."""


Rows = list[dict[str, Any]]


async def state(shop: Shop) -> dict[str, Rows]:
    found = {}
    for name, statement in _SAME.items():
        dropped = _NOT_SAME.get(name, {"store_id"})
        found[name] = [
            {column: value for column, value in row.items() if column not in dropped}
            for row in await shop.pool.fetch(statement)
        ]
    return found


def differing(one: Mapping[str, Rows], other: Mapping[str, Rows]) -> list[tuple[object, ...]]:
    """(table, number of the row, column, value there, value here); (table, counts of rows) where these differ."""
    found: list[tuple[object, ...]] = []
    for table, rows in one.items():
        if len(rows) != len(other[table]):
            found.append((table, len(rows), len(other[table])))
        for n, (mine, theirs) in enumerate(zip(rows, other[table], strict=False)):
            found += [(table, n, name, mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]]
    return found


async def assert_books_agree(shop: Shop) -> None:
    """The history ends with the score; sequences have no gaps; order_placed came at most once."""
    wrong = await shop.pool.fetch(
        "SELECT c.email, c.trust_score, c.segment, h.trust_score, h.segment FROM scorer.customers c LEFT JOIN LATERAL ("
        " SELECT trust_score, segment FROM scorer.score_history h WHERE h.store_id = c.store_id"
        " AND h.email_hash = c.email_hash ORDER BY id DESC LIMIT 1) AS h ON true"
        " WHERE (c.trust_score, c.segment) IS DISTINCT FROM (h.trust_score, h.segment)"
    )
    assert wrong == []
    gaps = await shop.pool.fetch(
        "SELECT c.email, c.sequence, count(e.id) FROM scorer.customers c LEFT JOIN scorer.events e"
        " ON e.store_id = c.store_id AND e.email_hash = c.email_hash GROUP BY c.store_id, c.email_hash"
        " HAVING c.sequence <> count(DISTINCT e.sequence) OR c.sequence <> coalesce(max(e.sequence), 0)"
    )
    assert gaps == []
    placed = [
        event.data.order.id for event in await shop.events(None) if event.type == "order_placed" and event.data.order
    ]
    assert len(placed) == len(set(placed))
    assert await shop.due() == 0


async def replay_badly(shop: Shop, facts: Sequence[Fact], seed: int) -> None:
    """Shuffled, some twice, in batches of three scorers at once, of which every third is cancelled somewhere first."""
    chance = random.Random(seed)  # noqa: S311  # reproducible, not secret
    shuffled = [*facts, *chance.sample(facts, len(facts) // 5)]
    chance.shuffle(shuffled)
    batches = [shuffled[start : start + 40] for start in range(0, len(shuffled), 40)]
    scorers = [shop.another_scorer() for _ in range(3)]

    async def work(number: int) -> None:
        for batch in batches[number::3]:
            if chance.random() < 0.4:
                await _half(shop, batch, chance)
            await shop.process(*batch, by=scorers[number])
            if chance.random() < 0.3:
                await scorers[number].rescore_due(chance.randrange(1, 30))

    await asyncio.gather(*(work(number) for number in range(3)))


async def _half(shop: Shop, batch: Sequence[Fact], chance: random.Random) -> None:
    """A scorer that dies after some of its awaits."""
    crashing = asyncio.create_task(shop.process(*batch, by=shop.another_scorer()))
    for _ in range(chance.randrange(5, 120)):
        if crashing.done():
            break
        await asyncio.sleep(0)
    crashing.cancel()
    await asyncio.gather(crashing, return_exceptions=True)


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


@pytest.fixture
async def again(postgres: Stack, vault: Vault, shop: Shop) -> AsyncIterator[Shop]:
    """The same store in another database."""
    async with copied_database(postgres) as url:
        pool = await db.connect(url, size=10, application="tests")
        other = await open_shop(pool, vault)
        other.hash_key = shop.hash_key
        await pool.execute("UPDATE api.stores SET hash_key = $1", vault.seal(shop.hash_key))
        yield other
        pool.terminate()


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_shuffled_repeated_half_crashed_replay_ends_as_the_ordered_year_and_as_a_recomputation(
    shop: Shop, again: Shop, seed: int
) -> None:
    facts = year(seed)
    for each in (shop, again):
        await each.process(order(1, "first@example.com", status="pending", at=365))  # in the store's currency
    for start in range(0, len(facts), 50):
        await shop.process(*facts[start : start + 50])
        await shop.settle()
    await replay_badly(again, facts, seed)
    await again.settle()
    in_order, shuffled = await state(shop), await state(again)
    assert differing(shuffled, in_order) == []
    for each in (shop, again):
        await assert_books_agree(each)
    await again.ask("store.recompute")
    await again.settle()
    assert differing(await state(again), in_order) == []


async def test_the_year_in_one_batch_and_again_changes_nothing_the_second_time(shop: Shop) -> None:
    facts = year(3)
    await shop.process(*facts)
    await shop.settle()
    before, sent = await state(shop), await shop.told(None)
    await shop.process(*facts)
    await shop.settle()
    assert differing(await state(shop), before) == []
    assert await shop.told(None) == sent


async def test_history_and_live_at_once_end_as_live_alone(shop: Shop, again: Shop) -> None:
    facts = year(4)
    await shop.process(*facts)
    half = len(facts) // 2
    await again.process(facts[0])
    await asyncio.gather(
        again.history(*facts[: half + 40], by=again.another_scorer()),
        *(again.process(*facts[start : start + 30]) for start in range(half, len(facts), 30)),
    )
    for each in (shop, again):
        await each.settle()
    assert differing(await state(again), await state(shop)) == []


async def test_the_score_stands_until_its_next_change(shop: Shop) -> None:
    """Time alone moves no score before next_change_at, whatever was recalculated meanwhile."""
    await shop.process(*year(5))
    await shop.settle()
    began = {row["email_hash"]: row for row in (await state(shop))["customers"]}
    for days in (0.001, 0.02, 0.7, 3, 14, 31, 80, 200):
        shop.clock.at = NOW + timedelta(days=days)
        await shop.ask("store.recompute")
        await shop.settle()
        for row in (await state(shop))["customers"]:
            was = began[row["email_hash"]]
            if was["next_change_at"] is None or was["next_change_at"] > shop.clock.at:
                assert own(row) == own(was), (days, was["email"])


def own(row: Mapping[str, Any]) -> tuple[object, ...]:
    """What follows from a customer's own facts."""
    signals = [signal for signal in json.loads(row["signals"]) if signal["module"] != "linked_accounts"]
    return (row["own_score"], row["next_change_at"], row["first_completed_at"], row["total_orders"], signals)
