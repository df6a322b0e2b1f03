"""What stores send to the api, on a real Postgres and a real RabbitMQ."""

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any
from uuid import UUID

import aio_pika
import asyncpg
import pytest

from api.ingest import woocommerce
from api.ingest.about import about
from api.ingest.intake import Input, Intake, NotCommittedError
from api.settings import ApiSettings
from api.stores import CreatedStore
from shared import topology
from shared.broker import Broker
from shared.db import Partitions
from shared.events import FACT, Fact, Order, OrderFact
from shared.ids import uuid7
from shared.outbox import Outbox
from support.api_client import ApiClient, serving
from support.cable import cable
from support.orders import order
from support.remains import remains


def encoded(**changes: Any) -> bytes:
    return json.dumps(order(**changes)).encode()


async def rows(pool: asyncpg.Pool) -> tuple[int, int]:
    """Stored inputs, and known deliveries."""
    return await pool.fetchval("SELECT count(*) FROM api.raw_input"), await pool.fetchval(
        "SELECT count(*) FROM api.input_seen"
    )


async def next_fact(amqp_url: str, prefix: str) -> Fact:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel, prefix)  # the api may not be connected yet
        queue = await channel.get_queue(f"{prefix}scorer.facts")
        async with queue.iterator(timeout=30) as messages:
            async for message in messages:
                await message.ack()
                return FACT.validate_json(message.body)
    raise AssertionError("unreachable: the iterator raises when its time is up")


async def test_an_order_is_answered_202_with_the_id_of_the_fact_that_the_scorer_gets(
    api: ApiClient, pool: asyncpg.Pool, amqp_url: str, name_prefix: str
) -> None:
    answer = await api.deliver(encoded())

    assert (answer.status, answer.json["status"]) == (202, "accepted")
    fact = await next_fact(amqp_url, name_prefix)
    assert str(fact.id) == answer.json["id"]
    assert fact.store_id == api.store.id
    assert isinstance(fact.data, Order)
    assert fact.data.email == "jane@example.com"
    assert fact.data.item_count == 3
    assert len(fact.data.fingerprints) == 4
    stored = await pool.fetchrow("SELECT id, store_id, source, topic, body FROM api.raw_input")
    assert tuple(stored) == (fact.id, api.store.id, "woocommerce", "order.updated", encoded())


async def test_a_repeated_delivery_is_answered_200_and_stored_once(api: ApiClient, pool: asyncpg.Pool) -> None:
    answers = await asyncio.gather(*(api.deliver(encoded()) for _ in range(10)), api.deliver(encoded()))

    assert sorted(answer.status for answer in answers) == [200] * 10 + [202]
    assert {answer.json["status"] for answer in answers} == {"accepted", "duplicate"}
    assert (await api.deliver(encoded())).status == 200
    assert await rows(pool) == (1, 1)


async def test_the_same_delivery_id_with_another_body_is_another_delivery(api: ApiClient, pool: asyncpg.Pool) -> None:
    answers = [await api.deliver(encoded(total=total)) for total in ("1.00", "2.00")]

    assert [answer.status for answer in answers] == [202, 202]
    assert await rows(pool) == (2, 2)


async def test_inputs_that_arrive_together_share_a_commit(api: ApiClient, pool: asyncpg.Pool) -> None:
    await asyncio.gather(*(api.deliver(encoded(id=number), delivery_id=str(number)) for number in range(1, 51)))

    transactions = await pool.fetchval("SELECT count(DISTINCT xmin::text) FROM api.input_seen")
    assert await rows(pool) == (50, 50)
    assert transactions < 50


async def test_a_ping_is_answered_exactly_200(api: ApiClient, pool: asyncpg.Pool) -> None:
    answer = await api.post(f"/ingest/woocommerce/{api.store.id}", key="", data={"webhook_id": "7"})

    assert answer.status == 200
    assert await rows(pool) == (0, 0)


@pytest.mark.parametrize(
    "topic", ["customer.updated", "product.deleted", "action.woocommerce_add_to_cart", "new.topic"]
)
async def test_a_topic_of_no_use_is_accepted_so_that_the_store_keeps_its_webhook(
    api: ApiClient, pool: asyncpg.Pool, topic: str
) -> None:
    answer = await api.deliver(b'{"id": 1}', topic=topic)

    assert (answer.status, answer.json["status"]) == (200, "ignored")
    assert await rows(pool) == (0, 0)


