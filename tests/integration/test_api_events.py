"""POST /ingest/events: what integrations send, on a real Postgres and a real RabbitMQ."""

import asyncio
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import aio_pika
import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore
from shared import topology
from shared.events import FACT, Fact
from support.api_client import Answer, ApiClient, serving
from support.cable import cable
from support.orders import order

ACCEPTED = {"status": "accepted", "code": None, "field": None, "message": None}


def item(number: int, kind: str = "order_deleted", data: Any = None, **changes: Any) -> dict[str, Any]:
    known = {"id": f"e-{number}", "type": kind, "occurred_at": "2026-05-28T16:45:00"}
    return known | {"data": {"id": number} if data is None else data} | changes


async def send(api: ApiClient, events: Sequence[Any], **body: Any) -> Answer:
    return await post(api, json.dumps({"events": list(events), **body}).encode())


async def post(api: ApiClient, body: bytes) -> Answer:
    return await api.post("/ingest/events", data=io.BytesIO(body), headers={"Content-Type": "application/json"})


async def stored(pool: asyncpg.Pool) -> int:
    inputs, seen = await pool.fetchrow(
        "SELECT (SELECT count(*) FROM api.raw_input), (SELECT count(*) FROM api.input_seen)"
    )
    assert inputs == seen
    return int(inputs)


async def messages(amqp_url: str, prefix: str, queue: str, number: int) -> list[tuple[str, Fact]]:
    """Routing key and fact of the next ones of a queue."""
    found: list[tuple[str, Fact]] = []
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel, prefix)
        taken = await channel.get_queue(prefix + queue)
        async with taken.iterator(timeout=30) as iterator:
            async for message in iterator:
                await message.ack()
                found.append((message.routing_key or "", FACT.validate_json(message.body)))
                if len(found) == number:
                    break
    return found


async def test_every_kind_of_item_is_accepted_and_its_fact_reaches_the_scorer(
    api: ApiClient, pool: asyncpg.Pool, amqp_url: str, name_prefix: str
) -> None:
    given = [
        item(1, "order", order()),
        item(2, "order_deleted"),
        item(3, "refund", {"id": 9, "order_id": 4821, "amount": "49.00"}),
        item(4, "dispute", {"id": "d", "order_id": 1, "amount": 5, "currency": "EUR", "status": "needs_response"}),
        item(5, "decline", {"email": "jane@example.com"}),
        item(6, "checkout_attempt", {"email": "jane@example.com"}),
        item(7, "product", {"id": 60}),
    ]

    answer = await send(api, given)

    assert answer.status == 200
    assert answer.json == {"results": [{"id": one["id"], **ACCEPTED} for one in given]}
    facts = await messages(amqp_url, name_prefix, "scorer.facts", 7)
    assert sorted(key for key, _ in facts) == sorted(f"live.{one['type']}" for one in given)
    rows = await pool.fetch("SELECT id, store_id, source, topic, body FROM api.raw_input")
    assert {row["id"]: row["topic"] for row in rows} == {fact.id: fact.type for _, fact in facts}
    assert {(row["store_id"], row["source"]) for row in rows} == {(api.store.id, "events")}
    assert sorted(json.loads(row["body"])["id"] for row in rows) == [one["id"] for one in given]


async def test_history_goes_by_its_own_lane(api: ApiClient, amqp_url: str, name_prefix: str) -> None:
    answer = await send(api, [item(1), item(2, "order", order())], history=True)

    assert [one["status"] for one in answer.json["results"]] == ["accepted", "accepted"]
    facts = await messages(amqp_url, name_prefix, "scorer.backfill", 2)
    assert sorted(key for key, _ in facts) == ["history.order", "history.order_deleted"]


