"""A shop on the whole system: its webhooks, receivers for what rules send, and how each trigger begins."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from aiohttp import ClientSession

from cli.receiver import Receiver
from support import fake_store, smtp
from support.dispatching import Receiver as Channel
from support.dispatching import receiving
from support.fake_store import KEY, FakeStore
from support.fake_store import SECRET as SHOP_SECRET
from support.orders import order
from support.smtp import Mailbox

SECRET = "an endpoint's secret, longer than 32 characters"
NOW = datetime.now(UTC).replace(microsecond=0)


_UNDER_WAY = {"pending", "retrying", "parked"}


@dataclass
class World:
    road: Mapping[str, str]
    session: ClientSession
    shop: FakeStore
    receiver: Receiver
    """Of webhooks signed with SECRET."""
    slack: Channel
    mailbox: Mailbox

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        headers = {"X-TrustLens-API-Key": self.road["TRUSTLENS_API_KEY"]}
        url = f"{self.road['TRUSTLENS_API_URL']}/wp-json/trustlens/v1{path}"
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> Any:
        status, body = await self.call("GET", path)
        assert status == 200, body
        return body

    async def save(self, **rule: Any) -> dict[str, Any]:
        status, saved = await self.call("POST", "/rules", rule)
        assert status == 201, saved
        return dict(saved)

    async def fired(self, rule_id: str, count: int = 1) -> list[Any]:
        """The rule's firings, the newest first, once there are so many and all their actions are at their end."""
        while True:
            found: list[Any] = await self.get(f"/rules/{rule_id}/evaluations?outcome=fired&per_page=100")
            if len(found) >= count and not _UNDER_WAY & {done["status"] for it in found for done in it["actions"]}:
                return found
            await asyncio.sleep(0.1)

    async def skips(self, rule_id: str, count: int = 1) -> list[str]:
        """Why the rule did not fire, the newest first, once it did not so often."""
        while True:
            found = await self.get(f"/rules/{rule_id}/evaluations?outcome=skipped")
            if len(found) >= count:
                return [it["reason"] for it in found]
            await asyncio.sleep(0.1)

    # What happens in the shop -----------------------------------------------------------------------------------------

    async def put(self, number: int, email: str, *, minute: int = 0, **changes: Any) -> None:
        """An order or its next version; the shop's webhooks follow. Nothing in it links it to another customer."""
        shared = {"address_1": f"Street {number}", "city": "Berlin", "postcode": "10115", "country": "DE"}
        phone = f"+49 30 {number:06}"
        row = order(
            id=number,
            number=str(number),
            billing={"email": email, "phone": phone, **shared},
            shipping=shared,
            customer_ip_address=f"93.184.{number // 250}.{number % 250}",
            transaction_id=f"ch_{number}",
            date_created_gmt=_at(0),
            date_modified_gmt=_at(minute),
        )
        await self.shop.control("_orders", [row | changes])

    async def tell(self, kind: str, *, minute: int = 0, **data: Any) -> None:
        """What the shop's webhooks do not tell of."""
        item = {"id": str(uuid4()), "type": kind, "occurred_at": f"{_at(minute)}Z", "data": data}
        status, told = await self.call("POST", "/ingest/events", {"events": [item]})
        assert (status, told["results"][0]["status"]) == (200, "accepted"), told

    async def customer(self, email: str, *, so: Callable[[Any], bool] = lambda _: True) -> Any:
        """The customer, once there is one and it is so."""
        while True:
            status, found = await self.call("GET", f"/customers/lookup?email={email}")
            if status == 200 and so(found):
                return found
            await asyncio.sleep(0.05)

    async def flag(self, email: str, **flags: bool) -> None:
        status, answer = await self.call("PATCH", f"/customers/{(await self.customer(email))['email_hash']}", flags)
        assert status == 200, answer

    async def dispute(self, number: int, email: str, status: str, *, minute: int = 5) -> Any:
        """The customer once the chargeback counts."""
        before = (await self.customer(email))["trust_score"]
        told = {"id": f"dp_{number}", "order_id": number, "amount": "249.00", "currency": "EUR", "status": status}
        await self.tell("dispute", minute=minute, **told)
        return await self.customer(email, so=lambda customer: customer["trust_score"] != before)


def _at(minute: int) -> str:
    """Of a shop that opened half an hour ago, in UTC."""
    return (NOW + timedelta(minutes=minute - 30)).isoformat().removesuffix("+00:00")


