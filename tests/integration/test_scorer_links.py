"""Linked accounts: what links, hubs, and two scorers at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from integration.conftest import Until
from scorer.store import customers, links
from scorer.store.customers import Counting
from scorer.store.links import HUB, Moved
from shared.db import MeanwhileError
from shared.events import OrderFact
from shared.identity import FingerprintKind
from shared.secrets import Vault
from support.facts import JANE, JOHN, NOW, ago, attempt, mark, order
from support.scoring_shop import Shop, open_shop

ADDRESS = mark("shipping_address", "Ring 1")


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


def person(n: int) -> str:
    return f"p{n}@example.com"


def orders_of(email: str, first_id: int, *marks: str, refunds: tuple[str, ...] = ()) -> list[OrderFact]:
    """Three, which is enough to be scored."""
    return [order(first_id + n, email, marks=marks, refunds=refunds) for n in range(3)]


async def count(shop: Shop, email: str = JANE) -> int:
    links: int = (await shop.customer(email))["linked_accounts_count"]
    return links


# What links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["shipping_address", "billing_address", "phone", "payment"])
async def test_a_strong_fingerprint_in_common_links_both_sides(shop: Shop, kind: FingerprintKind) -> None:
    await shop.process(*orders_of(JANE, 1, mark(kind, 1)))
    await shop.process(*orders_of(JOHN, 11, mark(kind, 1)))
    await shop.settle()
    assert [await count(shop, who) for who in (JANE, JOHN)] == [1, 1]
    assert [await shop.points("linked_accounts", who) for who in (JANE, JOHN)] == [-5, -5]
    for who in (JANE, JOHN):
        assert (await shop.told(who)).count("linked_accounts_detected") == 1
        assert "linked_accounts_detected" in await shop.entries(who)


async def test_one_weak_fingerprint_links_nobody_and_two_kinds_do(shop: Shop) -> None:
    weak, other = mark("ip", 1), mark("device", 1)
    await shop.process(order(1, JANE, marks=[weak, other]), order(2, JOHN, marks=[weak]))
    await shop.settle()
    assert await count(shop) == 0
    await shop.process(attempt(JOHN, marks=[other]))
    await shop.settle()
    assert [await count(shop, who) for who in (JANE, JOHN)] == [1, 1]


@pytest.mark.parametrize(("hours", "linked"), [((0, 12, 24), [2, 2, 2]), ((0, 12, 25), [0, 0, 0])])
async def test_three_accounts_on_one_weak_fingerprint_within_a_day_are_linked(
    shop: Shop, hours: tuple[float, ...], linked: list[int]
) -> None:
    for n, hour in enumerate(hours):
        at = ago(10) + timedelta(hours=hour)
        await shop.process(order(n + 1, person(n), marks=[mark("ip", 1)], at=at))
    await shop.settle()
    assert [await count(shop, person(n)) for n in range(3)] == linked


async def test_an_earlier_use_that_comes_late_may_undo_a_crowd(shop: Shop) -> None:
    for n in range(3):
        await shop.process(order(n + 1, person(n), marks=[mark("ip", 1)], at=10))
    await shop.settle()
    assert await count(shop, person(0)) == 2
    await shop.process(order(9, person(2), marks=[mark("ip", 1)], at=20))
    await shop.settle()
    assert [await count(shop, person(n)) for n in range(3)] == [0, 0, 0]


async def test_a_link_to_a_blocked_or_critical_customer_costs_more_and_only_as_long(shop: Shop) -> None:
    await shop.process(*orders_of(JANE, 1, ADDRESS), *orders_of(JOHN, 11, ADDRESS))
    await shop.settle()
    await shop.ask("customer.update", email_hash=shop.hash(JOHN), is_blocked=True)
    await shop.settle()
    assert await shop.points("linked_accounts") == -15
    await shop.ask("customer.update", email_hash=shop.hash(JOHN), is_blocked=False)
    await shop.settle()
    assert await shop.points("linked_accounts") == -5
    await shop.process(*orders_of(JOHN, 11, ADDRESS, refunds=("100.00",)))
    changed = [order(11 + n, JOHN, marks=[ADDRESS], refunds=["100.00"], modified=1) for n in range(3)]
    await shop.process(*changed)
    await shop.settle()
    assert await shop.points("linked_accounts") == -15


async def test_a_neighbours_first_order_coupon_counts_once_it_was_earlier(shop: Shop) -> None:
    await shop.process(*orders_of(JANE, 1, ADDRESS), order(4, JANE, coupons=["welcome10"], at=5))
    await shop.process(order(11, JOHN, marks=[ADDRESS], coupons=["welcome5"], at=9))
    await shop.settle()
    assert await shop.points("coupons") == -10
    await shop.process(order(12, JANE, coupons=["first"], at=30))
    assert await shop.points("coupons") == 0


async def test_the_evidence_of_links_depends_on_nothing_that_does_not_touch_them(shop: Shop) -> None:
    for n in range(3):
        await shop.process(*orders_of(person(n), 10 * n + 1, ADDRESS))
    await shop.settle()
    n = max(1, 2, key=lambda n: shop.hash(person(n)))  # the one who is named last
    await shop.process(order(10 * n + 1, person(n), marks=[ADDRESS], refunds=["10.00"], modified=1))
    await shop.settle()
    before = (await shop.customer(person(0)))["signals"]
    await shop.ask("customer.recalculate", email_hash=shop.hash(person(0)))
    assert (await shop.customer(person(0)))["signals"] == before


# Hubs -----------------------------------------------------------------------------------------------------------------


async def test_fifty_on_one_address_are_linked_and_fifty_one_are_a_hub_until_one_leaves(shop: Shop) -> None:
    await shop.process(*(order(n, person(n), marks=[ADDRESS]) for n in range(1, 51)))
    assert [await count(shop, person(n)) for n in (1, 50)] == [49, 49]
    await shop.process(*orders_of(JANE, 100, ADDRESS))
    await shop.settle()
    assert [await count(shop, who) for who in (person(1), JANE)] == [0, 0]
    assert ("linked_accounts", 0) in await shop.signals()
    await shop.process(order(1, person(2), marks=[ADDRESS], modified=1))
    await shop.settle()
    assert [await count(shop, who) for who in (person(1), person(2), JANE)] == [0, 49, 49]


async def test_four_hundred_on_one_address_mark_few(shop: Shop) -> None:
    for n in range(1, 61):
        await shop.process(order(n, person(n), marks=[ADDRESS]))
    await shop.process(*(order(n, person(n), marks=[ADDRESS]) for n in range(61, 401)))
    assert await shop.due() == sum(range(51)), (
        "each newcomer up to the 51st touches those who are there, later ones none"
    )
    await shop.settle()
    assert [await count(shop, person(n)) for n in (1, 50, 400)] == [0, 0, 0]


async def test_a_big_batch_on_an_old_address_touches_all_who_were_there(shop: Shop) -> None:
    await shop.process(*(order(n, person(n), marks=[ADDRESS]) for n in range(1, 51)))
    await shop.process(*(order(n, person(n), marks=[ADDRESS]) for n in range(51, 300)))
    await shop.settle()
    assert {await count(shop, person(n)) for n in range(1, 51)} == {0}
    assert await shop.pool.fetchval("SELECT customers FROM scorer.link_hashes") == HUB


async def test_nobody_is_taken_off_a_fingerprint_that_became_a_hub_this_moment(shop: Shop, until: Until) -> None:
    await shop.process(*(order(n, person(n), marks=[ADDRESS]) for n in range(1, 51)))
    joins, leaves = moves(shop, JANE, began=True), moves(shop, person(1), began=False)
    async with transaction(shop) as first, transaction(shop) as second:
        await links.settle(first, joins, reason="link", now=NOW)
        leaving = asyncio.create_task(links.settle(second, leaves, reason="link", now=NOW))
        await waiting(shop, until)
        await first.execute("COMMIT")
        with pytest.raises(MeanwhileError):
            await leaving


# Two at once ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def transaction(shop: Shop) -> AsyncIterator[asyncpg.Connection]:
    """Begun; the test commits it."""
    async with shop.pool.acquire() as connection:
        await connection.execute("BEGIN")
        yield connection
        await connection.execute("ROLLBACK")


async def waiting(shop: Shop, until: Until) -> None:
    """Once somebody in this database waits for a lock."""

    async def waits() -> bool:
        return bool(
            await shop.pool.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock')"
            )
        )

    await until(waits)


def moves(shop: Shop, email: str, *, began: bool) -> list[Moved]:
    """A customer begins, or ends, to use the address."""
    hashed = bytes.fromhex(ADDRESS)
    return [Moved(shop.store_id, shop.hash(email), hashed, None if began else ago(10), ago(10) if began else None)]


async def seen(shop: Shop, connection: asyncpg.Connection, email: str) -> int:
    """To how many this customer is linked, as this transaction sees it."""
    key = (shop.store_id, shop.hash(email))
    return (await customers.features(connection, [key], {shop.store_id: Counting("EUR", 20)}, NOW))[key].linked_accounts


async def both_known(shop: Shop) -> None:
    """Two customers without fingerprints; the address has been counted before, so that its row decides nothing."""
    await shop.process(order(1, JANE), order(2, JOHN))
    await shop.pool.execute(
        "INSERT INTO scorer.link_hashes (store_id, hash, customers) VALUES ($1, $2, 2)",
        shop.store_id,
        bytes.fromhex(ADDRESS),
    )


async def test_of_two_that_add_one_address_at_once_the_second_waits_and_sees_the_first(
    shop: Shop, until: Until
) -> None:
    await both_known(shop)
    async with transaction(shop) as first, transaction(shop) as second:
        await links.settle(first, moves(shop, JANE, began=True), reason="link", now=NOW)
        adding = asyncio.create_task(links.settle(second, moves(shop, JOHN, began=True), reason="link", now=NOW))
        await waiting(shop, until)
        assert await seen(shop, first, JANE) == 0
        await first.execute("COMMIT")
        await adding
        assert await seen(shop, second, JOHN) == 1
        await second.execute("COMMIT")
    marked = await shop.pool.fetch("SELECT email_hash FROM scorer.rescore_due")
    assert [row["email_hash"] for row in marked] == [shop.hash(JANE)]


async def test_without_the_lock_both_would_see_nobody_for_ever(shop: Shop) -> None:
    """The guard off: what makes the test before this one worth something."""
    await both_known(shop)
    async with transaction(shop) as first, transaction(shop) as second:
        await links._write(first, moves(shop, JANE, began=True))
        await links._write(second, moves(shop, JOHN, began=True))
        assert [await seen(shop, first, JANE), await seen(shop, second, JOHN)] == [0, 0]
        await first.execute("COMMIT")
        await second.execute("COMMIT")
    assert await shop.due() == 0


async def test_two_scorers_that_add_one_address_at_once_link_both_exactly_once(shop: Shop) -> None:
    one, other = shop.another_scorer(), shop.another_scorer()
    for n in range(10):
        address = mark("shipping_address", n)
        await asyncio.gather(
            shop.process(order(2 * n + 1, person(2 * n), marks=[address]), by=one),
            shop.process(order(2 * n + 2, person(2 * n + 1), marks=[address]), by=other),
        )
    await shop.settle()
    assert {await count(shop, person(n)) for n in range(20)} == {1}
    assert {(await shop.told(person(n))).count("linked_accounts_detected") for n in range(20)} == {1}


async def test_who_is_added_while_a_neighbour_is_blocked_hears_of_it(shop: Shop) -> None:
    for n in range(8):
        address = mark("phone", n)
        await shop.process(order(100 * n + 1, person(2 * n), marks=[address]))
        await asyncio.gather(
            shop.ask("customer.update", email_hash=shop.hash(person(2 * n)), is_blocked=True),
            shop.process(*orders_of(person(2 * n + 1), 100 * n + 11, address), by=shop.another_scorer()),
        )
    await shop.settle()
    assert {await shop.points("linked_accounts", person(2 * n + 1)) for n in range(8)} == {-15}


async def test_who_is_added_while_a_neighbour_becomes_critical_hears_of_it(shop: Shop) -> None:
    for n in range(8):
        address = mark("phone", n)
        await shop.process(*orders_of(person(2 * n), 100 * n + 1, address))
        refunded = [
            order(100 * n + 1 + k, person(2 * n), marks=[address], refunds=["100.00"], modified=1) for k in range(3)
        ]
        await asyncio.gather(
            shop.process(*refunded),
            shop.process(*orders_of(person(2 * n + 1), 100 * n + 11, address), by=shop.another_scorer()),
        )
    await shop.settle()
    assert {await shop.points("linked_accounts", person(2 * n + 1)) for n in range(8)} == {-15}
