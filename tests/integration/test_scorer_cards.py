"""With what card an order was paid: learnt from whoever tells it first, of no effect on any score, counted by month."""

import asyncio
from datetime import UTC, datetime
from itertools import permutations
from random import Random
from typing import Any

import asyncpg
import pytest

from scorer.store import stats
from shared.events import DisputeStatus, Fact
from shared.secrets import Vault
from support.facts import ago, dispute, order, payment
from support.scoring_shop import Shop, open_shop

_KEPT = """
    SELECT month, card_brand, sum(orders)::bigint AS orders FROM (
        SELECT month, card_brand, orders FROM scorer.order_months
        UNION ALL SELECT month, card_brand, orders FROM scorer.order_month_deltas
    ) AS kept GROUP BY month, card_brand HAVING sum(orders) <> 0 ORDER BY month, card_brand
"""
_COUNTED = """
    SELECT (date_trunc('month', created_at, 'UTC') AT TIME ZONE 'UTC')::date AS month, card_brand, count(*) AS orders
    FROM scorer.orders
    WHERE NOT deleted AND status NOT IN ('checkout-draft', 'pending', 'failed', 'cancelled', 'trash')
    GROUP BY 1, 2 ORDER BY 1, 2
"""


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


async def brands(shop: Shop) -> dict[int, str]:
    rows = await shop.pool.fetch("SELECT order_id, card_brand FROM scorer.orders ORDER BY order_id")
    return {row["order_id"]: row["card_brand"] for row in rows}


async def test_an_order_tells_its_card_and_keeps_it_though_a_later_version_does_not(shop: Shop) -> None:
    await shop.process(order(1, card_brand="visa"), order(2))
    await shop.process(order(1, status="refunded", modified=1))
    assert await brands(shop) == {1: "visa", 2: ""}


STORY = (
    order(1, payments=["pi_1"], status="processing", at=9),
    order(1, payments=["ch_1", "pi_1"], at=9, modified=8),
    payment("visa", "ch_1", "pi_1"),
)


@pytest.mark.parametrize("arrival", list(permutations(STORY)))
async def test_a_payment_tells_the_card_of_its_order_in_any_order_of_arrival(
    shop: Shop, arrival: tuple[Fact, ...]
) -> None:
    for fact in arrival:
        await shop.process(fact)
    assert await brands(shop) == {1: "visa"}


async def test_a_payment_tells_the_card_in_one_batch_with_its_order_and_again_nothing(shop: Shop) -> None:
    first, again = payment("visa", "pi_1"), payment("visa", "pi_1")
    await shop.process(first, order(1, payments=["pi_1"]))
    told = await shop.told()
    await shop.process(again)

    assert await brands(shop) == {1: "visa"}
    assert (await shop.outcome(first), await shop.outcome(again)) == (("applied", None), ("unchanged", None))
    assert await shop.told() == told


async def test_a_version_that_was_stored_before_there_were_brands_is_no_news_but_tells_its_card(shop: Shop) -> None:
    """As it comes again after an upgrade: by a repeated webhook, the catch-up, a sync."""
    await shop.process(order(1))
    before = await shop.told(), dict(await shop.customer())
    again = order(1, card_brand="visa")
    await shop.process(again)

    assert (await shop.outcome(again))[0] == "unchanged"
    assert (await shop.told(), dict(await shop.customer())) == before
    assert await brands(shop) == {1: "visa"}


STATUSES: dict[int, DisputeStatus] = {9: "warning", 7: "open", 2: "won"}
"""Of a dispute's life, by days ago."""


async def test_a_dispute_is_filed_when_it_is_more_than_an_inquiry_whatever_comes_first(shop: Shop) -> None:
    for number, arrival in enumerate(permutations([9, 7, 2])):
        for at in arrival:
            await shop.process(dispute(1, STATUSES[at], name=f"dp_{number}", at=at))
    await shop.process(dispute(1, "warning", name="asked"))

    rows = await shop.pool.fetch("SELECT dispute_id, filed_at FROM scorer.disputes ORDER BY dispute_id")
    assert {row["filed_at"] for row in rows if row["dispute_id"] != "asked"} == {ago(7)}
    assert [row["filed_at"] for row in rows if row["dispute_id"] == "asked"] == [None]


async def test_two_scorers_that_learn_of_an_order_and_its_payment_at_once_know_its_card(shop: Shop) -> None:
    """Whichever commits first: the other waits for the payment, and finds what it left."""
    for number in range(1, 6):
        await asyncio.gather(
            shop.process(order(number, payments=[f"pi_{number}"]), by=shop.another_scorer()),
            shop.process(payment("visa", f"pi_{number}"), by=shop.another_scorer()),
        )
    assert await brands(shop) == dict.fromkeys(range(1, 6), "visa")


async def test_the_orders_of_each_month_and_card_are_what_counting_them_says(shop: Shop) -> None:
    """Over placed, cancelled, deleted, revived and moved orders, brands learnt late, and folding in between."""
    chance = Random(7)  # noqa: S311  # reproducible, not secret
    for _ in range(60):
        facts: list[Fact] = []
        for _ in range(chance.randrange(1, 6)):
            number = chance.randrange(1, 15)
            made = datetime(2026, chance.randrange(1, 6), chance.choice((1, 28)), chance.choice((0, 23)), tzinfo=UTC)
            status = chance.choice(("pending", "processing", "completed", "cancelled", "trash", "refunded"))
            card = chance.choice((None, "visa", "mastercard"))
            more: dict[str, Any] = {"modified": chance.random() * 9, "payments": [f"pi_{number}"], "card_brand": card}
            facts.append(order(number, status=status, at=made, **more))
            if chance.random() < 0.3:
                facts.append(payment(chance.choice(("visa", "amex")), f"pi_{chance.randrange(1, 15)}"))
        await shop.process(*facts)
        if chance.random() < 0.5:
            await stats.fold(shop.pool, chance.randrange(1, 9), stats.ORDERS)
        assert await shop.pool.fetch(_KEPT) == await shop.pool.fetch(_COUNTED)
    await stats.fold_all(shop.pool)
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.order_month_deltas") == 0
    assert await shop.pool.fetch(_KEPT) == await shop.pool.fetch(_COUNTED)
