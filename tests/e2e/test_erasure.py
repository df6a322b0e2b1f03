"""Erasure on the whole system: with everything under way, with services that are killed, with old input again."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from cli import books
from local_stack.stack import Stack
from support.dispatching import eventually
from support.remains import remains
from support.rule_world import SECRET, World

ORDERS = 25


async def erase(world: World, hashed: str) -> None:
    """Until it is done: the scorer may be away."""
    url = f"{world.road['TRUSTLENS_API_URL']}/wp-json/trustlens/v1/customers/{hashed}"
    headers = {"X-TrustLens-API-Key": world.road["TRUSTLENS_API_KEY"]}
    while True:
        try:
            async with world.session.delete(url, headers=headers) as answer:
                if answer.status == 204:
                    return
                assert answer.status == 503, await answer.text()
        except OSError:  # the api itself is away
            pass
        await asyncio.sleep(0.2)


async def place(world: World, email: str, begin: int, count: int = ORDERS, **more: Any) -> None:
    refunds = [{"id": begin, "reason": f"{email} does not like it", "total": "-1.00"}]
    await asyncio.gather(
        *(world.put(n, email, refunds=refunds if n == begin else [], **more) for n in range(begin, begin + count))
    )


async def live(world: World, email: str, path: str) -> str:
    """Everything that keeps something of a customer has something to keep; the hash."""
    for webhook in (
        {"url": world.receiver.url(path), "delivery": "retry", "secret": SECRET},
        {"url": world.slack.url + path, "format": "slack"},
    ):
        wanted = {"events": ["score_updated", "customer_blocked", "checkout_blocked", "automation_triggered"]}
        assert (await world.call("POST", "/webhooks", webhook | wanted))[0] == 201
    domain = {"field": "email_domain", "operator": "=", "value": email.partition("@")[2]}
    hook = {"type": "send_webhook", "url": world.receiver.url(f"{path}-rule"), "secret": SECRET}
    await world.save(name="Theirs", trigger="order_placed", conditions=domain, actions=[hook], cooldown=0)
    mail = {"type": "send_email", "to": "owner@shop.example", "subject": "s", "text": "Look."}
    await world.save(name="Not theirs", trigger="order_placed", conditions={"not": domain}, actions=[mail])
    await place(world, email, 1, 3)
    hashed = str((await world.customer(email))["email_hash"])
    assert (await world.call("POST", f"/customers/{hashed}/notes", {"text": f"{email} called"}))[0] == 201
    assert (await world.call("POST", f"/customers/{hashed}/tags", {"tag": email}))[0] == 200
    told = {"is_blocked": True, "reason": f"{email.upper()} again"}
    assert (await world.call("PATCH", f"/customers/{hashed}", told))[0] == 200
    await world.tell("checkout_attempt", email=email, decision="deny", reason="customer_blocked")
    return hashed


async def nothing_left(road: Mapping[str, str], *texts: str) -> None:
    """Once nothing is under way, nowhere."""
    balance = await books.settled(road["TRUSTLENS_DATABASE_URL"], road["TRUSTLENS_AMQP_URL"], within=60)
    assert (balance.balanced, balance.unfinished) == (True, 0), balance.lines
    connection = await asyncpg.connect(road["TRUSTLENS_DATABASE_URL"])
    try:
        await eventually(lambda: _followed(connection))
        assert await remains(connection, *texts) == []
    finally:
        await connection.close()


async def _followed(connection: asyncpg.Connection) -> bool:
    left: int = await connection.fetchval(
        "SELECT count(*) FROM scorer.customers c LEFT JOIN api.erasures e USING (store_id, email_hash, erased_at)"
        " WHERE c.erased_at IS NOT NULL AND e.store_id IS NULL"
    )
    return not left


@pytest.mark.parametrize("service", ["scorer", "rule-engine", "dispatcher", "api"])
async def test_nothing_is_left_of_a_customer_who_is_erased_while_a_service_is_killed(
    service: str, stack_up: Stack, world: World
) -> None:
    email = f"jane@erased-{service}.example"
    hashed = await live(world, email, f"/erased-{service}")
    placing = asyncio.create_task(place(world, email, 100))
    await asyncio.sleep(0)
    os.kill(int((stack_up.folder.run / f"{service}.pid").read_text().split()[0]), signal.SIGKILL)
    erasing = asyncio.create_task(erase(world, hashed))
    await asyncio.to_thread(stack_up.up)
    await asyncio.gather(placing, erasing)
    await erase(world, hashed)  # twice is fine
    await nothing_left(world.road, email)


async def test_an_erased_customer_stays_erased_through_old_input_and_redeliveries_and_comes_back_by_ordering(
    world: World,
) -> None:
    email, path = "joan@of-joan.example", "/stays-erased"
    hashed = await live(world, email, path)
    await books.settled(world.road["TRUSTLENS_DATABASE_URL"], world.road["TRUSTLENS_AMQP_URL"], within=60)
    exported = await world.get(f"/customers/{hashed}/export")
    assert email in json.dumps(exported)
    assert all(exported[name] for name in ("events", "firings", "evaluations", "deliveries", "raw_input", "timeline"))
    before = {one.delivery_id: one for one in world.receiver.received if one.path == path}
    assert {one.email for one in before.values()} == {email}

    await erase(world, hashed)
    await nothing_left(world.road, email)
    customer = await world.get(f"/customers/{hashed}")
    assert (customer["total_orders"], customer["is_blocked"], customer["tags"]) == (3, True, [])

    # Old orders again, as the shop's webhooks and as history bring them.
    await place(world, email, 1, 3, minute=1)
    at = "2026-01-05T10:00:00Z"
    old = {"id": "old-1", "type": "decline", "occurred_at": at, "data": {"email": email, "code": "card_declined"}}
    status, told = await world.call("POST", "/ingest/events", {"events": [old], "history": True})
    assert (status, told["results"][0]["status"]) == (200, "accepted")
    await nothing_left(world.road, email)
    assert email not in json.dumps(await world.get(f"/customers/{hashed}/export"))

    was = next(one for one in before.values() if one.event == "checkout_blocked")
    assert (await world.call("POST", f"/deliveries/{was.delivery_id}/retry"))[0] == 202
    (now,) = await world.receiver.wait_for(
        1, within=20, where=lambda one: one.delivery_id == was.delivery_id and one.body != was.body
    )
    expected = json.loads(was.body)
    expected["email"] = expected["customer"]["email"] = None
    assert (now.verified, json.loads(now.body)) == (True, expected)

    made = datetime.now(UTC).isoformat().partition("+")[0]
    await world.put(200, email, date_created_gmt=made, date_modified_gmt=made)
    await world.customer(email, so=lambda customer: customer["total_orders"] == 4)
    (known,) = await world.get(f"/customers?email={email}&include=email")
    assert known["email"] == email
