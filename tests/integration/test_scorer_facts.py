"""Facts in, customers and events out: orders, refunds, deletions, products, odd input; batches and dead letters."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import asyncpg
import pytest

from integration.conftest import Until
from scorer.worker import parse
from shared.broker import Broker, Outgoing
from shared.consumer import Consumer
from shared.events import ActionRef, Automation, Cause, Fact, Refund, RuleRef, Snapshot
from shared.ids import uuid7
from shared.secrets import Vault
from shared.topology import AUTOMATION, FACTS, dead
from support.facts import JANE, JOHN, NOW, ago, coupon, deleted, mark, order, product, refund
from support.queues import take
from support.scoring_shop import Shop, open_shop


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


# Refunds and deletions ------------------------------------------------------------------------------------------------


async def test_a_reported_refund_counts_before_and_after_its_order(shop: Shop) -> None:
    early = refund(1, "40.00", number=5)
    await shop.process(early)
    assert await shop.outcome(early) == ("applied", "kept until its order comes")
    assert await shop.customer() is None
    await shop.process(order(1), order(2))
    await shop.process(refund(2, "100.00", number=6))
    row = await shop.customer()
    assert (row["total_refunds"], row["full_refunds"], row["total_refund_value"]) == (2, 1, Decimal("140.00"))
    assert (await shop.told()).count("order_refunded") == 2


async def test_a_refund_that_is_reported_and_then_listed_is_one(shop: Shop) -> None:
    await shop.process(order(1), refund(1, "40.00", number=5))
    await shop.process(order(1, refunds={5: "40.00"}, modified=1))
    assert (await shop.customer())["total_refunds"] == 1
    assert (await shop.told()).count("order_refunded") == 1


async def test_a_deleted_order_counts_no_more_until_it_is_restored(shop: Shop) -> None:
    await shop.process(order(1, modified=9), order(2))
    await shop.process(deleted(1, at=5))
    assert (await shop.customer())["total_orders"] == 1
    await shop.process(order(1, modified=6))
    assert (await shop.customer())["total_orders"] == 1
    await shop.process(order(1, modified=4))
    assert (await shop.customer())["total_orders"] == 2
    changes = [e.data.order.status for e in await shop.events() if e.type == "order_status_changed" and e.data.order]
    assert changes == ["trash", "completed"]


async def test_a_deletion_that_comes_several_times_at_once_is_one(shop: Shop) -> None:
    await shop.process(order(1, modified=9), deleted(1, at=5), deleted(1, at=4), deleted(1, at=4.5))
    assert await shop.pool.fetchval("SELECT deleted_at FROM scorer.deleted_orders") == ago(4)


async def test_a_deletion_that_comes_before_its_order_keeps_it_in_the_trash(shop: Shop) -> None:
    early = deleted(1, at=5)
    await shop.process(early)
    assert await shop.outcome(early) == ("applied", "kept until its order comes")
    await shop.process(order(1, modified=6))
    assert (await shop.customer())["total_orders"] == 0
    assert "order_placed" not in await shop.told()
    await shop.process(order(1, modified=4))
    assert "order_placed" in await shop.told()


# Owners ---------------------------------------------------------------------------------------------------------------


async def test_an_order_of_nobody_is_placed_when_somebody_owns_it(shop: Shop) -> None:
    nobodys = order(1, None)
    await shop.process(nobodys)
    assert await shop.outcome(nobodys) == ("applied", "the order has no e-mail and belongs to nobody")
    assert await shop.events(None) == []
    await shop.process(order(1, JANE, modified=5))
    assert "order_placed" in await shop.told()


async def test_an_order_that_moves_takes_its_fingerprints_along_and_both_are_scored(shop: Shop) -> None:
    await shop.process(*(order(n, JANE, marks=[mark("phone", n)]) for n in (1, 2, 3)))
    await shop.process(order(9, JOHN, marks=[mark("phone", 3)]))
    await shop.settle()
    assert (await shop.customer())["linked_accounts_count"] == 1
    await shop.process(order(3, JOHN, marks=[mark("phone", 3)], modified=1))
    await shop.settle()
    assert [(await shop.customer(who))["total_orders"] for who in (JANE, JOHN)] == [2, 2]
    assert [(await shop.customer(who))["linked_accounts_count"] for who in (JANE, JOHN)] == [0, 0]
    owners = await shop.pool.fetch(
        "SELECT email_hash FROM scorer.fingerprints WHERE hash = $1", bytes.fromhex(mark("phone", 3))
    )
    assert [row["email_hash"] for row in owners] == [shop.hash(JOHN)]


async def test_an_order_that_moves_is_noted_on_both_timelines_once(shop: Shop) -> None:
    moved = order(1, JOHN, at=10, modified=1)
    await shop.process(order(1, JANE, at=10))
    await shop.process(moved)
    await shop.process(moved)
    await shop.settle()
    assert await notes(shop, JANE) == ["Order 1 is another customer's since its e-mail changed."]
    assert await notes(shop, JOHN) == ["Order 1 was another customer's until its e-mail changed."]
    assert await shop.told(JOHN) == ["score_updated"]


async def test_an_order_that_loses_its_e_mail_leaves_its_customer(shop: Shop) -> None:
    await shop.process(order(1, JANE, at=10))
    await shop.process(order(1, None, at=10, modified=1))
    await shop.settle()
    assert (await shop.customer(JANE))["total_orders"] == 0
    assert await notes(shop, JANE) == ["Order 1 is nobody's since its e-mail was removed."]


async def notes(shop: Shop, email: str) -> list[str]:
    return [entry["data"]["text"] for entry in await shop.timeline(email) if entry["type"] == "note_added"]


async def test_fingerprints_go_along_also_where_the_former_owner_was_marked_for_other_reasons(shop: Shop) -> None:
    await shop.process(order(1, JANE, marks=[mark("phone", 1)]))
    await shop.process(order(1, JOHN, marks=[mark("phone", 1)], modified=1))
    await shop.pool.execute(
        "INSERT INTO scorer.rescore_due (store_id, email_hash, since, reason) VALUES ($1, $2, now(), 'link')",
        shop.store_id,
        shop.hash(JANE),
    )
    await shop.settle()
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.fingerprints") == 1


# Odd input ------------------------------------------------------------------------------------------------------------


async def test_another_currency_is_noted_and_counts_as_an_order_only(shop: Shop) -> None:
    await shop.process(order(1), order(2))
    await shop.process(order(2, modified=1, currency="USD"))
    row = await shop.customer()
    assert (row["total_orders"], row["total_order_value"]) == (2, Decimal("100.00"))
    notes = [entry["data"]["text"] for entry in await shop.timeline() if entry["type"] == "note_added"]
    assert notes == ["The currency of order 2 changed from EUR to USD."]


async def test_more_refunded_than_paid_counts_up_to_the_total_with_a_note(shop: Shop) -> None:
    await shop.process(order(1, refunds=["100.00", "50.00"]))
    row = await shop.customer()
    assert (row["total_refunds"], row["total_refund_value"]) == (2, Decimal("100.00"))
    (note,) = [entry["data"]["text"] for entry in await shop.timeline() if entry["type"] == "note_added"]
    assert note.startswith("Refunds of order 1 exceed its total by 50.00 EUR.")


@pytest.mark.parametrize("at", [-30.0, 20_000.0])
async def test_a_date_that_cannot_be_meant_counts_as_an_order_and_in_no_window(shop: Shop, at: float) -> None:
    await shop.process(order(1, at=at, modified=0), order(2, at=3), order(3, at=2))
    row = await shop.customer()
    assert (row["total_orders"], row["completed_orders"]) == (3, 3)
    assert (row["first_completed_at"], row["last_order_at"]) == (ago(3), ago(2))
    assert "note_added" in await shop.entries()


async def test_an_order_that_is_of_tomorrow_is_believed_tomorrow(shop: Shop) -> None:
    await shop.process(order(1, at=-1, modified=0))
    row = await shop.customer()
    assert row["last_order_at"] is None
    shop.clock.at = row["next_change_at"]
    assert await shop.ask("store.sweep") == {"due": 1}
    await shop.settle()
    assert (await shop.customer())["last_order_at"] == ago(-1)


async def test_an_order_of_ten_thousand_products_is_an_order(shop: Shop) -> None:
    await shop.process(product(7, "shoes"), order(1, products=range(10_000), item_count=10_000))
    assert (await shop.customer())["total_orders"] == 1
    assert await shop.pool.fetchval("SELECT categories FROM scorer.orders") == ["shoes"]


# Categories -----------------------------------------------------------------------------------------------------------


async def test_orders_follow_the_catalogue_also_when_it_comes_later(shop: Shop) -> None:
    await shop.process(*(order(n, products=[7], refunds=["100.00"]) for n in (1, 2, 3)))
    assert await shop.points("categories") == 0
    news = product(7, "shoes", at=50)
    await shop.process(news)
    await shop.settle()
    assert (await shop.outcome(news), await shop.points("categories")) == (("applied", None), -15)
    older = product(7, at=60)
    await shop.process(older)
    await shop.settle()
    assert (await shop.outcome(older), await shop.points("categories")) == (("unchanged", None), -15)
    await shop.process(product(7, "hats", at=40))
    await shop.settle()
    rows = json.loads((await shop.customer())["signals"])
    assert [row["reason"] for row in rows if row["module"] == "categories"] != []
    assert await shop.pool.fetchval("SELECT array_agg(DISTINCT categories) FROM scorer.orders") == [["hats"]]


async def test_a_product_taken_out_of_all_categories_takes_its_orders_along(shop: Shop) -> None:
    await shop.process(product(7, "shoes", at=50), *(order(n, products=[7], refunds=["100.00"]) for n in (1, 2, 3)))
    await shop.settle()
    assert await shop.points("categories") == -15
    news = product(7, at=40)
    await shop.process(news)
    await shop.settle()
    assert (await shop.outcome(news), await shop.points("categories")) == (("applied", None), 0)


async def test_a_product_told_again_in_the_same_categories_starts_no_job(shop: Shop) -> None:
    await shop.process(product(7, "shoes", at=50))
    await shop.settle()
    again = product(7, "shoes", at=40)
    await shop.process(again)
    assert await shop.outcome(again) == ("unchanged", None)
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.jobs WHERE state = 'queued'") == 0


@pytest.mark.parametrize("first", ["coupon", "order"])
async def test_a_coupon_for_one_use_is_a_first_order_coupon_whichever_comes_first(shop: Shop, first: str) -> None:
    facts: dict[str, Fact] = {"coupon": coupon("spring", once=True), "order": order(1, coupons=["spring"], at=10)}
    await shop.process(facts.pop(first))
    await shop.process(*facts.values())
    await shop.settle()
    assert (await shop.customer())["first_order_coupons"] == 1


async def test_a_coupon_s_limit_is_that_of_its_latest_version_also_for_earlier_orders(shop: Shop) -> None:
    once, often = coupon("spring", once=True, at=5), coupon("spring", at=3)
    await shop.process(order(1, coupons=["spring", "other"], at=10), order(2, JOHN, coupons=["other"], at=10))
    await shop.process(once, coupon("unused", once=True))
    assert (await shop.outcome(once), await shop.due()) == (("applied", None), 1)
    await shop.settle()
    assert (await shop.customer())["first_order_coupons"] == 1
    assert await shop.told() == ["order_placed", "score_updated"]
    await shop.process(often, once)
    await shop.settle()
    assert (await shop.customer())["first_order_coupons"] == 0
    late = coupon("spring", once=True, at=4)
    await shop.process(late)
    assert (await shop.outcome(late), await shop.due()) == (("unchanged", None), 0)


async def test_history_learns_of_a_coupon_quietly(shop: Shop) -> None:
    await shop.process(*(order(n, coupons=["spring"], at=10 * n) for n in (1, 2, 3)))
    said = len(await shop.told())
    await shop.history(coupon("spring", once=True))
    await shop.settle()
    assert await shop.points("coupons") == -10
    assert len(await shop.told()) == said


async def test_an_order_that_is_being_settled_is_brought_to_the_catalogue_after_that(shop: Shop, until: Until) -> None:
    async def first_is_done() -> bool:
        first = "SELECT categories = '{shoes}' FROM scorer.orders WHERE order_id = 1"
        return bool(await shop.pool.fetchval(first))

    async def all_done() -> bool:
        """A job that had to wait is taken up again a second later."""
        await shop.settle()
        return bool(await shop.pool.fetchval("SELECT state = 'done' FROM scorer.jobs"))

    await shop.process(*(order(n, products=[7]) for n in (1, 2, 3)))
    await shop.process(product(7, "shoes"))
    async with shop.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE scorer.orders SET refund_count = 1 WHERE order_id = 2")
        working = asyncio.create_task(shop.settle())
        await until(first_is_done)
        await transaction.commit()
    await working
    await until(all_done)
    assert await shop.pool.fetch("SELECT order_id FROM scorer.orders WHERE categories <> '{shoes}'") == []
    assert dict(await shop.pool.fetchrow("SELECT state, done, total FROM scorer.jobs")) == {
        "state": "done",
        "done": 3,
        "total": 3,
    }


# Events and batches ---------------------------------------------------------------------------------------------------


async def test_two_hundred_facts_of_one_customer_in_a_batch_are_one_recalculation(shop: Shop) -> None:
    await shop.process(*(order(n) for n in range(1, 201)))
    told = await shop.told()
    assert (told.count("order_placed"), told.count("score_updated")) == (200, 1)
    assert [event.sequence for event in await shop.events()] == list(range(1, len(told) + 1))


async def test_a_fact_publishes_score_updated_also_when_the_score_stays(shop: Shop) -> None:
    await shop.process(order(1))
    await shop.process(order(2))
    moves = [e.data.change for e in await shop.events() if e.type == "score_updated" and e.data.change]
    assert [(change.old_score, change.new_score) for change in moves] == [(50, 50), (50, 50)]
    assert "score_updated" not in await shop.entries()


async def test_an_event_shows_every_condition_field(shop: Shop) -> None:
    await shop.process(
        order(1, refunds=["100.00"], coupons=["welcome10"], at=200),
        order(2, status="cancelled", at=100),
        order(3, at=4),
        order(4, at=4),
    )
    shown = (await shop.events())[-1].customer
    assert shown == Snapshot(
        email_hash=shop.hash(),
        email=JANE,
        email_domain="example.com",
        trust_score=shown.trust_score,
        segment=shown.segment,
        total_orders=3,
        total_order_value=Decimal("300.00"),
        total_refunds=1,
        total_refund_value=Decimal("100.00"),
        full_refunds=1,
        return_rate=Decimal("33.3"),
        cancelled_orders=1,
        total_coupons_used=1,
        first_order_coupons=1,
        coupon_then_refund=1,
        account_age_days=200,
        days_since_last_order=4,
    )


async def test_a_shipping_anomaly_is_detected_when_it_worsens(shop: Shop) -> None:
    for n in range(1, 6):
        await shop.process(order(n, marks=[mark("shipping_address", n)], at=10 - n))
    assert (await shop.told()).count("shipping_anomaly_detected") == 3, "three addresses; three new ones; five"
    await shop.process(order(6, marks=[mark("shipping_address", 5)], at=1))
    assert (await shop.told()).count("shipping_anomaly_detected") == 3


async def test_being_allowlisted_for_a_while_makes_no_anomaly_new(shop: Shop) -> None:
    await shop.process(*(order(n, marks=[mark("shipping_address", n)]) for n in range(1, 6)))
    for listed in (True, False):
        await shop.ask("customer.update", email_hash=shop.hash(), is_allowlisted=listed)
        await shop.process(order(9 if listed else 10, marks=[mark("shipping_address", 1)]))
    assert (await shop.told()).count("shipping_anomaly_detected") == 1


async def test_a_new_order_by_a_critical_customer_is_a_high_risk_order(shop: Shop) -> None:
    await shop.process(*(order(n, refunds=["100.00"]) for n in (1, 2, 3)))
    assert "high_risk_order" not in await shop.told()
    await shop.process(order(4))
    assert "high_risk_order" in await shop.told()


async def test_a_fact_nobody_knows_goes_dead_and_the_rest_of_the_batch_commits(
    shop: Shop, broker: Broker, until: Until
) -> None:
    good = [order(n, store_id=shop.store_id) for n in (1, 2)]
    bodies = [good[0].encode(), b'{"type": "astrology", "id": "x"}', good[1].encode()]
    await broker.publish([Outgoing(uuid7(), FACTS, "live.order", body) for body in bodies])
    async with _consuming(shop, broker):
        (buried,) = await take(broker, dead("scorer.facts"))

        async def stored() -> bool:
            return bool(await shop.pool.fetchval("SELECT count(*) = 2 FROM scorer.orders"))

        await until(stored)
    assert buried.headers["x-trustlens-reason"] == "unparseable"
    assert b"astrology" in buried.body


async def test_a_rule_s_action_reaches_the_timeline_once(shop: Shop, broker: Broker, until: Until) -> None:
    await shop.process(order(1))
    automation = Automation(
        id=uuid7(),
        store_id=shop.store_id,
        occurred_at=NOW,
        recorded_at=NOW,
        event_id=uuid7(),
        customer=(await shop.events())[-1].customer,
        sequence=1,
        rule=RuleRef(id=uuid7(), version=1, name="Watch refunds", trigger="order_placed"),
        action=ActionRef(position=0, type="tag_customer"),
        order_id=1,
        cause=Cause(kind="event", id=uuid7(), depth=1),
    )
    message = Outgoing(automation.id, AUTOMATION, "automation_triggered", automation.encode())
    last = order(2, store_id=shop.store_id)
    await broker.publish([message, message, Outgoing(last.id, FACTS, "live.order", last.encode())])

    async def stored() -> bool:
        return bool(await shop.pool.fetchval("SELECT count(*) = 2 FROM scorer.orders"))

    async with _consuming(shop, broker):
        await until(stored)
    (entry,) = [one for one in await shop.timeline() if one["type"] == "automation_triggered"]
    assert (entry["data"]["rule"]["name"], entry["data"]["action"]) == ("Watch refunds", "tag_customer")


@asynccontextmanager
async def _consuming(shop: Shop, broker: Broker) -> AsyncIterator[None]:
    """The scorer's consumer of live facts, stopped at the end of the block."""
    consumer = Consumer(
        queue="scorer.facts",
        schema="scorer",
        broker=broker,
        pool=shop.pool,
        parse=parse,
        process=shop.scorer.process,
        batch_size=50,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(consumer.run(stop))
    yield
    stop.set()
    await running


async def test_a_refund_s_reason_and_number_reach_the_event(shop: Shop) -> None:
    await shop.process(order(1), refund(1, "10.00", number=77, reason="broken"))
    (told,) = [event.data.refund for event in await shop.events() if event.type == "order_refunded"]
    assert told == Refund(id=77, amount=Decimal("10.00"), reason="broken")
