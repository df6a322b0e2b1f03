"""The inside of the fake store: what it has, what goes wrong with it, and the webhooks it sends."""

import asyncio
import base64
import hashlib
import hmac
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from aiohttp import ClientError, ClientSession, ClientTimeout

UTC_OFFSET = timedelta(hours=2)
"""The store's own clock, in which WooCommerce writes and compares times that are not called gmt."""
FAILURES_BEFORE_DISABLED = 5
"""woocommerce_max_webhook_delivery_failures: the seventh failure in a row disables, as the code compares."""

Row = dict[str, Any]
Kind = Literal["order", "product", "coupon"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """What goes wrong. Of the API's answers, where `method` and `times` let it; of webhooks; of pages."""

    method: str = ""
    times: int = 10**9
    html: bool = False
    """Answers a web page, as a firewall does; with `status`, or 200. Nothing is changed."""
    status: int = 0
    """Answers an error. Nothing is changed."""
    retry_after: int = 0
    slow: float = 0
    """Seconds before the answer."""
    php_noise: bool = False
    """A notice before the JSON."""
    lost: bool = False
    """What was asked is done, and the connection closed without an answer."""
    read_only: bool = False
    """The key may not write."""
    repeat_page: int = 0
    """This page holds what the page before it held; where pages are asked for by offset, so many answers on."""
    cut: bool = False
    """The JSON ends in the middle."""
    short_pages: int = 0
    """Each page lacks that many of its last rows."""
    clock: float = 0
    """Seconds that the store's clock is ahead of ours, as its answers tell it."""
    hold: bool = False
    drop: float = 0
    """Share of webhooks that are never sent."""
    duplicate: float = 0
    """Share that are sent two to four times."""
    shuffle: bool = False
    seed: int = 0


@dataclass(slots=True)
class Shop:
    orders: dict[int, Row] = field(default_factory=dict)
    products: dict[int, Row] = field(default_factory=dict)
    coupons: dict[int, Row] = field(default_factory=dict)
    notes: dict[int, list[Row]] = field(default_factory=dict)
    webhooks: dict[int, Row] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)
    """In a row, of each webhook."""
    waiting: list[tuple[int, Kind, int]] = field(default_factory=list)
    """Webhook, kind and id: what is sent is the resource as it is then."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    quirks: Quirks = Quirks()
    shown: list[list[Row]] = field(default_factory=list)
    """The pages that were answered under these quirks."""
    used: int = 0
    """How often these quirks struck."""
    chance: random.Random = field(default_factory=random.Random)
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def rows(self, kind: Kind) -> dict[int, Row]:
        return {"order": self.orders, "product": self.products, "coupon": self.coupons}[kind]

    def put(self, kind: Kind, row: Row) -> Row:
        """Make or change; who listens will be told."""
        is_new = row["id"] not in self.rows(kind)
        self.rows(kind)[row["id"]] = whole = _with_times(row, self.rows(kind).get(row["id"], {}))
        self.tell(kind, "created" if is_new else "updated", row["id"])
        return whole

    def tell(self, kind: Kind, event: str, number: int) -> None:
        topics = [(w["id"], w["topic"]) for w in self.webhooks.values() if w["status"] == "active"]
        self.waiting += [(webhook, kind, number) for webhook, topic in topics if topic == f"{kind}.{event}"]
        if not self.quirks.hold:
            self.background(send_webhooks(self))

    def delete(self, kind: Kind, number: int) -> Row:
        row = self.rows(kind).pop(number)
        self.tell(kind, "deleted", number)
        return row

    def background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def struck(self, method: str) -> Quirks:
        """The quirks that hold for this call."""
        quirks = self.quirks
        if quirks.method not in {"", method} or self.used >= quirks.times:
            return Quirks()
        self.used += 1
        return quirks


def _with_times(row: Row, before: Row) -> Row:
    """Each time in both clocks; modified now, if the row does not say when."""
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0).isoformat()
    modified = row.get("date_modified_gmt", now)
    whole = {"status": "pending", "number": str(row["id"]), "date_created_gmt": modified, **before, **row}
    whole["date_modified_gmt"] = modified
    for name in ("date_created", "date_modified"):
        whole[name] = (datetime.fromisoformat(whole[f"{name}_gmt"]) + UTC_OFFSET).isoformat()
    return whole


async def send_webhooks(shop: Shop) -> list[Row]:
    """Send what waits, one after the other; what was sent, with the answers."""
    async with shop.sending, ClientSession(timeout=ClientTimeout(total=5)) as session:
        due, shop.waiting = shop.waiting, []
        due = [item for item in due if shop.chance.random() >= shop.quirks.drop]
        due += [
            item
            for item in due
            if shop.chance.random() < shop.quirks.duplicate
            for _ in range(shop.chance.randint(1, 3))
        ]
        if shop.quirks.shuffle:
            shop.chance.shuffle(due)
        return [await delivered(shop, session, *item) for item in due if shop.webhooks[item[0]]["status"] == "active"]


async def delivered(shop: Shop, session: ClientSession, number: int, kind: Kind, resource: int) -> Row:
    webhook = shop.webhooks[number]
    body = json.dumps(shop.rows(kind).get(resource, {"id": resource})).encode()
    status = await posted(session, webhook["delivery_url"], data=body, headers=signed(webhook, body))
    if 200 <= status <= 302:
        shop.failures[number] = 0
    elif shop.failures.get(number, 0) > FAILURES_BEFORE_DISABLED:
        webhook["status"] = "disabled"
    else:
        shop.failures[number] = shop.failures.get(number, 0) + 1
    return {"webhook": number, "topic": webhook["topic"], "resource": resource, "status": status}


def signed(webhook: Row, body: bytes) -> dict[str, str]:
    """The headers; the delivery id is of webhook and second, and so not unique."""
    resource, _, event = webhook["topic"].partition(".")
    second = f"{webhook['id']}{int(datetime.now(UTC).timestamp())}"
    return {
        "Content-Type": "application/json",
        "User-Agent": "WooCommerce/9.4.2 Hookshot (WordPress/6.7.1)",
        "X-WC-Webhook-Source": "https://shop.example/",
        "X-WC-Webhook-Topic": webhook["topic"],
        "X-WC-Webhook-Resource": resource,
        "X-WC-Webhook-Event": event,
        "X-WC-Webhook-Signature": base64.b64encode(
            hmac.new(webhook["secret"].encode(), body, hashlib.sha256).digest()
        ).decode(),
        "X-WC-Webhook-ID": str(webhook["id"]),
        "X-WC-Webhook-Delivery-ID": hashlib.md5(second.encode(), usedforsecurity=False).hexdigest(),
    }


async def posted(session: ClientSession, url: str, *, data: Any, headers: Mapping[str, str]) -> int:
    """The status; 0 without an answer. The store does not try again."""
    try:
        async with session.post(url, data=data, headers=headers, allow_redirects=False) as response:
            return response.status
    except (ClientError, TimeoutError):
        return 0