async def test_the_same_id_again_is_a_duplicate_in_one_request_or_two_whatever_it_holds(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    first = await send(api, [item(1), item(2), item(1, "product", {"id": 60}), item(1)])
    second = await send(api, [item(1), item(3)], history=True)

    assert [one["status"] for one in first.json["results"]] == ["accepted", "accepted", "duplicate", "duplicate"]
    assert [one["status"] for one in second.json["results"]] == ["duplicate", "accepted"]
    assert await stored(pool) == 3
    digest = hashlib.sha256(b"\0".join((api.store.id.bytes, b"events", b"e-1"))).digest()
    assert await pool.fetchval("SELECT true FROM api.input_seen WHERE digest = $1", digest)


async def test_of_two_requests_with_the_same_ids_at_once_each_item_is_new_in_one(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    answers = await asyncio.gather(*(send(api, [item(n) for n in range(1, 101)]) for _ in range(4)))

    statuses = [[one["status"] for one in answer.json["results"]] for answer in answers]
    assert all(sorted(each) == ["accepted"] + ["duplicate"] * 3 for each in zip(*statuses, strict=True))
    assert await stored(pool) == 100


async def test_a_bad_item_among_500_stops_no_other_and_is_named(api: ApiClient, pool: asyncpg.Pool) -> None:
    kinds: list[tuple[str, Any]] = [
        ("order", order()),
        ("order_deleted", {"id": 1}),
        ("decline", {"email": "jane@example.com"}),
        ("product", {"id": 60}),
    ]
    given = [item(n, *kinds[n % 4]) for n in range(500)]
    given[251] = item(251, "order", order(total="-1.00"))

    results = (await send(api, given)).json["results"]

    assert [one["id"] for one in results] == [one["id"] for one in given]
    assert results.pop(251) == {
        "id": "e-251",
        "status": "rejected",
        "code": "rest_invalid_param",
        "field": "data.total",
        "message": "must not be negative",
    }
    assert {one["status"] for one in results} == {"accepted"}
    assert await stored(pool) == 499
    assert await pool.fetchval("SELECT count(DISTINCT xmin::text) FROM api.input_seen") == 1


async def test_a_rejected_item_may_come_again_mended(api: ApiClient, pool: asyncpg.Pool) -> None:
    bad, good = [await send(api, [item(1, data={"id": number})]) for number in (0, 1)]

    assert [answer.json["results"][0]["status"] for answer in (bad, good)] == ["rejected", "accepted"]
    assert await stored(pool) == 1


async def test_items_that_are_no_objects_and_names_that_are_no_text_are_told_too(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    answer = await send(api, [None, 5, [], item(1, data={"id": 1, "\ud800": 2}), item(2, data={"id": 1e999})])

    results = answer.json["results"]
    assert [(one["id"], one["field"]) for one in results] == [
        (None, "item"),
        (None, "item"),
        (None, "item"),
        ("e-1", "data"),
        ("e-2", "data.id"),
    ]
    assert await stored(pool) == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"{", "body"),
        (b"{}", "events"),
        (b'{"events": []}', "events"),
        (b'{"events": {}}', "events"),
        (json.dumps({"events": [item(n) for n in range(501)]}).encode(), "events"),
        (json.dumps({"events": [item(1)], "history": "yes"}).encode(), "history"),
        (json.dumps({"events": [item(1)], "colour": "red"}).encode(), "colour"),
        (b'{"events": [' + b" " * (5 * 1024 * 1024) + b"]}", "body"),
    ],
)
async def test_a_bad_body_is_400_naming_the_field_and_nothing_is_stored(
    api: ApiClient, pool: asyncpg.Pool, body: bytes, field: str
) -> None:
    answer = await post(api, body)

    assert (answer.status, answer.json["code"]) == (400, "rest_invalid_param")
    assert list(answer.json["data"]["params"]) == [field]
    assert await stored(pool) == 0


async def test_a_body_that_is_not_sent_as_json_is_415(api: ApiClient) -> None:
    assert (await api.post("/ingest/events", data=b"{}", headers={"Content-Type": "text/plain"})).status == 415


async def test_almost_5_mib_are_taken(api: ApiClient) -> None:
    noted = [item(n, "order", order(customer_note="x" * 10_000)) for n in range(480)]

    answer = await send(api, noted)

    assert {one["status"] for one in answer.json["results"]} == {"accepted"}


async def test_while_the_database_is_away_the_sender_hears_503_and_nothing_counts_as_accepted(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool
) -> None:
    async with cable(api_settings.database_url) as database:
        through_cable = api_settings.model_copy(update={"database_url": database.url, "memory_seconds": 1.0})
        async with serving(through_cable, api_store) as api:
            assert (await send(api, [item(1)])).status == 200
            await database.pull()
            refused = await asyncio.gather(*(send(api, [item(n), item(n + 100)]) for n in range(2, 6)))
            await database.plug()
            again = await send(api, [item(2), item(102)])

    assert {answer.status for answer in refused} == {503}
    assert {answer.headers["Retry-After"] for answer in refused} == {"5"}
    assert [one["status"] for one in again.json["results"]] == ["accepted", "accepted"]
    assert await stored(pool) == 3


async def test_what_postgres_cannot_store_stops_no_other_request_of_its_commit(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool
) -> None:
    await pool.execute("ALTER TABLE api.raw_input ADD CHECK (topic <> 'product')")
    async with serving(api_settings.model_copy(update={"gather_seconds": 0.2}), api_store) as api:
        answers = await asyncio.gather(
            send(api, [item(1), item(2)]), send(api, [item(3), item(4, "product", {"id": 60})]), send(api, [item(5)])
        )

    assert [answer.status for answer in answers] == [200, 500, 200]
    assert await stored(pool) == 3
