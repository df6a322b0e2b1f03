"""The api after an erasure: requests as they came, dead messages, and what is exported of a customer."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api import dead, erasure
from api.store import erasures
from api.stores import create_key
from shared.broker import Broker
from shared.db import Partitions
from shared.events import Event, OrderFact
from shared.identity import email_hash
from shared.ids import uuid7
from shared.secrets import Vault
from support import stored_events
from support.api_client import BASE, ApiClient
from support.delivery_rows import insert, insert_delivery, insert_endpoint
from support.dispatching import CUSTOMER, event, eventually
from support.facts import order as order_fact
from support.orders import order as wc_order
from support.queues import put, take
from support.remains import remains

JANE, JOHN = "jane@example.com", "john@example.com"
NOW = datetime.now(UTC)


@dataclass
class Place:
    api: ApiClient
    pool: asyncpg.Pool
    vault: Vault
    broker: Broker
    jane: str
    """Her hash."""

    async def ordered(self, number: int, email: str = JANE, *, ago: timedelta = timedelta(days=1), **more: Any) -> None:
        """As the store's webhook tells it."""
        made = (NOW - ago).isoformat().partition("+")[0].partition(".")[0]
        body = json.dumps(
            wc_order(id=number, billing={"email": email}, date_created_gmt=made, date_modified_gmt=made, **more)
        ).encode()
        answer = await self.api.deliver(body, delivery_id=f"d{number}{more}")
        assert answer.status == 202, answer.text

    async def told(self, kind: str, *, history: bool = False, ago: timedelta = timedelta(days=1), **data: Any) -> None:
        item = {"id": str(uuid7()), "type": kind, "occurred_at": (NOW - ago).isoformat(), "data": data}
        answer = await self.api.post("/ingest/events", json={"events": [item], "history": history})
        assert answer.json["results"][0]["status"] == "accepted", answer.text

    async def known_order(self, number: int, *, ago: timedelta = timedelta(days=1)) -> None:
        """As the scorer keeps it."""
        await insert(
            self.pool,
            "scorer.orders",
            store_id=self.api.store.id,
            order_id=number,
            email_hash=self.jane,
            number="n",
            status="completed",
            currency="EUR",
            total=Decimal(1),
            item_count=1,
            payment_method="",
            billing_country="",
            shipping_country="",
            created_at=NOW - ago,
            modified_at=NOW - ago,
            refund_count=0,
            digest=b"",
            announced=True,
        )

    async def bodies(self) -> list[bytes]:
        rows = await self.pool.fetch("SELECT body FROM api.raw_input ORDER BY received_at, id")
        return [row["body"] for row in rows]

    async def erase(self) -> None:
        """In the scorer."""
        await self.pool.execute(
            "UPDATE scorer.customers SET email = NULL, erased_at = now() WHERE email_hash = $1", self.jane
        )
        await self.pool.execute("DELETE FROM api.outbox")

    async def followed(self) -> asyncpg.Record | None:
        return await self.pool.fetchrow(
            "SELECT e.* FROM api.erasures e JOIN scorer.customers c USING (store_id, email_hash, erased_at)"
        )

    async def forgotten(self) -> asyncpg.Record:
        """Erased, once the service has followed that."""
        await self.erase()
        return await eventually(self.followed)


@pytest.fixture
async def place(api: ApiClient, pool: asyncpg.Pool, vault: Vault, broker: Broker) -> Place:
    key = vault.open(await pool.fetchval("SELECT hash_key FROM api.stores"))
    jane = email_hash(key, JANE)
    known = {"store_id": api.store.id, "email_hash": jane, "email": JANE}
    await insert(pool, "scorer.customers", **known, created_at=NOW, updated_at=NOW)
    return Place(api, pool, vault, broker, jane)


# Requests as they came ------------------------------------------------------------------------------------------------


async def test_what_a_store_sent_of_the_customer_is_emptied_and_still_counted(place: Place) -> None:
    await place.known_order(1)
    await place.ordered(1)
    await place.ordered(2, JOHN)
    await place.told("checkout_attempt", email=JANE.upper())
    await place.told("decline", email=JANE, code="card_declined")
    await place.told("refund", id=9, order_id=1, amount="1.00", reason=f"{JANE} wants it back")
    await place.told("refund", id=9, order_id=2, amount="1.00", reason="too small")
    row = await place.forgotten()
    assert (row["raw_inputs"], row["dead_messages"]) == (4, 0)
    bodies = await place.bodies()
    assert [body == b"" for body in bodies] == [True, False, True, True, True, False]
    assert await remains(place.pool, JANE) == []


