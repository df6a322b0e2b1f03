"""Sums that are kept and rows that are copied: at every commit what a full count and the customers themselves say."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from scorer import sweep
from scorer.store import stats
from shared.db import is_transient
from shared.events import Fact
from shared.migrations.run import upgrade
from shared.secrets import Vault
from support.facts import JANE, JOHN, NOW, order
from support.scoring_shop import Shop, open_shop
from support.year import year

_SUMS = (
    "sum(customers) AS customers, sum(trust_score) AS trust_score, sum(return_rate) AS return_rate,"
    " sum(total_orders) AS total_orders, sum(total_refunds) AS total_refunds"
)
_KEPT = f"""
    SELECT store_id, segment, is_blocked, is_allowlisted, {_SUMS} FROM (
        SELECT store_id, segment, is_blocked, is_allowlisted, customers, trust_score, return_rate, total_orders,
            total_refunds FROM scorer.stats
        UNION ALL
        SELECT store_id, segment, is_blocked, is_allowlisted, customers, trust_score, return_rate, total_orders,
            total_refunds FROM scorer.stats_deltas
    ) AS kept GROUP BY store_id, segment, is_blocked, is_allowlisted HAVING (sum(customers), sum(trust_score),
        sum(return_rate), sum(total_orders), sum(total_refunds)) <> (0, 0, 0, 0, 0)
    ORDER BY store_id, segment, is_blocked, is_allowlisted
"""
_COUNTED = """
    SELECT store_id, segment, is_blocked, is_allowlisted, count(*) AS customers, sum(trust_score) AS trust_score,
        sum(return_rate) AS return_rate, sum(total_orders) AS total_orders, sum(total_refunds) AS total_refunds
    FROM scorer.customers GROUP BY store_id, segment, is_blocked, is_allowlisted
    ORDER BY store_id, segment COLLATE "C", is_blocked, is_allowlisted
"""
_COLUMNS = (
    "id, store_id, created_at, last_order_at, total_orders, trust_score, is_blocked, is_allowlisted, segment,"
    " return_rate::real AS return_rate, tags"
)


async def assert_exact(pool: asyncpg.Pool) -> int:
    """As of one moment; the number of customers then."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        kept, counted = await connection.fetch(_KEPT), await connection.fetch(_COUNTED)
        copies = await connection.fetch(f"SELECT {_COLUMNS} FROM scorer.listed ORDER BY id")
        originals = await connection.fetch(f"SELECT {_COLUMNS} FROM scorer.customers ORDER BY id")
    assert kept == counted
    assert copies == originals
    return len(originals)


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


async def work(shop: Shop, batches: Sequence[Sequence[Fact]], seed: int) -> None:
    """A scorer that dies in some of its batches, answers commands, drains what is due, folds."""
    chance = random.Random(seed)  # noqa: S311  # reproducible, not secret
    scorer = shop.another_scorer()
    for batch in batches:
        if chance.random() < 0.4:
            await dying(shop, batch, chance)
        await (shop.history if chance.random() < 0.3 else shop.process)(*batch, by=scorer)
        await scorer.rescore_due(chance.randrange(1, 30))
        await command(shop, f"c{chance.randrange(18)}@example.com", chance)
        await stats.fold(shop.pool)


async def dying(shop: Shop, batch: Sequence[Fact], chance: random.Random) -> None:
    """After some of its awaits."""
    crashing = asyncio.create_task(shop.another_scorer().process(shop._ours(batch)))
    for _ in range(chance.randrange(5, 120)):
        await asyncio.sleep(0)
    crashing.cancel()
    await asyncio.gather(crashing, return_exceptions=True)


