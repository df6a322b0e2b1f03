"""The checkout: blocked customers, card testing, and what is nobody's."""

import asyncpg
import pytest

from shared.events import Fact
from shared.secrets import Vault
from support.facts import JANE, NOW, attempt, decline, order
from support.scoring_shop import Shop, open_shop


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


async def test_a_refused_blocked_customer_is_told_once_per_attempt_with_the_address(shop: Shop) -> None:
    first, second = attempt(reason="customer_blocked", minute=2), attempt(reason="customer_blocked", minute=1)
    await shop.process(first, first)
    await shop.process(first, second)
    blocked = [event for event in await shop.events() if event.type == "checkout_blocked"]
    assert [event.data.email for event in blocked] == [JANE, JANE]
    assert [event.cause.id for event in blocked] == [first.id, second.id]
    assert (await shop.entries()).count("checkout_blocked") == 2


async def test_what_the_store_does_not_enforce_is_on_the_timeline_only(shop: Shop) -> None:
    await shop.process(attempt(reason="customer_blocked", denied=False))
    assert await shop.told() == []
    (entry,) = await shop.timeline()
    assert (entry["type"], entry["data"]) == ("checkout_blocked", {"text": "not enforced: the checkout went on"})


async def test_an_allowed_attempt_tells_nothing_and_a_decline_tells_the_score(shop: Shop) -> None:
    await shop.process(attempt())
    assert await shop.told() == []
    await shop.process(decline())
    assert await shop.told() == ["score_updated"]
    await shop.process(attempt(minute=1), decline(minute=1))
    assert await shop.told() == ["score_updated", "score_updated"]


async def test_three_declines_in_ten_minutes_are_card_testing_once(shop: Shop) -> None:
    await shop.process(decline(minute=29), decline(minute=25))
    assert await shop.points("card_testing") == 0
    await shop.process(decline(minute=20))
    assert await shop.points("card_testing") == -15, "the first day has all of them"
    await shop.process(decline(minute=19), decline(minute=12))
    detected = [event for event in await shop.events() if event.type == "card_testing_detected"]
    assert [event.data.reason for event in detected] == ["declines"]
    assert (await shop.customer())["trust_score"] == 35


async def test_a_lockout_is_told_once_and_the_next_episode_again(shop: Shop) -> None:
    for minute in (30.0, 29.5, 29.2, 10.0):
        await shop.process(attempt(reason="lockout", minute=minute))
    told = await shop.told()
    assert told.count("card_testing_detected") == 2
    assert (await shop.entries()).count("card_testing_detected") == 2
    assert "checkout_blocked" not in told


async def test_a_freeze_is_told_once_and_costs_nobody_points(shop: Shop) -> None:
    for minute in (14, 8, 1):
        await shop.process(attempt(reason="freeze", minute=minute))
    assert (await shop.told()).count("card_testing_detected") == 1
    assert await shop.points("card_testing") == 0


async def test_without_an_address_it_is_nobodys(shop: Shop) -> None:
    facts: list[Fact] = [attempt(None, reason="lockout"), decline(None)]
    await shop.process(*facts)
    for fact in facts:
        assert await shop.outcome(fact) == ("unchanged", "no e-mail: it is nobody's")
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.customers") == 0
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.checkouts") == 0


async def test_card_testing_fades_by_time_alone(shop: Shop) -> None:
    await shop.process(order(1), attempt(reason="lockout"))
    row = await shop.customer()
    assert row["trust_score"] == 20
    shop.clock.at = row["next_change_at"]
    await shop.ask("store.sweep")
    await shop.settle()
    row = await shop.customer()
    assert (row["trust_score"], row["next_change_at"] > NOW) == (21, True)
    assert (await shop.told())[-1] in ("score_updated", "segment_changed")
