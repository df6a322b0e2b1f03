"""A POST that is sent again with its Idempotency-Key is done once and answered alike, over real HTTP."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from api import idempotency
from api.settings import ApiSettings
from api.stores import CreatedStore, create_key
from shared.broker import Broker
from shared.commands import Command, Handler, invalid
from shared.ids import time_of, uuid7
from shared.outbox import Transaction
from support.api_client import BASE, Answer, ApiClient, serving
from support.owner import owning

KEY = {"name": "Zendesk", "scopes": ["read"]}
WEBHOOK = {"url": "https://crm.example/hook"}


async def send(api: ApiClient, path: str, body: Any, *, key: str = "first try", **kwargs: Any) -> Answer:
    return await api.post(path, json=body, headers={"Idempotency-Key": key}, **kwargs)


@dataclass(slots=True)
class Dispatcher:
    """Makes endpoints, and notes what it is asked for."""

    asked: list[Command] = field(default_factory=list)
    waits: asyncio.Event | None = None
    """Before it answers."""
    refuses: bool = False

    def handlers(self) -> Mapping[str, Handler]:
        return {"webhook.create": self.create, "deliveries.replay": self.create}

    async def create(self, _: Transaction, command: Command) -> Any:
        self.asked.append(command)
        if self.waits:
            await self.waits.wait()
        if self.refuses:
            raise invalid({"url": "is missing"})
        return {"id": str(uuid7()), "secret": "whsec_generated", **command.data}


async def rows(pool: asyncpg.Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM api.idempotency"))


async def test_what_is_sent_again_is_answered_alike_and_done_once(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    dispatcher = Dispatcher()
    async with owning("dispatcher", pool, broker, dispatcher.handlers()):
        first = await send(api, "/webhooks", WEBHOOK)
        second = await send(api, "/webhooks", WEBHOOK)

    assert (first.status, second.status, second.text) == (201, 201, first.text)
    assert first.json["secret"] == "whsec_generated"
    assert ("Idempotent-Replayed" in first.headers, second.headers["Idempotent-Replayed"]) == (False, "true")
    assert second.headers["Content-Type"] == first.headers["Content-Type"]
    assert len(dispatcher.asked) == 1


async def test_a_generated_secret_is_kept_sealed(api: ApiClient, pool: asyncpg.Pool) -> None:
    first = await send(api, "/keys", KEY)

    assert (await send(api, "/keys", KEY)).text == first.text
    assert first.json["key"] not in str(await pool.fetch("SELECT * FROM api.idempotency"))
    assert (await api.get("/stats", key=first.json["key"])).status == 200
    assert await pool.fetchval("SELECT count(*) FROM api.keys") == 2


async def test_with_another_body_it_is_a_mistake(api: ApiClient, pool: asyncpg.Pool) -> None:
    await send(api, "/keys", KEY)

    answer = await send(api, "/keys", KEY | {"name": "Other"})

    assert (answer.status, answer.json["code"]) == (422, "trustlens_idempotency_key_reused")
    assert await pool.fetchval("SELECT count(*) FROM api.keys") == 2


async def test_the_same_word_means_something_else_for_another_key_or_path(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    async with pool.acquire() as connection:
        other = await create_key(connection, api.store.id, name="other", scopes=["admin"])
    dispatcher = Dispatcher()
    async with owning("dispatcher", pool, broker, dispatcher.handlers()):
        answers = [
            await send(api, "/keys", KEY),
            await send(api, "/keys", KEY, key="second try"),
            await api.request(
                "POST", BASE + "/keys", key=other.key, json=KEY, headers={"Idempotency-Key": "first try"}
            ),
            await send(api, "/webhooks", KEY),
        ]

    assert [answer.status for answer in answers] == [201] * 4
    assert len({answer.json["id"] for answer in answers}) == 4


async def test_without_the_header_each_is_done(api: ApiClient, pool: asyncpg.Pool) -> None:
    answers = [await api.post("/keys", json=KEY) for _ in range(2)]

    assert len({answer.json["id"] for answer in answers}) == 2
    assert await rows(pool) == 0


async def test_while_it_is_being_done_the_second_is_told_so(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    dispatcher = Dispatcher(waits=asyncio.Event())
    async with owning("dispatcher", pool, broker, dispatcher.handlers()):
        first = asyncio.create_task(send(api, "/webhooks", WEBHOOK))
        while not dispatcher.asked:  # noqa: ASYNC110  # what it was asked has no event of its own
            await asyncio.sleep(0.01)
        second = await send(api, "/webhooks", WEBHOOK)
        other = await send(api, "/webhooks", {"url": "https://other.example"})
        assert dispatcher.waits
        dispatcher.waits.set()
        third = await first

    assert (second.status, second.json["code"]) == (409, "trustlens_idempotency_key_in_use")
    assert second.headers["Retry-After"] == "1"
    assert other.status == 422
    assert third.status == 201


async def test_of_twenty_at_once_one_is_done(api: ApiClient, pool: asyncpg.Pool) -> None:
    answers = await asyncio.gather(*(send(api, "/keys", KEY) for _ in range(20)))

    assert {answer.status for answer in answers} <= {201, 409}
    assert len({answer.text for answer in answers if answer.status == 201}) == 1
    assert await pool.fetchval("SELECT count(*) FROM api.keys") == 2


async def test_what_was_refused_may_be_mended_and_sent_again(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    dispatcher = Dispatcher(refuses=True)
    async with owning("dispatcher", pool, broker, dispatcher.handlers()):
        refused = [await send(api, "/webhooks", {}), await send(api, "/keys", {"name": ""})]
        dispatcher.refuses = False
        mended = [await send(api, "/webhooks", WEBHOOK), await send(api, "/keys", KEY)]

    assert [answer.status for answer in refused] == [400, 400]
    assert [answer.status for answer in mended] == [201, 201]


async def test_where_no_answer_came_the_next_try_finds_what_was_done(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool, broker: Broker
) -> None:
    dispatcher = Dispatcher(waits=asyncio.Event())
    settings = api_settings.model_copy(update={"command_seconds": 0.5})
    async with serving(settings, api_store) as api, owning("dispatcher", pool, broker, dispatcher.handlers()):
        first = await send(api, "/webhooks", WEBHOOK)
        other = await send(api, "/webhooks", {"url": "https://other.example"})
        assert dispatcher.waits
        dispatcher.waits.set()
        second = await send(api, "/webhooks", WEBHOOK)
        third = await send(api, "/webhooks", WEBHOOK)

    assert (first.status, first.json["code"]) == (503, "trustlens_no_answer")
    assert (other.status, other.json["code"]) == (422, "trustlens_idempotency_key_reused")
    assert (second.status, third.text) == (201, second.text)
    assert len(dispatcher.asked) == 1


async def test_a_service_that_died_in_between_leaves_a_claim_that_runs_out(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    dispatcher = Dispatcher()
    async with owning("dispatcher", pool, broker, dispatcher.handlers()):
        first = await send(api, "/webhooks", WEBHOOK)
        await pool.execute(
            "UPDATE api.idempotency SET status = NULL, answer = NULL, claimed_until = now() + interval '60 s'"
        )
        during = await send(api, "/webhooks", WEBHOOK)
        await pool.execute("UPDATE api.idempotency SET claimed_until = now()")
        after = await send(api, "/webhooks", WEBHOOK)

    assert during.status == 409
    assert after.json == first.json
    assert len(dispatcher.asked) == 1


async def test_an_answer_is_remembered_for_a_day(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    dispatcher = Dispatcher()
    async with owning("dispatcher", pool, broker, dispatcher.handlers()):
        first = await send(api, "/webhooks", WEBHOOK)
        await pool.execute("UPDATE api.idempotency SET created_at = now() - interval '23 hours 59 minutes'")
        second = await send(api, "/webhooks", WEBHOOK)
        await idempotency.forget(pool)
        assert await rows(pool) == 1
        await pool.execute("UPDATE api.idempotency SET created_at = now() - interval '24 hours 1 minute'")
        third = await send(api, "/webhooks", WEBHOOK)
        fourth = await send(api, "/webhooks", WEBHOOK)
        await pool.execute("UPDATE api.idempotency SET created_at = now() - interval '24 hours 1 minute'")
        await idempotency.forget(pool)

    assert second.text == first.text
    assert third.json["id"] != first.json["id"]
    assert fourth.text == third.text
    assert len(dispatcher.asked) == 2
    assert await rows(pool) == 0


async def test_a_command_s_id_tells_when_it_was_first_asked_for(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    dispatcher = Dispatcher()
    async with owning("dispatcher", pool, broker, dispatcher.handlers()):
        await send(api, "/webhooks", WEBHOOK)

    since = await pool.fetchval("SELECT created_at FROM api.idempotency")
    assert abs((time_of(dispatcher.asked[0].id) - since).total_seconds()) < 0.002


async def test_many_once_more_are_one_job(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    dispatcher = Dispatcher()
    body = {"from": "2026-01-01 00:00:00", "to": "2026-01-02 00:00:00"}
    async with owning("dispatcher", pool, broker, dispatcher.handlers()):
        first, second = [await send(api, "/deliveries/replay", body) for _ in range(2)]

    assert (first.status, second.status, second.text) == (202, 202, first.text)
    assert len(dispatcher.asked) == 1


async def test_a_note_is_added_once_though_its_customer_changed_meanwhile(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    noted: list[str] = []

    async def note(_: Transaction, command: Command) -> None:
        noted.append(command.data["text"])

    await pool.execute(
        "INSERT INTO scorer.customers (store_id, email_hash, email, created_at, updated_at)"
        " VALUES ($1, $2, 'jane@example.com', now(), now())",
        api.store.id,
        "a" * 64,
    )
    path = f"/customers/{'a' * 64}/notes"
    async with owning("scorer", pool, broker, {"customer.note": note}):
        first = await send(api, path, {"text": "Called."})
        await pool.execute("UPDATE scorer.customers SET trust_score = 7")
        second = await send(api, path, {"text": "Called."})

    assert (first.status, second.status, second.text) == (201, 201, first.text)
    assert noted == ["Called."]


async def test_what_needs_no_body_takes_the_header_too(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    asked: list[Any] = []

    async def rotate(_: Transaction, command: Command) -> Any:
        asked.append(command.data)
        return {"secret": f"secret {len(asked)}"}

    path = f"/webhooks/{uuid7()}/rotate-secret"
    async with owning("dispatcher", pool, broker, {"webhook.rotate": rotate}):
        first, second = [await api.post(path, headers={"Idempotency-Key": "a"}) for _ in range(2)]
        third = await send(api, path, {"overlap": 60}, key="b")
        fourth = await send(api, path, {"overlap": 60}, key="b")

    assert (first.text, third.text) == (second.text, fourth.text)
    assert len(asked) == 2
    assert asked[1]["overlap"] == 60


@pytest.mark.parametrize("word", ["", " ", "x" * 256, "caf\u00e9", "tab\tbed"])
async def test_a_header_that_is_no_key_is_refused(api: ApiClient, pool: asyncpg.Pool, word: str) -> None:
    answer = await send(api, "/keys", KEY, key=word)

    assert (answer.status, list(answer.json["data"]["params"])) == (400, ["Idempotency-Key"])
    assert await pool.fetchval("SELECT count(*) FROM api.keys") == 1


async def test_a_body_that_is_too_large_is_413_with_the_header_too(api: ApiClient, pool: asyncpg.Pool) -> None:
    answer = await send(api, "/keys", {"name": "x" * 70_000})

    assert (answer.status, await rows(pool)) == (413, 0)


async def test_a_key_that_lacks_the_scope_leaves_nothing_behind(api: ApiClient, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        reader = await create_key(connection, api.store.id, name="reader", scopes=["read"])
    headers = {"Idempotency-Key": "a"}

    answer = await api.request("POST", BASE + "/keys", key=reader.key, json=KEY, headers=headers)

    assert (answer.status, await rows(pool)) == (403, 0)
