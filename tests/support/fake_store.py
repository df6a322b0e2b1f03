"""A WooCommerce store as its REST API and its webhooks show it, quirks included: `python -m support.fake_store`.

A process of its own. It prints its URL, then serves `/wp-json/wc/v3/…` by Basic auth over http. Tests steer it through:

- `POST /_quirks`: replaces what goes wrong from now on, see `Quirks`; `{}` ends it.
- `POST /_orders`, `/_products`, `/_coupons`: each of a list is made or changed, as in the store's admin; its webhooks
  follow.
- `POST /_webhooks`: sends what waits (with `hold` nothing is sent before); answers when all is sent, with what was.
- `GET /_requests`: [method, path] of each call of the API so far.
"""

import argparse
import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, get_args

from aiohttp import ClientSession, encode_basic_auth, web

from support.fake_shop import Kind, Quirks, Row, Shop, posted, send_webhooks

API = "/wp-json/wc/v3"
KEY = "ck_fake"
SECRET = "cs_fake"
STATUSES = ("pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed", "trash")
SHOP = web.AppKey("shop", Shop)


def error(status: int, code: str, message: str, **data: Any) -> web.Response:
    body = {"code": code, "message": message, "data": {"status": status, **data}}
    return web.json_response(body, status=status)


def refused(request: web.Request, quirks: Quirks) -> web.Response | None:
    kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if kind != "Basic":
        verb = "view" if request.method == "GET" else "edit"
        return error(401, f"woocommerce_rest_cannot_{verb}", "Sorry, you cannot do that.")
    code = "woocommerce_rest_authentication_error"
    key, _, secret = base64.b64decode(credentials).decode().partition(":")
    if key != KEY:
        return error(401, code, "Consumer key is invalid.")
    if secret != SECRET:
        return error(401, code, "Consumer secret is invalid.")
    if quirks.read_only and request.method != "GET":
        return error(401, code, "The API key provided does not have write permissions.")
    return None


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not request.path.startswith("/wp-json"):
        return await handler(request)
    shop = request.app[SHOP]
    shop.requests.append((request.method, request.path))
    quirks = shop.struck(request.method)
    await asyncio.sleep(quirks.slow)
    answer = broken(quirks) or refused(request, quirks) or await _found(request, handler)
    answer.headers["Date"] = format_datetime(datetime.now(UTC) + timedelta(seconds=quirks.clock), usegmt=True)
    if quirks.lost and request.transport:
        request.transport.close()
    if quirks.cut and isinstance(answer, web.Response):
        answer.text = (answer.text or "")[: len(answer.text or "") // 2]
    if quirks.php_noise and isinstance(answer, web.Response):
        answer.text = f"<br />\n<b>Notice</b>: Undefined index in functions.php on line 7<br />\n{answer.text}"
    return answer


async def _found(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return error(404, "rest_no_route", "No route was found matching the URL and request method.")


def broken(quirks: Quirks) -> web.Response | None:
    """An answer of something that is not the API."""
    headers = {"Retry-After": str(quirks.retry_after)} if quirks.retry_after else None
    if quirks.html:
        page = "<!DOCTYPE html><html><body>Checking your browser</body></html>"
        return web.Response(status=quirks.status or 200, text=page, content_type="text/html", headers=headers)
    if quirks.status:
        answer = error(quirks.status, "internal_server_error", "There has been a critical error on this website.")
        answer.headers.update(headers or {})
        return answer
    return None


def page_of(request: web.Request, rows: Iterable[Row]) -> web.Response:
    """One page, as WordPress pages: a page past the end is empty."""
    per_page, page = (_number(request.query.get(name, given)) for name, given in (("per_page", "10"), ("page", "1")))
    if not 1 <= per_page <= 100 or page < 1:
        name = "page" if page < 1 else "per_page"
        return error(400, "rest_invalid_param", f"Invalid parameter(s): {name}", params={name: f"{name} is invalid."})
    every, shop = list(rows), request.app[SHOP]
    quirks, offset = shop.quirks, request.query.get("offset")
    start = (page - 1 - (page == quirks.repeat_page)) * per_page if offset is None else _number(offset)
    shown = every[max(start, 0) : start + per_page - quirks.short_pages]
    if offset is not None and shop.shown and len(shop.shown) + 1 == quirks.repeat_page:
        shown = shop.shown[-1]
    shop.shown.append(shown)
    total = {"X-WP-Total": str(len(every)), "X-WP-TotalPages": str(-(-len(every) // per_page))}
    return web.json_response([fields_of(request, row) for row in shown], headers=total)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def fields_of(request: web.Request, row: Row) -> Row:
    names = request.query.get("_fields")
    return {name: value for name, value in row.items() if name in names.split(",")} if names else row


def listed(request: web.Request, rows: Mapping[int, Row]) -> list[Row]:
    """Filtered and sorted; any status is any but the trash, as WordPress has it.

    Without `dates_are_gmt=true` times are compared in the store's own clock.
    """
    query = request.query
    zone = "_gmt" if query.get("dates_are_gmt") == "true" else ""
    bounds = [
        (f"date_{'modified' if 'modified' in name else 'created'}{zone}", "after" in name, _plain(query[name]))
        for name in ("after", "before", "modified_after", "modified_before")
        if name in query
    ]
    wanted = set(query.get("status", "any").split(","))
    kept = [
        row
        for row in rows.values()
        if (row.get("status") in wanted or ("any" in wanted and row.get("status") != "trash"))
        and all(row[name] > at if is_after else row[name] < at for name, is_after, at in bounds)
    ]
    by = {"id": "id", "modified": "date_modified_gmt"}.get(query.get("orderby", "date"), "date_created_gmt")
    return sorted(kept, key=lambda row: (row[by], row["id"]), reverse=query.get("order", "desc") == "desc")


def _plain(time: str) -> str:
    """A time of a query as the rows write it; WordPress takes an offset to UTC."""
    given = datetime.fromisoformat(time)
    return (given.astimezone(UTC).replace(tzinfo=None) if given.tzinfo else given).isoformat(timespec="seconds")


def _kind(path: str) -> Kind:
    """By the last part of a path, which is in the plural."""
    for kind in get_args(Kind):
        if path.endswith(f"{kind}s"):
            return kind  # type: ignore[no-any-return]
    raise AssertionError(path)


async def list_rows(request: web.Request) -> web.Response:
    kind = _kind(request.path)
    return page_of(request, listed(request, request.app[SHOP].rows(kind)))


def of_order(handler: Callable[[web.Request, Row], Awaitable[web.Response]]) -> Handler:
    async def found(request: web.Request) -> web.Response:
        order = request.app[SHOP].orders.get(int(request.match_info["id"]))
        return (
            await handler(request, order)
            if order
            else error(404, "woocommerce_rest_shop_order_invalid_id", "Invalid ID.")
        )

    return found


@of_order
async def get_order(request: web.Request, order: Row) -> web.Response:
    return web.json_response(fields_of(request, order))


@of_order
async def put_order(request: web.Request, order: Row) -> web.Response:
    changes = await request.json()
    if changes.get("status", "pending") not in STATUSES:
        params = {"status": "status is not one of " + ", ".join(STATUSES)}
        return error(400, "rest_invalid_param", "Invalid parameter(s): status", params=params)
    return web.json_response(fields_of(request, request.app[SHOP].put("order", {**changes, "id": order["id"]})))


@of_order
async def delete_order(request: web.Request, order: Row) -> web.Response:
    return web.json_response(request.app[SHOP].delete("order", order["id"]))


@of_order
async def get_notes(request: web.Request, order: Row) -> web.Response:
    return web.json_response(request.app[SHOP].notes.get(order["id"], []))


@of_order
async def post_note(request: web.Request, order: Row) -> web.Response:
    notes = request.app[SHOP].notes.setdefault(order["id"], [])
    notes.append({"id": len(notes) + 1, "note": (await request.json())["note"], "customer_note": False})
    return web.json_response(notes[-1], status=201)


@of_order
async def get_refunds(request: web.Request, order: Row) -> web.Response:
    return page_of(request, order.get("refunds", []))


@of_order
async def post_refund(request: web.Request, order: Row) -> web.Response:
    """There is no topic of refunds: the order is updated."""
    given, refunds = await request.json(), order.get("refunds", [])
    refund = {"id": order["id"] * 100 + len(refunds), "reason": given.get("reason", ""), "total": f"-{given['amount']}"}
    request.app[SHOP].put("order", {"id": order["id"], "refunds": [*refunds, refund]})
    return web.json_response({**refund, "amount": given["amount"]}, status=201)


async def get_webhooks(request: web.Request) -> web.Response:
    return page_of(request, (_shown(webhook) for webhook in request.app[SHOP].webhooks.values()))


def _shown(webhook: Row) -> Row:
    return {name: value for name, value in webhook.items() if name != "secret"}


async def post_webhook(request: web.Request) -> web.Response:
    shop, given = request.app[SHOP], await request.json()
    number = len(shop.webhooks) + 1
    shop.webhooks[number] = webhook = {"id": number, "status": "active", "secret": "", **given}
    async with ClientSession() as session:
        await posted(session, webhook["delivery_url"], data={"webhook_id": str(number)}, headers={})
    return web.json_response(_shown(webhook), status=201)


async def one_webhook(request: web.Request) -> web.Response:
    shop, number = request.app[SHOP], int(request.match_info["id"])
    if number not in shop.webhooks:
        return error(404, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID.")
    if request.method == "PUT":
        shop.webhooks[number] |= await request.json()
        shop.failures.pop(number, None)
    return web.json_response(_shown(shop.webhooks[number]))


async def set_quirks(request: web.Request) -> web.Response:
    shop = request.app[SHOP]
    shop.quirks, shop.used, shop.shown = Quirks(**await request.json()), 0, []
    shop.chance.seed(shop.quirks.seed)
    return web.json_response({})


async def put_rows(request: web.Request) -> web.Response:
    kind = _kind(request.path)
    return web.json_response([request.app[SHOP].put(kind, row) for row in await request.json()])


async def flush(request: web.Request) -> web.Response:
    return web.json_response(await send_webhooks(request.app[SHOP]))


async def told_requests(request: web.Request) -> web.Response:
    return web.json_response(request.app[SHOP].requests)


def application(shop: Shop) -> web.Application:
    app = web.Application(middlewares=[door])
    app[SHOP] = shop
    app.add_routes(
        [
            web.get(f"{API}/orders", list_rows),
            web.get(f"{API}/products", list_rows),
            web.get(f"{API}/coupons", list_rows),
            web.get(f"{API}/orders/{{id:\\d+}}", get_order),
            web.put(f"{API}/orders/{{id:\\d+}}", put_order),
            web.delete(f"{API}/orders/{{id:\\d+}}", delete_order),
            web.get(f"{API}/orders/{{id:\\d+}}/notes", get_notes),
            web.post(f"{API}/orders/{{id:\\d+}}/notes", post_note),
            web.get(f"{API}/orders/{{id:\\d+}}/refunds", get_refunds),
            web.post(f"{API}/orders/{{id:\\d+}}/refunds", post_refund),
            web.get(f"{API}/webhooks", get_webhooks),
            web.post(f"{API}/webhooks", post_webhook),
            web.get(f"{API}/webhooks/{{id:\\d+}}", one_webhook),
            web.put(f"{API}/webhooks/{{id:\\d+}}", one_webhook),
            web.post("/_quirks", set_quirks),
            web.post("/_orders", put_rows),
            web.post("/_products", put_rows),
            web.post("/_coupons", put_rows),
            web.post("/_webhooks", flush),
            web.get("/_requests", told_requests),
        ]
    )
    return app


async def serve(port: int, orders: list[Row], until: Awaitable[object]) -> None:
    shop = Shop()
    for order in orders:
        shop.put("order", order)
    runner = web.AppRunner(application(shop), access_log=None, shutdown_timeout=0.5)  # what is slow may last a minute
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)  # noqa: T201  # who started it waits for this line
    await until
    await runner.cleanup()


@dataclass(frozen=True, slots=True)
class FakeStore:
    """A running one, from outside."""

    url: str
    session: ClientSession

    async def quirks(self, **quirks: Any) -> None:
        await self.control("_quirks", quirks)

    async def control(self, path: str, body: Any = None) -> Any:
        async with self.session.post(f"{self.url}/{path}", json=body) as response:
            return await response.json()

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """As a client of the API does: status and JSON."""
        headers = {"Authorization": encode_basic_auth(KEY, SECRET)}
        async with self.session.request(method, f"{self.url}{API}/{path}", json=body, headers=headers) as response:
            return response.status, await response.json()

    async def requests(self) -> list[list[str]]:
        async with self.session.get(f"{self.url}/_requests") as response:
            requests: list[list[str]] = await response.json()
            return requests


@asynccontextmanager
async def running(*options: str) -> AsyncIterator[FakeStore]:
    """In a process of its own, which ends with the block or with this process, whichever is first."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.fake_store", "--until-eof", *options),
        cwd=Path(__file__).parent.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    url = (await process.stdout.readline()).decode().strip()
    try:
        async with ClientSession() as session:
            yield FakeStore(url, session)
    finally:
        process.stdin.close()
        await process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--orders", type=Path, help="a file with a JSON list of orders")
    parser.add_argument("--until-eof", action="store_true", help="end when the standard input does")
    given = parser.parse_args()
    orders = json.loads(given.orders.read_text(encoding="utf-8")) if given.orders else []
    until = asyncio.to_thread(sys.stdin.read) if given.until_eof else asyncio.Event().wait()
    asyncio.run(serve(given.port, orders, until))


if __name__ == "__main__":
    main()
