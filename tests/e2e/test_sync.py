"""A store's past, and what its webhooks lost: connect, sync, catch-up and files, on the whole system."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from api.ingest.topics import READ
from cli import books
from cli.shop import order_events
from support.fake_store import KEY
from support.fake_store import SECRET as SHOP_SECRET
from support.orders import order
from support.rule_world import SECRET, World
from support.servers import without_trustlens

TRUSTLENS = Path(sys.executable).with_name("trustlens")
NEVER_POLLED = datetime(2000, 1, 1, tzinfo=UTC)
LONG_AGO = "2026-01-01T00:00:00"
CHUNK = 25
"""Versions of orders between two times that webhooks are sent: of one that changed in between, both tell the last."""


async def trustlens(road: Mapping[str, str], *words: str, code: int = 0) -> str:
    """What a command printed."""
    means = {"TRUSTLENS_CONSUMER_KEY": KEY, "TRUSTLENS_CONSUMER_SECRET": SHOP_SECRET, "COLUMNS": "120"}
    process = await asyncio.create_subprocess_exec(
        TRUSTLENS,
        *words,
        env=without_trustlens() | dict(road) | means | {"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == code, printed.decode()
    return printed.decode()


async def poll(world: World) -> Any:
    """Have the store polled now instead of in some minutes; where it stands then."""
    await _until(world, "UPDATE api.syncs SET polled_at = $2 WHERE {idle} AND polled_at IS NOT NULL RETURNING true")
    await _until(world, "SELECT true FROM api.syncs WHERE {idle} AND polled_at > $2")
    return (await world.get("/store"))["sync"]


async def _until(world: World, statement: str) -> None:
    """Again and again, until it finds the store's row while nobody polls."""
    connection = await asyncpg.connect(world.road["TRUSTLENS_DATABASE_URL"])
    sql = statement.format(idle="store_id = $1 AND lease IS NULL")
    while not await connection.fetchval(sql, world.road["TRUSTLENS_STORE_ID"], NEVER_POLLED):  # noqa: ASYNC110  # a row
        await asyncio.sleep(0.1)
    await connection.close()


async def settled(world: World) -> None:
    balance = await books.settled(world.road["TRUSTLENS_DATABASE_URL"], world.road["TRUSTLENS_AMQP_URL"], within=30)
    assert (balance.balanced, balance.unfinished) == (True, 0), balance.lines


async def customers(world: World) -> list[Any]:
    """Everything about them that a score is made of, by address."""
    connection = await asyncpg.connect(world.road["TRUSTLENS_DATABASE_URL"])
    rows = await connection.fetch(
        "SELECT email, trust_score, segment, total_orders, cancelled_orders, total_refunds, full_refunds, return_rate,"
        " total_order_value, total_refund_value FROM scorer.customers WHERE store_id = $1 ORDER BY email",
        world.road["TRUSTLENS_STORE_ID"],
    )
    await connection.close()
    return [tuple(row) for row in rows]


def table(printed: str) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in printed.splitlines()]


def utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def old_order(number: int) -> dict[str, Any]:
    """Of one of seven customers, some months ago."""
    at = utc(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number))
    person = {"email": f"c{number % 7}@past.example", "address_1": f"Street {number % 7}", "city": "Berlin"}
    return order(
        id=number,
        number=str(number),
        status="completed",
        billing=person,
        shipping=person,
        customer_ip_address="",
        transaction_id="",
        date_created_gmt=at,
        date_modified_gmt=at,
    )