async def command(shop: Shop, email: str, chance: random.Random) -> None:
    """Refused where there is no such customer yet, or who is blocked would be allowlisted."""
    known: list[tuple[str, dict[str, Any]]] = [
        ("customer.update", {"is_blocked": True}),
        ("customer.update", {"is_blocked": False, "is_allowlisted": True}),
        ("customer.update", {"is_allowlisted": False}),
        ("customer.tag", {"tag": "wholesale"}),
        ("customer.erase", {}),
        ("store.sweep", {}),
        ("store.recompute", {}),
    ]
    kind, data = chance.choice(known)
    about: dict[str, Any] = {"email_hash": shop.hash(email)} if kind.startswith("customer") else {}
    while True:
        try:
            await shop.answer(kind, **about, **data)
        except Exception as error:
            if not is_transient(error):
                raise
        else:
            return


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_three_scorers_do_at_once_sums_and_copies_are_exact_at_every_commit(
    shop: Shop, seed: int
) -> None:
    facts = year(seed)
    random.Random(seed).shuffle(facts)  # noqa: S311  # reproducible, not secret
    batches = [facts[start : start + 30] for start in range(0, len(facts), 30)]
    await shop.process(order(1, "first@example.com", status="pending", at=365))  # in the store's currency
    working = asyncio.gather(*(work(shop, batches[number::3], seed + number) for number in range(3)))
    seen = set()
    while not working.done():
        seen.add(await assert_exact(shop.pool))
    await working
    assert len(seen) > 3, "what was looked at moved meanwhile"
    shop.clock.at = NOW + timedelta(days=200)
    await sweep.sweep(shop.scorer, shop.clock.at)
    await shop.settle()
    await assert_exact(shop.pool)


async def test_a_fold_leaves_sums_alone_and_an_interrupted_one_changes_nothing(shop: Shop) -> None:
    await shop.process(order(1, JANE), order(2, JOHN, refunds=["10.00"]))
    waiting = await shop.pool.fetchval("SELECT count(*) FROM scorer.stats_deltas")
    async with shop.pool.acquire() as connection:
        interrupted = connection.transaction()
        await interrupted.start()
        assert await stats.fold(connection) == waiting
        assert await stats.fold(shop.pool) == 0, "what one folds, no other takes"
        await assert_exact(shop.pool)
        await interrupted.rollback()
    await assert_exact(shop.pool)
    assert await stats.fold(shop.pool) == waiting
    await assert_exact(shop.pool)
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.stats_deltas") == 0
    assert await stats.fold(shop.pool) == 0


async def test_more_than_one_statement_takes_is_folded_at_one_look(shop: Shop) -> None:
    for number in range(5):
        await shop.process(order(number + 1, f"{number}@example.com"))
    await stats.fold_all(shop.pool, at_once=2)
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.stats_deltas") < 2
    await assert_exact(shop.pool)


async def test_a_batch_that_moves_no_sum_adds_nothing(shop: Shop) -> None:
    await shop.process(order(1))
    await stats.fold(shop.pool)
    for _ in range(2):
        await shop.ask("customer.recalculate", email_hash=shop.hash())
        await shop.ask("customer.tag", email_hash=shop.hash(), tag="wholesale")
    assert await stats.fold(shop.pool) == 0
    await assert_exact(shop.pool)


async def test_rows_that_were_mended_or_deleted_by_hand_are_followed(shop: Shop) -> None:
    await shop.process(order(1, JANE), order(2, JOHN))
    await shop.pool.execute("UPDATE scorer.customers SET segment = 'risk', trust_score = 30, return_rate = 33.3")
    await assert_exact(shop.pool)
    await shop.pool.execute("DELETE FROM scorer.customers WHERE email_hash = $1", shop.hash(JOHN))
    assert await assert_exact(shop.pool) == 1


async def test_the_migration_counts_and_copies_who_is_there(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "DROP SCHEMA api, scorer, rule_engine, dispatcher CASCADE; DROP TABLE alembic_version;"
        " DROP FUNCTION trustlens_make_partition, trustlens_drop_partitions"
    )
    await asyncio.to_thread(upgrade, database_url, "0004")
    await connection.execute(
        "INSERT INTO scorer.customers (store_id, email_hash, trust_score, segment, is_blocked, total_orders,"
        " total_refunds, return_rate, tags, created_at, updated_at)"
        " SELECT gen_random_uuid(), n::text, n, CASE WHEN n % 2 = 0 THEN 'risk' ELSE 'vip' END, n % 3 = 0, n, n % 5,"
        " n / 10.0, '{wholesale}', now(), now() FROM generate_series(1, 60) AS n, generate_series(1, 2)"
    )
    await asyncio.to_thread(upgrade, database_url)
    await connection.close()
    async with asyncpg.create_pool(database_url, min_size=1) as pool:
        assert await assert_exact(pool) == 120
