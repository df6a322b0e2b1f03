"""Disputes: told once, joined to their orders whatever comes first, and what they do to refunds and points."""

import asyncio
from itertools import permutations

import asyncpg
import pytest

from shared.events import Fact
from shared.secrets import Vault
from support.facts import JANE, JOHN, dispute, order
from support.scoring_shop import Shop, open_shop

CHARGEBACKS = ("chargeback_filed", "chargeback_closed")


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


async def chargebacks(shop: Shop, email: str = JANE) -> list[str]:
    return [kind for kind in await shop.told(email) if kind in CHARGEBACKS]


async def test_a_dispute_is_filed_updated_and_closed_once_each_though_all_comes_twice(shop: Shop) -> None:
    await shop.process(order(1))
    for status, at in (("open", 9), ("under_review", 8), ("won", 7)):
        fact = dispute(1, status, at=at)  # type: ignore[arg-type]
        await shop.process(fact, fact)
        await shop.process(fact)
    assert await chargebacks(shop) == ["chargeback_filed", "chargeback_closed"]
    assert [one for one in await shop.entries() if one.startswith("chargeback")] == [
        "chargeback_filed",
        "chargeback_updated",
        "chargeback_updated",
    ]
    filed, closed = [event for event in await shop.events() if event.type in CHARGEBACKS]
    assert filed.data.dispute is not None
    assert (filed.data.dispute.status, filed.occurred_at < closed.occurred_at) == ("open", True)


async def test_an_inquiry_is_on_the_timeline_only(shop: Shop) -> None:
    await shop.process(order(1), dispute(1, "warning"))
    assert await chargebacks(shop) == []
    assert "chargeback_filed" in await shop.entries()
    row = await shop.customer()
    assert (row["total_disputes"], row["disputes_lost"]) == (0, 0)


async def test_open_and_lost_disputes_count_under_the_gate_and_a_won_one_gives_the_points_back(shop: Shop) -> None:
    await shop.process(order(1), dispute(1, at=9))
    assert (await shop.customer())["trust_score"] == 30
    await shop.process(dispute(1, "lost", at=8))
    row = await shop.customer()
    assert (row["trust_score"], row["total_disputes"], row["disputes_lost"]) == (10, 1, 1)
    await shop.process(dispute(1, "won", at=7))
    row = await shop.customer()
    assert (row["trust_score"], row["disputes_won"], row["disputes_lost"]) == (50, 1, 0)


@pytest.mark.parametrize("reason", ["Dispute lost.", "the bank took it"])
async def test_the_refund_of_a_lost_dispute_is_no_return(shop: Shop, reason: str) -> None:
    await shop.process(order(1), order(2))
    await shop.process(dispute(1, "lost"), order(1, refunds=["100.00"], reason=reason, modified=1))
    row = await shop.customer()
    assert (row["total_refunds"], row["return_rate"], row["total_refund_value"]) == (0, 0, 0)
    await shop.process(dispute(1, "won", at=1))
    assert (await shop.customer())["total_refunds"] == (0 if reason.startswith("Dispute") else 1)


BY_ID = [order(1), dispute(1, "open", at=9), dispute(1, "lost", at=8)]
BY_PAYMENT = [
    order(1, status="processing", payments=["ch_1"], modified=9.5),
    order(1, payments=["ch_1", "pi_1"], modified=9),
    dispute(payments=["pi_1"], at=8),
]


@pytest.mark.parametrize("facts", [*permutations(BY_ID), *permutations(BY_PAYMENT)])
async def test_a_dispute_finds_its_order_in_any_order_of_arrival(shop: Shop, facts: tuple[Fact, ...]) -> None:
    for fact in facts:
        await shop.process(fact)
    row = await shop.customer()
    assert row["total_disputes"] == 1
    filed = await chargebacks(shop)
    assert (filed.count("chargeback_filed"), filed.count("chargeback_closed")) == (1, row["disputes_lost"])
    assert await shop.pool.fetchval("SELECT order_id FROM scorer.disputes") == 1


async def test_a_dispute_of_woopayments_holds_the_order_and_its_refund_is_no_return(shop: Shop) -> None:
    await shop.process(order(1, at=10, status="processing"))
    await shop.process(order(1, at=10, status="on-hold", modified=5))
    lost = order(1, at=10, status="refunded", modified=1, refunds=["100.00"], reason="Dispute lost.")
    await shop.process(lost)
    row = await shop.customer()
    assert (row["total_orders"], row["total_refunds"], row["return_rate"]) == (1, 0, 0)
    assert (await shop.told()).count("order_status_changed") == 2


async def test_a_dispute_of_an_unknown_order_is_kept_and_says_so(shop: Shop) -> None:
    waiting, named = dispute(payments=["pi_1"]), dispute(7, name="dp_2")
    await shop.process(waiting, named)
    assert await shop.outcome(waiting) == ("applied", "kept until its order is known")
    assert (await shop.outcome(named))[0] == "applied"
    assert await shop.events(None) == []


async def test_a_payment_that_only_an_older_version_names_still_finds_the_order(shop: Shop) -> None:
    await shop.process(order(1, modified=5), dispute(payments=["pi_1"], at=4))
    late = order(1, status="processing", payments=["pi_1"], modified=6)
    await shop.process(late)
    assert (await shop.outcome(late))[0] == "stale"
    assert await chargebacks(shop) == ["chargeback_filed"]
    assert (await shop.customer())["total_disputes"] == 1


async def test_a_dispute_and_its_order_that_come_at_once_are_joined(shop: Shop) -> None:
    one, other = shop.another_scorer(), shop.another_scorer()
    for n in range(1, 13):
        paid = [f"pi_{n}"]
        named = n if n % 2 else None
        await asyncio.gather(
            shop.process(order(n, payments=paid), by=one),
            shop.process(dispute(named, name=f"dp_{n}", payments=paid), by=other),
        )
    assert (await shop.customer())["total_disputes"] == 12
    assert (await chargebacks(shop)).count("chargeback_filed") == 12


async def test_a_dispute_of_nobodys_order_is_told_when_somebody_owns_it(shop: Shop) -> None:
    await shop.process(order(1, None), dispute(1))
    assert await shop.events(None) == []
    await shop.process(order(1, JANE, modified=1))
    assert await chargebacks(shop) == ["chargeback_filed"]


async def test_a_dispute_moves_with_its_order(shop: Shop) -> None:
    await shop.process(order(1), dispute(1))
    await shop.process(order(1, JOHN, modified=1))
    await shop.settle()
    assert [(await shop.customer(who))["total_disputes"] for who in (JANE, JOHN)] == [0, 1]
