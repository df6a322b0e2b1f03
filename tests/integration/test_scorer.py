"""The scorer as a whole: counts, outcomes, sequences, flags; each theme has a file of its own beside this one."""

import json
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from scorer.worker import UnknownStoreError
from shared.secrets import Vault
from support.facts import order
from support.scoring_shop import Shop, open_shop


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


async def test_two_partial_refunds_are_two_refunds_of_one_order(shop: Shop) -> None:
    await shop.process(*(order(n) for n in (1, 2, 3)))
    await shop.process(order(3, refunds=["10.00"], modified=2))
    await shop.process(order(3, refunds=["10.00", "20.00"], modified=1))
    row = await shop.customer()
    assert (row["total_refunds"], row["return_rate"], row["full_refunds"]) == (2, Decimal("33.3"), 0)
    assert row["total_refund_value"] == Decimal("30.00")


async def test_a_fact_that_changes_nothing_says_so_and_sends_nothing(shop: Shop) -> None:
    first = order(1)
    await shop.process(first)
    before = await shop.events()
    again, older = order(1), order(1, status="processing", modified=11)
    await shop.process(again, older)
    assert await shop.events() == before
    assert [(await shop.outcome(fact))[0] for fact in (first, again, older)] == ["applied", "unchanged", "stale"]


async def test_the_same_batch_twice_ends_the_same(shop: Shop) -> None:
    batch = [order(n, refunds=["100.00"] if n % 2 else []) for n in range(1, 8)]
    await shop.process(*batch)
    before = (await shop.customer(), await shop.events())
    await shop.process(*batch)
    assert (await shop.customer(), await shop.events()) == before


async def test_events_are_numbered_without_gaps_and_end_with_the_stored_score(shop: Shop) -> None:
    for n in range(1, 6):
        await shop.process(order(n, refunds=["40.00"], at=20 - n))
    events, row = await shop.events(), await shop.customer()
    assert [event.sequence for event in events] == list(range(1, row["sequence"] + 1))
    last = next(event for event in reversed(events) if event.type == "score_updated")
    assert (last.customer.trust_score, last.customer.segment) == (row["trust_score"], row["segment"])
    assert 50 + sum(signal["points"] for signal in json.loads(row["signals"])) == row["trust_score"]


async def test_a_fact_of_an_unknown_store_is_refused(shop: Shop) -> None:
    with pytest.raises(UnknownStoreError):
        await shop.scorer.process([order(1, store_id=UUID(int=0))])


# Flags ----------------------------------------------------------------------------------------------------------------


async def test_blocking_tells_why_once_and_keeps_the_score(shop: Shop) -> None:
    await shop.process(order(1))
    await shop.ask("customer.update", email_hash=shop.hash(), is_blocked=True, reason="chargebacks")
    row = await shop.customer()
    assert (row["is_blocked"], row["block_reason"], row["trust_score"]) == (True, "chargebacks", 50)
    await shop.ask("customer.update", email_hash=shop.hash(), is_blocked=True)
    told = await shop.told()
    assert told.count("score_updated") == 2, "one for the order, one for the block, none for what was so already"
    blocked = [event for event in await shop.events() if event.type == "customer_blocked"]
    assert [event.data.reason for event in blocked] == ["chargebacks"]
    assert (await shop.customer())["block_reason"] == "chargebacks"


async def test_the_allowlisted_are_vip_until_they_are_removed(shop: Shop) -> None:
    await shop.process(*(order(n, refunds=["100.00"]) for n in (1, 2, 3)))
    before = await shop.customer()
    await shop.ask("customer.update", email_hash=shop.hash(), is_allowlisted=True)
    listed = await shop.customer()
    assert (listed["trust_score"], listed["segment"], listed["signals"]) == (100, "vip", "[]")
    await shop.ask("customer.update", email_hash=shop.hash(), is_allowlisted=False)
    assert (await shop.customer())["trust_score"] == before["trust_score"]
    assert (await shop.told())[-6:] == [
        "customer_allowlisted",
        "score_updated",
        "segment_changed",
        "customer_allowlist_removed",
        "score_updated",
        "segment_changed",
    ]


async def test_blocked_and_allowlisted_at_once_is_refused(shop: Shop) -> None:
    await shop.process(order(1))
    await shop.ask("customer.update", email_hash=shop.hash(), is_blocked=True)
    for flags in ({"is_allowlisted": True}, {"is_blocked": True, "is_allowlisted": True}):
        answer = await shop.refused("customer.update", email_hash=shop.hash(), **flags)
        assert answer[:2] == (409, "trustlens_blocked_and_allowlisted")
    assert (await shop.customer())["is_allowlisted"] is False