async def test_what_comes_again_after_the_erasure_is_accepted_and_not_kept(place: Place) -> None:
    await place.known_order(1)
    await place.forgotten()
    await place.ordered(1)
    await place.told("refund", id=9, order_id=1, amount="1.00", reason=f"{JANE} wants it back")
    await place.told("decline", email=JANE, code="card_declined", history=True)
    assert await place.bodies() == [b"", b"", b""]
    await place.pool.execute("DELETE FROM api.outbox")
    assert await remains(place.pool, JANE) == []


async def test_the_very_same_delivery_is_a_duplicate_after_the_erasure_too(place: Place) -> None:
    body = json.dumps(wc_order(id=1, billing={"email": JANE})).encode()
    assert (await place.api.deliver(body)).status == 202
    await place.forgotten()
    answer = await place.api.deliver(body)
    assert (answer.status, answer.json) == (200, {"status": "duplicate"})


async def test_a_new_order_makes_a_customer_again_and_is_kept(place: Place) -> None:
    await place.forgotten()
    await place.ordered(3, ago=timedelta(hours=-1))
    (body,) = await place.bodies()
    assert JANE.encode() in body


async def test_who_is_erased_again_is_followed_again(place: Place) -> None:
    await place.forgotten()
    await place.ordered(3, ago=timedelta(hours=-1))
    assert (await place.forgotten())["raw_inputs"] == 1
    assert await remains(place.pool, JANE) == []


async def test_an_input_that_is_being_stored_is_waited_for(place: Place) -> None:
    await place.ordered(1)
    (row,) = await place.pool.fetch("SELECT * FROM api.raw_input")
    async with place.pool.acquire() as connection, connection.transaction():
        new = dict(row) | {"id": uuid7()}
        places = ", ".join(f"${n}" for n in range(1, len(new) + 1))
        statement = f"INSERT INTO api.raw_input ({', '.join(new)}) VALUES ({places})"
        await connection.execute(statement, *new.values())
        await place.erase()
        await eventually(partial(_waiting, place.pool))
    row = await eventually(place.followed)
    assert (row["raw_inputs"], await place.bodies()) == (2, [b"", b""])


async def test_an_input_that_waits_for_the_erasure_knows_of_it(place: Place) -> None:
    async with place.pool.acquire() as connection, connection.transaction():
        await place.erase()
        (erased,) = await erasures.unfollowed(place.pool)
        await erasures.empty_raw(connection, erased)
        storing = asyncio.create_task(place.ordered(1))
        await eventually(partial(_waiting, place.pool))
    await storing
    assert await place.bodies() == [b""]


async def _waiting(pool: asyncpg.Pool) -> bool:
    """Whether somebody waits for the table."""
    found: bool = await pool.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'api.raw_input'::regclass AND NOT granted)"
    )
    return found


# Dead messages --------------------------------------------------------------------------------------------------------


async def test_dead_messages_that_name_the_customer_lose_them_and_can_still_be_sent_back(place: Place) -> None:
    store_id, snapshot = place.api.store.id, CUSTOMER.model_copy(update={"email_hash": place.jane})
    happened = event(store_id, "customer_blocked").model_copy(update={"customer": snapshot})
    fact = order_fact(1, JANE, store_id=store_id)
    other = order_fact(2, JOHN, store_id=store_id)
    await put(place.broker, "dispatcher.events.dead", [happened.encode(), f"not JSON {JANE}".encode()])
    await put(place.broker, "scorer.facts.dead", [other.encode(), fact.encode()])
    assert (await place.forgotten())["dead_messages"] == 3
    facts = [OrderFact.model_validate_json(one.body) for one in await take(place.broker, "scorer.facts.dead", 2)]
    assert {one.id: one.data.email for one in facts} == {fact.id: None, other.id: JOHN}
    bodies = [one.body for one in await take(place.broker, "dispatcher.events.dead", 2)]
    assert not [body for body in bodies if JANE.encode() in body]
    left = Event.model_validate_json(max(bodies, key=len))
    assert (left.id, left.customer.email, left.data.reason) == (happened.id, None, "")


async def test_a_dead_message_keeps_its_name_and_what_it_died_of(place: Place) -> None:
    fact = order_fact(1, JANE, store_id=place.api.store.id)
    await put(place.broker, "scorer.facts.dead", [fact.encode()])
    (before,) = (await place.api.get("/dead")).json
    await place.forgotten()
    (after,) = (await place.api.get("/dead")).json
    assert {**after, "size": 0} == {**before, "size": 0}


async def test_with_more_dead_messages_than_are_looked_at_the_erasure_stays_open(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "LOOKED_AT", 2)
    await place.erase()
    await put(place.broker, "scorer.facts.dead", [b"{}", b"{}", b"{}"])
    await erasure.follow(place.pool, place.vault, place.broker)
    assert await place.followed() is None
    await take(place.broker, "scorer.facts.dead", 3)
    assert await eventually(place.followed)


