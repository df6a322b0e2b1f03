"""The fake store is as odd as WooCommerce: what later tests rely on is true of it."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from support import fake_store
from support.fake_store import FakeStore


@pytest.fixture
async def store() -> AsyncIterator[FakeStore]:
    async with fake_store.running() as store:
        yield store


@pytest.fixture
async def five(store: FakeStore) -> FakeStore:
    """Five orders, a day apart."""
    orders = [{"id": n, "status": "completed", "date_created_gmt": f"2026-06-0{n}T12:00:00"} for n in range(1, 6)]
    await store.control("_orders", [order | {"date_modified_gmt": order["date_created_gmt"]} for order in orders])
    return store


async def ids(store: FakeStore, query: str) -> list[int]:
    return [row["id"] for row in (await store.ask("GET", f"orders?{query}"))[1]]


async def test_pages_are_as_wordpress_pages(five: FakeStore) -> None:
    assert await ids(five, "per_page=2") == [5, 4]
    assert await ids(five, "per_page=2&page=3&order=asc&orderby=id") == [5]
    assert await ids(five, "per_page=2&page=4") == []
    url = f"{five.url}{fake_store.API}/orders?per_page=2&page=9"
    async with five.session.get(url, headers={"Authorization": "Basic Y2tfZmFrZTpjc19mYWtl"}) as response:
        assert (response.headers["X-WP-Total"], response.headers["X-WP-TotalPages"]) == ("5", "3")


async def test_bounds_are_in_the_stores_own_clock_unless_told_otherwise(five: FakeStore) -> None:
    assert await ids(five, "modified_after=2026-06-04T12:00:00&dates_are_gmt=true") == [5]
    assert await ids(five, "modified_after=2026-06-04T12:00:00") == [5, 4]
    assert await ids(five, "after=2026-06-01T13:00:00&before=2026-06-03T12:00:00&dates_are_gmt=true") == [2]


async def test_pages_go_wrong_on_demand(five: FakeStore) -> None:
    await five.quirks(repeat_page=2)
    assert await ids(five, "per_page=2&page=2") == await ids(five, "per_page=2&page=1")
    await five.quirks(short_pages=1)
    assert await ids(five, "per_page=2") == [5]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("orders/9", 404, "woocommerce_rest_shop_order_invalid_id"),
        ("orders?per_page=101", 400, "rest_invalid_param"),
        ("orders?per_page=x", 400, "rest_invalid_param"),
        ("elsewhere", 404, "rest_no_route"),
    ],
)
async def test_errors_have_wordpress_shape(store: FakeStore, path: str, status: int, code: str) -> None:
    answered, told = await store.ask("GET", path)
    assert (answered, told["code"], told["data"]["status"]) == (status, code, status)


async def test_without_a_key_nothing_is_shown(store: FakeStore) -> None:
    async with store.session.get(f"{store.url}{fake_store.API}/orders") as response:
        assert (response.status, (await response.json())["code"]) == (401, "woocommerce_rest_cannot_view")


async def test_products_have_categories_and_orders_their_refunds(five: FakeStore) -> None:
    await five.control("_products", [{"id": 60, "categories": [{"id": 1, "name": "Shoes", "slug": "shoes"}]}])
    assert (await five.ask("GET", "products"))[1][0]["categories"][0]["slug"] == "shoes"
    assert (await five.ask("POST", "orders/5/refunds", {"amount": "9.99", "reason": "Too small"}))[0] == 201
    assert [refund["total"] for refund in (await five.ask("GET", "orders/5"))[1]["refunds"]] == ["-9.99"]
    assert (await five.ask("GET", "orders/5"))[1]["date_created_gmt"] == "2026-06-05T12:00:00"


class Receiver:
    """What a webhook's owner gets, and what it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.got: list[tuple[dict[str, str], bytes]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.status)

    def bodies(self) -> list[Any]:
        return [json.loads(body) for headers, body in self.got if "X-WC-Webhook-Topic" in headers]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield receiver
    await runner.cleanup()


async def listen(store: FakeStore, receiver: Receiver, topic: str) -> int:
    given = {"topic": topic, "delivery_url": receiver.url, "secret": "s3cret"}
    return int((await store.ask("POST", "webhooks", given))[1]["id"])


async def test_a_webhook_is_pinged_then_told_signed(store: FakeStore, receiver: Receiver) -> None:
    await listen(store, receiver, "order.created")
    ((headers, ping),) = receiver.got
    assert (headers["Content-Type"], ping) == ("application/x-www-form-urlencoded", b"webhook_id=1")
    assert not any(name.startswith("X-WC-") for name in headers)
    await store.quirks(hold=True)
    await store.control("_orders", [{"id": 1}])
    assert await store.control("_webhooks") == [{"webhook": 1, "topic": "order.created", "resource": 1, "status": 200}]
    headers, body = receiver.got[-1]
    signature = base64.b64encode(hmac.new(b"s3cret", body, hashlib.sha256).digest()).decode()
    assert headers["X-WC-Webhook-Signature"] == signature
    assert (headers["X-WC-Webhook-Topic"], headers["X-WC-Webhook-ID"]) == ("order.created", "1")
    assert json.loads(body)["id"] == 1


async def test_what_is_sent_is_the_order_as_it_is_by_then(store: FakeStore, receiver: Receiver) -> None:
    await listen(store, receiver, "order.created")
    await listen(store, receiver, "order.deleted")
    await store.quirks(hold=True)
    await store.control("_orders", [{"id": 1}, {"id": 2}])
    await store.ask("PUT", "orders/1", {"status": "cancelled"})
    await store.ask("DELETE", "orders/2")
    await store.control("_webhooks")
    assert receiver.bodies()[0]["status"] == "cancelled"
    assert receiver.bodies()[-1] == {"id": 2}


async def test_webhooks_get_lost_doubled_and_mixed_up(store: FakeStore, receiver: Receiver) -> None:
    await listen(store, receiver, "order.created")
    await store.quirks(hold=True, drop=0.3, duplicate=0.5, shuffle=True, seed=7)
    await store.control("_orders", [{"id": n} for n in range(1, 41)])
    await store.control("_webhooks")
    came = [body["id"] for body in receiver.bodies()]
    assert 0 < len(set(came)) < 40
    assert len(came) > len(set(came))
    assert came != sorted(came)


async def test_the_seventh_failure_in_a_row_disables_a_webhook(store: FakeStore, receiver: Receiver) -> None:
    number = await listen(store, receiver, "order.created")
    await store.quirks(hold=True)
    receiver.status = 500
    for n, status in [*((n, "active") for n in range(1, 7)), (7, "disabled")]:
        await store.control("_orders", [{"id": n}])
        await store.control("_webhooks")
        assert (await store.ask("GET", f"webhooks/{number}"))[1]["status"] == status
    await store.ask("PUT", f"webhooks/{number}", {"status": "active"})
    await store.control("_orders", [{"id": 8}])
    assert len(await store.control("_webhooks")) == 1


async def test_it_starts_with_the_orders_of_a_file(tmp_path: Path) -> None:
    orders = tmp_path / "orders.json"
    orders.write_text('[{"id": 7, "status": "completed"}]', encoding="utf-8")
    async with fake_store.running("--orders", str(orders)) as store:
        assert await ids(store, "") == [7]


async def test_it_ends_with_the_block_that_started_it() -> None:
    async with fake_store.running() as store:
        assert await store.requests() == []
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", int(store.url.rpartition(":")[2]))