@pytest.mark.parametrize(
    ("topic", "body", "kind"),
    [
        ("order.restored", order(), "order"),
        ("order.deleted", {"id": 4821}, "order_deleted"),
        ("product.updated", {"id": 60, "categories": [{"slug": "shoes", "name": "Shoes"}]}, "product"),
        ("coupon.created", {"id": 7, "code": "welcome", "usage_limit_per_user": 1}, "coupon"),
    ],
)
async def test_every_topic_of_use_reaches_the_scorer_once(
    api: ApiClient, pool: asyncpg.Pool, amqp_url: str, name_prefix: str, topic: str, body: Any, kind: str
) -> None:
    raw = json.dumps(body).encode()

    answers = [(await api.deliver(raw, topic=topic)).status for _ in range(2)]

    fact = await next_fact(amqp_url, name_prefix)
    assert (answers, fact.type) == ([202, 200], kind)
    assert await pool.fetchval("SELECT topic FROM api.raw_input WHERE id = $1", fact.id) == topic
    assert await rows(pool) == (1, 1)


async def test_of_a_coupon_no_address_is_kept(api: ApiClient, pool: asyncpg.Pool) -> None:
    people = {"email_restrictions": ["jane@example.com"], "used_by": ["jane@example.com"]}
    coupon = {"id": 7, "code": "welcome", "description": "for jane@example.com", **people}

    answer = await api.deliver(json.dumps(coupon).encode(), topic="coupon.updated")

    assert answer.status == 202
    assert await pool.fetchval("SELECT position('welcome'::bytea IN body) > 0 FROM api.raw_input")
    assert await remains(pool, "jane@example.com") == []


async def test_an_order_whose_topic_got_lost_on_the_way_is_400_not_lost(api: ApiClient, pool: asyncpg.Pool) -> None:
    answer = await api.deliver(encoded(), topic="")

    assert (answer.status, list(answer.json["data"]["params"])) == (400, ["X-WC-Webhook-Topic"])
    assert await rows(pool) == (0, 0)


@pytest.mark.parametrize("signature", ["", "AAAA", "\u00e9", "x" * 5000])
async def test_a_missing_or_wrong_signature_is_401(api: ApiClient, pool: asyncpg.Pool, signature: str) -> None:
    answer = await api.deliver(encoded(), headers={"X-WC-Webhook-Signature": signature})

    assert (answer.status, answer.json["code"]) == (401, "trustlens_bad_signature")
    assert answer.json["data"] == {"status": 401}
    assert await rows(pool) == (0, 0)


async def test_a_changed_byte_breaks_the_signature(api: ApiClient, pool: asyncpg.Pool) -> None:
    signature = base64.b64encode(
        hmac.new(api.store.woocommerce_secret.encode(), encoded(), hashlib.sha256).digest()
    ).decode()

    answer = await api.deliver(encoded(total="249.01"), headers={"X-WC-Webhook-Signature": signature})

    assert answer.status == 401
    assert await rows(pool) == (0, 0)


@pytest.mark.parametrize("store_id", [str(UUID(int=1)), "7", "x" * 1000])
async def test_an_unknown_store_is_404(api: ApiClient, store_id: str) -> None:
    answer = await api.post(f"/ingest/woocommerce/{store_id}", key="", data=encoded())

    assert (answer.status, answer.json["code"]) == (404, "trustlens_store_not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"<html>firewall</html>", "body"),
        (b"[]", "body"),
        (b'{"id": 1}', "total"),
        (b"{" + b" " * (2 * 1024 * 1024) + b"}", "body"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, ".".join("a" * 32)),
        (encoded(meta_data=[{"value": float("nan")}]), "meta_data.0.value"),
        (encoded(meta_data=[{"value": float("inf")}]), "meta_data.0.value"),
        (encoded(total="-1.00"), "total"),
        (encoded(total="NaN"), "total"),
        (encoded(number="a\0b"), "number"),
        (json.dumps({"code": "woocommerce_rest_cannot_view", "message": "", "data": {"status": 401}}).encode(), "code"),
    ],
)
async def test_a_bad_body_is_400_naming_the_field_and_nothing_is_stored(
    api: ApiClient, pool: asyncpg.Pool, body: bytes, field: str
) -> None:
    answer = await api.deliver(body)

    assert (answer.status, answer.json["code"]) == (400, "rest_invalid_param")
    assert field in answer.json["data"]["params"]
    assert await rows(pool) == (0, 0)
    assert await pool.fetchval("SELECT count(*) FROM api.outbox") == 0