async def test_a_hundred_erasures_that_have_to_wait_keep_no_other_from_being_followed(place: Place) -> None:
    await put(place.broker, "dispatcher.events.dead", [b"{}"] * dead.LOOKED_AT)
    for n in range(101):
        known = {"store_id": place.api.store.id, "email_hash": f"{n:064x}", "created_at": NOW, "updated_at": NOW}
        await insert(place.pool, "scorer.customers", **known, erased_at=NOW - timedelta(hours=1))
    await place.ordered(1)
    await place.erase()

    async def emptied() -> bool:
        return await place.bodies() == [b""]

    await eventually(emptied)
    assert await place.followed() is None


# Doors ----------------------------------------------------------------------------------------------------------------


async def test_only_an_admin_erases(place: Place) -> None:
    async with place.pool.acquire() as connection:
        made = await create_key(connection, place.api.store.id, name="helpdesk", scopes=["read", "write", "pii"])
    answer = await place.api.request("DELETE", f"{BASE}/customers/{place.jane}", key=made.key)
    assert (answer.status, answer.json["code"]) == (403, "rest_forbidden")


async def test_an_export_has_what_every_service_keeps(place: Place) -> None:
    await place.known_order(1)
    await place.ordered(1)
    await place.told("refund", id=9, order_id=1, amount="1.00", reason="too small")
    await place.ordered(2, JOHN)
    snapshot = CUSTOMER.model_copy(update={"email_hash": place.jane})
    happened = event(place.api.store.id, "customer_blocked").model_copy(update={"customer": snapshot})
    others = event(place.api.store.id)
    await stored_events.store(place.pool, [happened, others])
    endpoint = await insert_endpoint(place.pool, place.vault, place.api.store.id)
    about = {"recorded_at": happened.recorded_at, "email_hash": place.jane}
    delivery = await insert_delivery(
        place.pool, place.api.store.id, **about, endpoint_id=endpoint, status="suppressed", reason="duplicate"
    )
    await insert_delivery(place.pool, place.api.store.id, recorded_at=happened.recorded_at)
    rule = await _rule_fired(place, happened)

    answer = await place.api.get(f"/customers/{place.jane}/export")

    exported = json.loads(answer.text)
    assert [(one["id"], one["data"]["reason"]) for one in exported["events"]] == [
        (str(happened.id), happened.data.reason)
    ]
    assert [(one["rule"]["name"], one["rule"]["reason"], one["values"]) for one in exported["firings"]] == [
        ("Watch", "the conditions hold", {"trust_score": 34})
    ]
    (evaluated,) = exported["evaluations"]
    assert evaluated["rules"] == [
        {"id": str(rule), "name": "Watch", "version": 1, "reason": "trust_score < 30: actual 34", "outcome": "skipped"}
    ]
    assert evaluated["values"] == {"trust_score": 34}
    ((one,)) = exported["deliveries"]
    assert (one["id"], one["url"], one["status"], one["reason"]) == (
        str(delivery),
        "https://crm.example/hook",
        "suppressed",
        "duplicate",
    )
    assert [one["source"] for one in exported["raw_input"]] == ["woocommerce", "events"]
    assert json.loads(exported["raw_input"][0]["body"])["billing"] == {"email": JANE}
    assert JOHN not in answer.text
    (audited,) = (await place.api.get("/audit?action=GET%20/customers/%7Bemail_hash%7D/export")).json
    assert (audited["objects"], audited["status"]) == ([place.jane], 200)


async def _rule_fired(place: Place, happened: Event) -> UUID:
    at = {"recorded_at": happened.recorded_at, "event_id": happened.id, "store_id": place.api.store.id}
    known: dict[str, Any] = {**at, "email_hash": place.jane, "trigger": "customer_blocked"}
    rule_id = uuid7()
    rule = {"id": rule_id, "store_id": place.api.store.id, "version": 1, "name": "Watch", "description": ""}
    rest = {"trigger": "customer_blocked", "actions": "[]", "cooldown": 0, "hourly_limit": 1, "mode": "live"}
    await insert(place.pool, "rule_engine.rules", **rule, **rest, created_at=NOW, updated_at=NOW)
    await Partitions("rule_engine.evaluations", "rule_engine.firings").cover(place.pool, [happened.recorded_at])
    seen = json.dumps({"trust_score": 34})
    reasons = ["trust_score < 30: actual 34"]
    await insert(
        place.pool, "rule_engine.evaluations", **known, rule_ids=[rule_id], versions=[1], reasons=reasons, seen=seen
    )
    fired = {"rule_id": rule_id, "rule_version": 1, "reason": "the conditions hold", "values": seen, "actions": "[]"}
    await insert(place.pool, "rule_engine.firings", **known, **fired, id=uuid7())
    return rule_id
