"""The history lane: everything is stored and scored, nobody hears of it."""

import asyncpg
import pytest

from shared.secrets import Vault
from support.facts import JANE, JOHN, ago, dispute, mark, order, product
from support.scoring_shop import Shop, open_shop

ADDRESS = mark("shipping_address", 1)


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


async def test_history_stores_scores_and_the_timeline_and_tells_nobody(shop: Shop) -> None:
    await shop.history(*(order(n, refunds=["100.00"], at=100 - n) for n in range(1, 5)), dispute(1, "lost", at=50))
    await shop.settle()
    row = await shop.customer()
    assert (row["total_orders"], row["segment"], row["sequence"], await shop.events(None)) == (4, "critical", 0, [])
    placed = [entry["occurred_at"] for entry in await shop.timeline() if entry["type"] == "order_placed"]
    assert placed == [ago(99), ago(98), ago(97), ago(96)]
    assert await shop.pool.fetchval("SELECT cause FROM scorer.score_history") == "history"


async def test_the_first_live_fact_of_a_young_order_announces_it_also_the_same_version_again(shop: Shop) -> None:
    young = order(1, at=0.5)
    await shop.history(young, order(2, at=1.5))
    assert dict(await shop.pool.fetch("SELECT order_id, announced FROM scorer.orders")) == {1: False, 2: True}
    await shop.process(young)
    await shop.process(young)
    assert (await shop.told()).count("order_placed") == 1
    await shop.process(order(2, at=1.5, status="refunded", refunds=["100.00"], modified=0.1))
    placed = [event.data.order.id for event in await shop.events() if event.type == "order_placed" and event.data.order]
    assert placed == [1]
    assert {"order_status_changed", "order_refunded"} < set(await shop.told())


async def test_a_high_risk_customer_s_young_order_is_a_high_risk_order_when_it_comes_live(shop: Shop) -> None:
    await shop.history(*(order(n, refunds=["100.00"], at=100) for n in range(1, 5)), order(5, at=0.5))
    await shop.process(order(5, at=0.5))
    assert "high_risk_order" in await shop.told()


async def test_a_young_dispute_is_told_by_its_first_live_fact(shop: Shop) -> None:
    fact = dispute(1, at=0.5)
    await shop.history(order(1), fact)
    await shop.process(fact)
    await shop.process(fact)
    assert (await shop.told()).count("chargeback_filed") == 1


async def test_the_neighbours_of_history_are_quiet_too(shop: Shop) -> None:
    await shop.process(*(order(n, JANE, marks=[ADDRESS]) for n in (1, 2, 3)))
    before = await shop.told(None)
    await shop.history(*(order(n, JOHN, marks=[ADDRESS], refunds=["100.00"], at=90) for n in (11, 12, 13)))
    await shop.settle()
    row = await shop.customer()
    assert (row["linked_accounts_count"], await shop.points("linked_accounts")) == (1, -15)
    assert await shop.told(None) == before


async def _buys_shoes(shop: Shop) -> None:
    """Ten orders, two with a refund: both of the three that have product 7."""
    await shop.process(*(order(n, products=[7], refunds=["100.00"] if n < 3 else []) for n in (1, 2, 3)))
    await shop.process(*(order(n) for n in range(4, 11)))


async def test_what_the_catalogue_of_history_moves_is_quiet_too(shop: Shop) -> None:
    await _buys_shoes(shop)
    score, told = (await shop.customer())["trust_score"], await shop.told()
    await shop.history(product(7, "shoes"))
    await shop.settle()
    assert ((await shop.customer())["trust_score"], await shop.told()) == (score - 15, told)


async def test_a_live_change_of_the_catalogue_beside_history_s_is_heard(shop: Shop) -> None:
    await _buys_shoes(shop)
    told = len(await shop.told())
    await shop.history(product(8, "hats"))
    await shop.process(product(7, "shoes"))
    await shop.settle()
    assert (await shop.told())[told:] == ["score_updated", "segment_changed"]
    assert await shop.pool.fetchval("SELECT array_agg(kind) FROM scorer.jobs") == ["categories"]


async def test_an_order_that_history_moves_leaves_its_former_owner_quietly(shop: Shop) -> None:
    await shop.process(*(order(n, JANE, refunds=["100.00"]) for n in (1, 2)))
    await shop.process(order(3, JANE, marks=[ADDRESS], refunds=["100.00"]))
    before = await shop.told(None)
    await shop.history(order(3, JOHN, marks=[ADDRESS], refunds=["100.00"], modified=2))
    await shop.settle()
    assert [(await shop.customer(who))["total_orders"] for who in (JANE, JOHN)] == [2, 1]
    owners = await shop.pool.fetch("SELECT email_hash FROM scorer.fingerprints")
    assert [row["email_hash"] for row in owners] == [shop.hash(JOHN)]
    assert await shop.told(None) == before


async def test_live_marks_beside_history_s_are_heard(shop: Shop) -> None:
    await shop.process(*(order(n, JANE, marks=[ADDRESS]) for n in (1, 2, 3)))
    await shop.history(order(11, JOHN, marks=[ADDRESS], at=90))
    await shop.ask("customer.update", email_hash=shop.hash(JOHN), is_blocked=True)
    told = len(await shop.told())
    await shop.settle()
    assert (await shop.told())[told:] == ["linked_accounts_detected", "score_updated", "segment_changed"]
