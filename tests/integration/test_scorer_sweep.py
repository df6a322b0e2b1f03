"""What time alone moves: who is marked, and that nobody's score is old."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from scorer import sweep
from shared.secrets import Vault
from support.facts import JANE, JOHN, NOW, ago, decline, mark, order
from support.scoring_shop import Shop, open_shop


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


async def test_only_those_whose_score_time_alone_can_change_are_marked(shop: Shop) -> None:
    aged = [order(n, JANE, at=89) for n in (1, 2, 3)]
    await shop.process(*aged, order(11, JOHN, at=89))
    assert (await shop.customer())["next_change_at"] == ago(89) + timedelta(days=90)
    assert (await shop.customer(JOHN))["next_change_at"] is None, "too few orders for an age to count"
    assert await sweep.sweep(shop.scorer, NOW) == 0
    shop.clock.at = NOW + timedelta(days=1)
    assert await sweep.sweep(shop.scorer, shop.clock.at) == 1
    assert await sweep.sweep(shop.scorer, shop.clock.at) == 0, "marked once"
    before = (await shop.customer())["trust_score"]
    await shop.settle()
    row = await shop.customer()
    assert (row["trust_score"] - before, row["next_change_at"]) == (5, ago(89) + timedelta(days=180))
    assert (await shop.events())[-1].cause.kind == "sweep"


async def test_a_burst_leaves_its_ninety_days_and_anomalies_their_thirty(shop: Shop) -> None:
    places = [mark("shipping_address", n) for n in range(5)]
    await shop.process(*(order(n + 1, marks=[place], at=1 + n / 100) for n, place in enumerate(places)))
    assert (await shop.points("orders"), await shop.points("shipping_anomalies")) == (0, -20)
    for days, points in ((30.5, (0, 0)), (90.5, (10, 0))):
        shop.clock.at = NOW + timedelta(days=days)
        await shop.ask("store.sweep")
        await shop.settle()
        assert (await shop.points("orders"), await shop.points("shipping_anomalies")) == points


async def test_declines_of_a_clock_that_is_ahead_count_when_their_time_comes(shop: Shop) -> None:
    await shop.process(order(1), *(decline(minute=-60 - n) for n in range(3)))
    for _ in range(3):  # one after the other may be believed
        assert await shop.points("card_testing") == 0
        shop.clock.at = (await shop.customer())["next_change_at"]
        await shop.ask("store.sweep")
        await shop.settle()
    assert shop.clock.at == NOW + timedelta(minutes=52)
    assert await shop.points("card_testing") == -15
    assert (await shop.told()).count("card_testing_detected") == 1


async def test_a_sweep_that_moves_nothing_tells_nothing(shop: Shop) -> None:
    await shop.process(*(order(n, marks=[mark("shipping_address", n % 4)], at=5 + n) for n in range(1, 6)))
    told = await shop.told()
    shop.clock.at = (await shop.customer())["next_change_at"]
    assert await sweep.sweep(shop.scorer, shop.clock.at) == 1
    await shop.settle()
    assert (await shop.customer())["next_change_at"] > shop.clock.at
    assert (await shop.told())[len(told) :] in ([], ["score_updated"], ["score_updated", "segment_changed"])


@pytest.mark.parametrize(("hour", "hours"), [(15, 3), (12, 24), (3, 15)])
def test_the_night_is_the_next_time_that_it_is_that_hour(hour: int, hours: int) -> None:
    assert sweep.until_next(datetime(2026, 6, 5, 12, tzinfo=UTC), hour) == timedelta(hours=hours)


async def test_a_customer_who_cannot_be_recalculated_stops_no_other(shop: Shop) -> None:
    people = [f"c{number}@example.com" for number in range(6)]
    await shop.process(*(order(number, email=email) for number, email in enumerate(people, 1)))
    await shop.pool.execute("UPDATE scorer.orders SET coupons = '[1]' WHERE order_id = 3")  # as a mistake of ours would
    await shop.pool.execute("UPDATE scorer.customers SET total_orders = 77")
    await shop.pool.execute(
        "INSERT INTO scorer.rescore_due (store_id, email_hash, since) SELECT store_id, email_hash, now()"
        " FROM scorer.customers"
    )
    await sweep.rescore_all_due(shop.scorer)
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.rescore_due") == 0
    assert [(await shop.customer(email))["total_orders"] for email in people] == [1, 1, 77, 1, 1, 1]