async def test_a_store_is_connected_and_read_quietly_and_what_its_webhooks_miss_is_found_and_held(world: World) -> None:
    await world.call("POST", "/webhooks", {"url": world.receiver.url("/crm"), "secret": SECRET})
    rule = await world.save(name="Hold all", trigger="order_placed", actions=[{"type": "hold_order"}], cooldown=0)
    await world.shop.quirks(drop=1)  # of what was before, no webhook tells
    shoes = {"id": 60, "date_modified_gmt": LONG_AGO, "categories": [{"slug": "shoes", "name": "Shoes"}]}
    await world.shop.control("_products", [shoes])
    await world.shop.control("_orders", [old_order(number) for number in range(1, 131)])

    printed = table(await trustlens(world.road, "connect", world.shop.url))
    there = {"order.created", "order.updated"}
    assert {words[0]: words[2] for words in printed if words and words[0] in READ} == {
        topic: "was" if topic in there else "made" for topic in READ
    }
    assert ["orders", "130", "130", "0", "0", "0"] in printed
    assert ["products", "1", "1", "0", "0", "0"] in printed
    webhooks = (await world.shop.ask("GET", "webhooks?per_page=100"))[1]
    assert Counter(webhook["topic"] for webhook in webhooks) == Counter(READ)
    assert len({webhook["delivery_url"] for webhook in webhooks}) == 1

    await settled(world)
    assert sum(row[3] for row in await customers(world)) == 130
    assert not world.receiver.received
    assert await world.get(f"/rules/{rule['id']}/evaluations") == []
    assert ["orders", "130", "0", "0", "130", "0"] in table(await trustlens(world.road, "sync"))

    await world.shop.quirks()
    await world.shop.ask("PUT", "webhooks/1", {"status": "disabled"})
    just_now = utc(now() - timedelta(seconds=5))  # before the second of the store's answer
    await world.put(500, "late@past.example", date_created_gmt=just_now, date_modified_gmt=just_now)
    standing = await poll(world)
    assert (standing["gaps"], standing["last_poll_error"]) == (1, None)
    assert (await world.shop.ask("GET", "webhooks/1"))[1]["status"] == "active"
    assert [fired["order_id"] for fired in await world.fired(rule["id"])] == [500]
    assert (await world.shop.ask("GET", "orders/500"))[1]["status"] == "on-hold"

    await world.put(501, "soon@past.example")
    assert [fired["order_id"] for fired in await world.fired(rule["id"], 2)] == [501, 500], "by a webhook again"


def now() -> datetime:
    return datetime.now(UTC)


async def test_webhooks_lost_repeated_and_shuffled_end_in_the_scores_of_a_clean_run_after_one_poll(
    world: World, other_world: World
) -> None:
    await asyncio.gather(poll(world), poll(other_world))  # from here on a poll tells what changed since
    begun = now() - timedelta(seconds=60)
    versions = [
        event.order | {"date_modified_gmt": utc(begun + timedelta(seconds=n // CHUNK))}
        for n, event in enumerate(order_events(now=begun, seed=11)[:200])
    ]
    sent, clean = await asyncio.gather(
        play(world, versions, hold=True, drop=0.1, duplicate=0.3, shuffle=True, seed=5),
        play(other_world, versions, hold=True),
    )
    assert {one["status"] for one in (*sent, *clean)} <= {200, 202}
    distinct, all_there_are = ({(one["topic"], one["resource"]) for one in answers} for answers in (sent, clean))
    assert (distinct < all_there_are, len(sent) > len(clean)) == (True, True), "some were lost, more came twice"

    standings = await asyncio.gather(poll(world), poll(other_world))
    await settled(world)
    assert await customers(world) == await customers(other_world)
    gaps, none = (standing["gaps"] for standing in standings)
    assert (0 < gaps < 0.2 * len(versions), none) == (True, 0)


async def play(world: World, versions: list[Any], **quirks: Any) -> list[Any]:
    """What the shop sent."""
    await world.shop.quirks(**quirks)
    sent = []
    for start in range(0, len(versions), CHUNK):
        await world.shop.control("_orders", versions[start : start + CHUNK])
        sent += await world.shop.control("_webhooks")
    return sent


async def test_a_file_of_old_orders_is_scored_and_nobody_is_told(world: World, tmp_path: Path) -> None:
    await world.call("POST", "/webhooks", {"url": world.receiver.url("/crm"), "secret": SECRET})
    sheet = tmp_path / "orders.csv"
    rows = [f"{n};Completed;EUR;249,00;{old_order(n)['date_created_gmt']};c{n % 7}@past.example" for n in range(1, 301)]
    sheet.write_text("\n".join(["id;status;currency;total;created;email", *rows, "301;Completed;EUR;?;2026-01-01;"]))
    printed = table(await trustlens(world.road, "sync", "--file", str(sheet), code=1))
    for words in (["new", "300"], ["unchanged", "0"], ["skipped", "1"], ["books", "balanced"]):
        assert words in printed, printed
    found = await customers(world)
    assert (len(found), sum(row[3] for row in found)) == (7, 300)
    assert not world.receiver.received
