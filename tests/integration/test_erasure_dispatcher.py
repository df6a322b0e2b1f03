"""The dispatcher after an erasure: what was frozen, what is under way, and what comes late."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

import asyncpg
import pytest

from dispatcher import erasure, store
from dispatcher.directory import Directory
from dispatcher.fanout import mail_server
from shared import erased
from shared.events import ActionRef, Automation, Event, EventType
from shared.identity import email_hash
from support import dispatcher_parts, stored_events
from support.delivery_rows import insert
from support.dispatcher_parts import FAILED, OK, Dispatcher, World
from support.dispatcher_shop import Shop
from support.dispatching import automation, event, eventually
from support.remains import remains

JANE = "jane@example.com"

S = TypeVar("S", Event, Automation)


@dataclass
class Place:
    """A dispatcher and its shop, whose customer Jane is."""

    shop: Shop
    world: World
    one: Dispatcher
    jane: str
    """Her hash."""

    def of_jane(self, source: S) -> S:
        customer = source.customer.model_copy(update={"email_hash": self.jane, "email": JANE, "tags": ("jane-s",)})
        return source.model_copy(update={"customer": customer})

    async def happened(self, kind: EventType = "score_updated", *, sequence: int = 7, score: int = 34) -> Event:
        """An event of hers, stored as the scorer does."""
        told = self.of_jane(event(self.shop.id, kind, sequence=sequence, score=score))
        await stored_events.store(self.shop.pool, [told])
        return told

    async def fired(self, action: str, target_id: UUID | None = None, **params: str) -> Automation:
        asked = automation(self.shop.id, target_id)
        wanted = ActionRef(position=0, type=action, target_id=target_id, params=params)
        asked = self.of_jane(asked.model_copy(update={"action": wanted}))
        cause = self.of_jane(event(self.shop.id, at=asked.recorded_at))
        await stored_events.store(self.shop.pool, [cause])
        return asked

    async def erase(self) -> Event:
        """In the scorer; the event that says so is still to come."""
        await self.shop.pool.execute(
            "UPDATE scorer.customers SET email = NULL, erased_at = now() WHERE email_hash = $1", self.jane
        )
        await self.shop.pool.execute("UPDATE scorer.events SET body = ''")
        told = self.of_jane(event(self.shop.id, "customer_erased", sequence=99))
        return told.model_copy(update={"customer": told.customer.model_copy(update={"email": None})})

    async def forget(self) -> None:
        await self.one.told(await self.erase())

    async def deliveries(self) -> list[tuple[str, str | None]]:
        rows = await self.shop.pool.fetch("SELECT status, reason FROM dispatcher.deliveries ORDER BY created_at, id")
        return [tuple(row) for row in rows]

    async def again(self) -> str:
        """Ask for the only delivery there is."""
        async with self.shop.pool.acquire() as connection:
            delivery_id = await connection.fetchval("SELECT id FROM dispatcher.deliveries")
            return await store.ask_again(connection, self.shop.id, delivery_id, now=self.world.clock())


@pytest.fixture
async def place(shop: Shop) -> AsyncIterator[Place]:
    world = World()
    sealed = await shop.pool.fetchval("SELECT hash_key FROM api.stores WHERE id = $1", shop.id)
    jane = email_hash(shop.vault.open(sealed), JANE)
    at = datetime.now(UTC)
    known = {"store_id": shop.id, "email_hash": jane, "email": JANE, "created_at": at, "updated_at": at}
    await insert(shop.pool, "scorer.customers", **known)
    async with dispatcher_parts.dispatcher(shop, world) as one:
        yield Place(shop, world, one, jane)


async def test_a_later_redelivery_has_the_same_id_and_no_address(place: Place) -> None:
    await place.shop.endpoint(events=["checkout_blocked"])
    await place.one.told(await place.happened("checkout_blocked"))
    await place.forget()
    assert await remains(place.shop.pool, JANE) == []
    assert await place.again() == "due"
    await place.one.look()
    before, after = place.world.requests
    assert before.delivery == after.delivery
    told, left = json.loads(before.body), json.loads(after.body)
    assert (told["email"], told["customer"]["email"]) == (JANE, JANE)
    told["email"] = told["customer"]["email"] = None
    assert left == told
    assert list(left) == list(told)


async def test_what_a_receiver_answered_and_why_one_got_nothing_is_forgotten(place: Place) -> None:
    await place.shop.endpoint("/echo")
    await place.shop.endpoint("/none", filter={"field": "email_domain", "operator": "=", "value": "other.example"})
    place.world.answer = lambda request: replace(OK, body=request.body[:1024])
    await place.one.told(await place.happened())
    assert "dispatcher.attempts" in await remains(place.shop.pool, JANE)
    await place.forget()
    assert await remains(place.shop.pool, JANE, "actual example.com") == []
    assert sorted(await place.deliveries()) == [
        ("delivered", None),
        ("suppressed", "filtered: the customer was erased"),
    ]


async def test_what_waits_for_its_retry_goes_on_without_the_person(place: Place) -> None:
    await place.shop.endpoint(delivery="retry", events=["customer_blocked"])
    place.world.answer = lambda _: FAILED
    await place.one.told(await place.happened("customer_blocked"))
    await place.forget()
    place.world.answer = lambda _: OK
    place.world.clock.forward(minutes=10)
    await place.one.look()
    body = json.loads(place.world.requests[-1].body)
    assert (body["customer"]["email"], body["customer"]["email_hash"], body["reason"]) == (None, place.jane, "")
    assert await place.deliveries() == [("delivered", None)]


async def test_an_attempt_that_is_under_way_is_not_recorded_and_made_again_without_the_address(place: Place) -> None:
    await place.shop.endpoint()
    going, may_end = asyncio.Event(), asyncio.Event()
    send = place.world.send

    async def slowly(url: str, **given: object) -> object:
        going.set()
        await may_end.wait()
        return replace(await send(url, **given), body=given["body"])  # type: ignore[arg-type]  # as the world has it

    place.world.send = slowly  # type: ignore[method-assign,assignment]
    await place.one.worker.process_events([await place.happened()])
    await going.wait()
    await place.one.worker.process_events([await place.erase()])
    may_end.set()
    await place.one.idle()
    assert await remains(place.shop.pool, JANE) == []
    assert await place.shop.pool.fetchval("SELECT count(*) FROM dispatcher.attempts") == 0
    await place.shop.pool.execute("UPDATE dispatcher.deliveries SET leased_until = now() - interval '1 s'")
    await place.one.look()
    first, again = place.world.requests
    assert first.delivery == again.delivery
    assert [json.loads(request.body)["customer"]["email"] for request in (first, again)] == [JANE, None]
    assert await place.deliveries() == [("delivered", None)]


async def test_a_mail_to_the_customer_that_was_not_sent_is_cancelled_for_good(place: Place) -> None:
    asked = await place.fired("send_email", to="Jane@Example.com", subject="s", text="t")
    await place.shop.pool.execute(
        "INSERT INTO dispatcher.breakers (target_id, failures, failing, probes, opened_at, probe_at)"
        " VALUES ($1, 5, '{}', 0, now(), now() + interval '1 day')",
        mail_server(place.shop.id),
    )
    await place.one.fired(asked)
    await place.forget()
    assert await place.deliveries() == [("cancelled", "erased")]
    assert await place.again() == "not_now"
    assert await remains(place.shop.pool, JANE) == []


async def test_a_mail_to_the_customer_that_was_sent_is_not_sent_again(place: Place) -> None:
    await place.one.fired(await place.fired("send_email", to=JANE, subject="s", text="t"))
    ((status, _),) = await place.deliveries()
    assert status == "exhausted", "the shop has no mail server"
    await place.forget()
    assert await place.deliveries() == [("exhausted", "erased")]
    assert await place.again() == "not_now"
    assert await remains(place.shop.pool, JANE) == []


async def test_what_comes_late_comes_without_the_person(place: Place) -> None:
    await place.shop.endpoint(events=["customer_blocked", "automation_triggered"])
    late = await place.happened("customer_blocked"), await place.happened("score_updated")
    webhook = await place.fired("send_webhook", await place.shop.rule_target(), text=f"of {JANE}")
    mail = await place.fired("send_email", to=JANE, subject="s", text="t")
    await place.forget()
    await place.one.told(*late)
    await place.one.fired(webhook, mail)
    assert ("cancelled", "erased") in await place.deliveries()
    assert await remains(place.shop.pool, JANE) == []
    bodies = [json.loads(request.body) for request in place.world.requests]
    assert {body["customer"]["email"] for body in bodies} == {None}
    assert sorted(body["event"] for body in bodies) == ["automation_triggered"] * 3 + ["customer_blocked"]


async def test_a_customer_who_came_back_has_an_address_in_what_happened_since(place: Place) -> None:
    await place.shop.endpoint()
    old = await place.happened(sequence=1)
    erased_event = await place.erase()
    await place.shop.pool.execute("UPDATE scorer.customers SET email = $1", JANE)
    new = await place.happened(sequence=3, score=50)
    await place.one.told(old, erased_event, new)
    assert {json.loads(request.body)["customer"]["email"] for request in place.world.requests} == {None, JANE}


async def test_the_same_erasure_twice_changes_nothing_more(place: Place) -> None:
    await place.shop.endpoint(events=["customer_blocked"])
    await place.one.told(await place.happened("customer_blocked"))
    told = await place.erase()
    await place.one.told(told)
    state = await place.shop.pool.fetch("SELECT * FROM dispatcher.bodies"), await place.deliveries()
    await place.one.told(told, told)
    assert (await place.shop.pool.fetch("SELECT * FROM dispatcher.bodies"), await place.deliveries()) == state


async def test_others_keep_what_is_theirs(place: Place) -> None:
    await place.shop.endpoint()
    await place.one.told(event(place.shop.id), await place.happened())
    before = {request.body for request in place.world.requests if place.jane.encode() not in request.body}
    await place.forget()
    kept = await place.shop.pool.fetch("SELECT body FROM dispatcher.bodies WHERE email_hash <> $1", place.jane)
    assert {row["body"] for row in kept} == before


# Races ----------------------------------------------------------------------------------------------------------------


async def waiting(pool: asyncpg.Pool) -> bool:
    """Whether somebody waits for a lock of ours."""
    found: bool = await pool.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    )
    return found


async def test_whoever_forgets_waits_for_those_who_began_before_they_could_know(place: Place) -> None:
    late = await place.happened()
    directory = Directory(place.shop.vault)
    async with place.shop.pool.acquire() as connection:
        writing = connection.transaction()
        await writing.start()
        assert await erased.held(connection, erasure.SERVICE, [late]) == set()
        told = await place.erase()
        forgetting = asyncio.create_task(erasure.forget(place.shop.pool, directory, told))
        await eventually(partial(waiting, place.shop.pool))
        await place.one.worker._partitions.cover(place.shop.pool, [late.recorded_at])
        body = json.dumps({"to": JANE}).encode()
        kept = {"recorded_at": late.recorded_at, "source_id": late.id, "shape": "trustlens", "email_hash": place.jane}
        await insert(connection, "dispatcher.bodies", **kept, body=body)
        await writing.commit()
    await forgetting
    assert await remains(place.shop.pool, JANE) == []


async def test_events_and_erasures_at_once_leave_nothing(place: Place) -> None:
    await place.shop.endpoint(events=["checkout_blocked"])
    async with dispatcher_parts.dispatcher(place.shop, place.world) as other:
        for n in range(10):
            happened = [await place.happened("checkout_blocked", sequence=10 * n + i) for i in range(5)]
            await place.shop.pool.execute("UPDATE scorer.customers SET email = $1, erased_at = NULL", JANE)
            late = (other.worker.process_events([one]) for one in happened)
            told = await place.erase() if n % 2 else None
            erasing = place.one.worker.process_events([told]) if told else place.forget()
            await asyncio.gather(erasing, *late)
            await place.one.idle()
            await other.idle()
            await place.shop.pool.execute("UPDATE scorer.customers SET email = NULL, erased_at = now()")
            assert await remains(place.shop.pool, JANE) == [], n