@asynccontextmanager
async def opened(road_to: Callable[[str], Awaitable[Mapping[str, str]]]) -> AsyncIterator[World]:
    """`road_to` makes a store for the shop's URL. Its own servers are set, and its webhooks come in."""
    async with (
        fake_store.running() as shop,
        smtp.running() as mailbox,
        Receiver(secret=SECRET) as receiver,
        receiving() as slack,
        ClientSession() as session,
    ):
        world = World(await road_to(shop.url), session, shop, receiver, slack, mailbox)
        server = {"host": "127.0.0.1", "port": mailbox.port, "security": "none", "sender": "alerts@shop.example"}
        means = {"smtp": server, "woocommerce": {"key": KEY, "secret": SHOP_SECRET}}
        status, answer = await world.call("PATCH", "/store", means)
        assert status == 200, answer
        await _listen(world)
        yield world


async def _listen(world: World) -> None:
    road = world.road
    door = f"{road['TRUSTLENS_API_URL']}/wp-json/trustlens/v1/ingest/woocommerce/{road['TRUSTLENS_STORE_ID']}"
    for topic in ("order.created", "order.updated"):
        webhook = {"topic": topic, "delivery_url": door, "secret": road["TRUSTLENS_WOOCOMMERCE_SECRET"]}
        assert (await world.shop.ask("POST", "webhooks", webhook))[0] == 201


# How each trigger begins, from outside. `n`: the first of 20 numbers of orders that are the customer's own ------------

Play = Callable[[World, str, int], Awaitable[None]]


async def place(world: World, email: str, n: int) -> None:
    await world.put(n, email)


async def _change(world: World, email: str, n: int, **change: Any) -> None:
    await world.put(n, email, status="pending" if change.get("status") == "processing" else "processing")
    await world.customer(email)
    await world.put(n, email, minute=10, **change)


async def change_status(world: World, email: str, n: int) -> None:
    await _change(world, email, n, status="processing")


async def cancel(world: World, email: str, n: int) -> None:
    await _change(world, email, n, status="cancelled")


async def refund(world: World, email: str, n: int) -> None:
    await _change(world, email, n, refunds=[{"id": n, "reason": "too small", "total": "-10.00"}])


async def file_chargeback(world: World, email: str, n: int) -> None:
    await world.put(n, email)
    await world.dispute(n, email, "open")


async def close_chargeback(world: World, email: str, n: int) -> None:
    await file_chargeback(world, email, n)
    await world.dispute(n, email, "won", minute=10)


async def order_at_high_risk(world: World, email: str, n: int) -> None:
    await file_chargeback(world, email, n)
    await world.put(n + 1, email, minute=10)


async def block(world: World, email: str, n: int) -> None:
    await world.put(n, email)
    await world.flag(email, is_blocked=True)


async def unblock(world: World, email: str, n: int) -> None:
    await block(world, email, n)
    await world.flag(email, is_blocked=False)


async def allowlist(world: World, email: str, n: int) -> None:
    await world.put(n, email)
    await world.flag(email, is_allowlisted=True)


async def end_allowlist(world: World, email: str, n: int) -> None:
    await allowlist(world, email, n)
    await world.flag(email, is_allowlisted=False)


async def try_checkout(world: World, email: str, n: int) -> None:
    await block(world, email, n)
    await world.tell("checkout_attempt", email=email, decision="deny", reason="customer_blocked")


async def share_a_phone(world: World, email: str, n: int) -> None:
    await world.put(n, email)
    await world.customer(email)
    friend = {"email": email.replace("@", "@friends-of-"), "phone": f"+49 30 {n:06}", "country": "DE"}
    await world.put(n + 1, "", billing=friend)


async def move_about(world: World, email: str, n: int) -> None:
    for number in range(n, n + 4):
        await world.put(number, email, status="completed")


async def try_cards(world: World, email: str, n: int) -> None:
    await world.put(n, email)
    for minute in range(3):
        await world.tell("decline", email=email, code="card_declined", minute=minute)


PLAYS: Mapping[str, Play] = {
    "score_updated": place,
    "segment_changed": file_chargeback,
    "customer_blocked": block,
    "customer_unblocked": unblock,
    "customer_allowlisted": allowlist,
    "customer_allowlist_removed": end_allowlist,
    "checkout_blocked": try_checkout,
    "high_risk_order": order_at_high_risk,
    "order_placed": place,
    "order_status_changed": change_status,
    "order_refunded": refund,
    "order_cancelled": cancel,
    "chargeback_filed": file_chargeback,
    "chargeback_closed": close_chargeback,
    "linked_accounts_detected": share_a_phone,
    "shipping_anomaly_detected": move_about,
    "card_testing_detected": try_cards,
}