async def test_an_order_of_almost_2_mib_is_taken(api: ApiClient) -> None:
    assert (await api.deliver(encoded(customer_note="x" * (2 * 1024 * 1024 - 1000)))).status == 202


async def test_while_the_database_is_away_the_store_hears_503_and_nothing_counts_as_accepted(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool
) -> None:
    async with cable(api_settings.database_url) as database:
        through_cable = api_settings.model_copy(update={"database_url": database.url, "memory_seconds": 1.0})
        async with serving(through_cable, api_store) as api:
            assert (await api.deliver(encoded(id=1))).status == 202
            await database.pull()

            refused = await asyncio.gather(*(api.deliver(encoded(id=number)) for number in range(2, 7)))
            ready = await api.request("GET", "/readyz")
            alive = await api.request("GET", "/healthz")

            await database.plug()
            again = await api.deliver(encoded(id=2))

    assert {answer.status for answer in refused} == {503}
    assert {answer.headers["Retry-After"] for answer in refused} == {"5"}
    assert (ready.status, alive.status, again.status) == (503, 200, 202)
    assert await rows(pool) == (2, 2)


async def test_while_the_broker_is_away_orders_are_accepted_and_the_fact_follows(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool, amqp_url: str, name_prefix: str
) -> None:
    async with cable(amqp_url) as broker:
        await broker.pull()
        async with serving(api_settings.model_copy(update={"amqp_url": broker.url}), api_store) as api:
            answer = await api.deliver(encoded())
            ready = await api.request("GET", "/readyz")
            waiting = await pool.fetchval("SELECT id FROM api.outbox")
            await broker.plug()
            fact = await next_fact(amqp_url, name_prefix)

    assert (answer.status, ready.status, ready.json["broker"]) == (202, 200, False)
    assert answer.json["id"] == str(waiting) == str(fact.id)


async def test_what_one_input_breaks_stops_no_other_of_its_commit(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool
) -> None:
    await pool.execute("ALTER TABLE api.raw_input ADD CHECK (length(body) < 1000)")
    together = api_settings.model_copy(update={"gather_seconds": 0.2})
    async with serving(together, api_store) as api:
        answers = await asyncio.gather(
            *(api.deliver(encoded(id=n, customer_note="x" * (1000 if n == 3 else 1))) for n in range(1, 6))
        )

    assert [answer.status for answer in answers] == [202, 202, 500, 202, 202]
    assert answers[2].json["data"].keys() == {"status", "error_id"}
    assert await rows(pool) == (4, 4)


async def test_a_request_in_hand_is_answered_when_the_service_stops(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool
) -> None:
    slow = api_settings.model_copy(update={"gather_seconds": 0.3})
    async with serving(slow, api_store) as api:
        delivering = asyncio.create_task(api.deliver(encoded()))
        await asyncio.wait({delivering}, timeout=0.15)
        assert not delivering.done()
        api.stop.set()
        assert (await delivering).status == 202

    assert await rows(pool) == (1, 1)


async def test_no_store_waits_longer_than_the_limit_however_many_wait_for_a_database_that_hangs(
    pool: asyncpg.Pool,
) -> None:
    limit, loop = 0.5, asyncio.get_running_loop()
    intake = Intake(
        pool,
        Outbox(pool, Broker("amqp://nobody", service="api"), "api"),
        Partitions("api.raw_input"),
        gather_seconds=0,
        commit_seconds=limit,
        batch_size=5,
    )
    began = loop.time()
    async with pool.acquire() as blocker, blocker.transaction():
        await blocker.execute("LOCK TABLE api.input_seen")
        running = asyncio.create_task(intake.run())
        told = await asyncio.gather(*(intake.accept([some_input(n)]) for n in range(1, 51)), return_exceptions=True)
        took = loop.time() - began
    running.cancel()
    assert {type(answer) for answer in told} == {NotCommittedError}
    assert took < 2 * limit  # ten commits of five, one after the other, would take ten times the limit


def some_input(number: int) -> Input:
    order = woocommerce.parse_order(encoded(id=number), b"k" * 32)
    fact = OrderFact(id=uuid7(), store_id=uuid7(), occurred_at=order.modified_at, data=order)
    return Input("woocommerce", "order.created", str(number).encode(), b"{}", fact, about(fact, b"key"))
