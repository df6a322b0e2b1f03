"""What stores send to the api, on a real Postgres and a real RabbitMQ."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore, create_store
from shared.events import Fact
from shared.secrets import Vault
from support.api_client import ApiClient, serving


def order(**changes: Any) -> dict[str, Any]:
    return {
        "id": 4821,
        "number": "4821",
        "status": "processing",
        "currency": "EUR",
        "total": "249.00",
        "date_created_gmt": "2026-05-28T16:42:00",
        "date_modified_gmt": "2026-05-28T16:45:00",
        "billing": {"email": "Jane@Example.com", "country": "DE"},
        "shipping": {"country": "AT"},
        "line_items": [{"id": 1, "quantity": 2}, {"id": 2, "quantity": 1}],
        "refunds": [],
        "coupon_lines": [],
    } | changes


def encoded(**changes: Any) -> bytes:
    return json.dumps(order(**changes)).encode()


@pytest.fixture
async def store(pool: asyncpg.Pool, vault: Vault) -> CreatedStore:
    async with pool.acquire() as connection:
        return await create_store(connection, vault, url="https://shop.example", name="Shop")


@pytest.fixture
def settings(database_url: str, amqp_url: str, secret_keys: str, name_prefix: str) -> ApiSettings:
    return ApiSettings(
        database_url=database_url, amqp_url=amqp_url, secret_keys=secret_keys, name_prefix=name_prefix, pool_size=4
    )


@pytest.fixture
async def api(settings: ApiSettings, store: CreatedStore) -> AsyncIterator[ApiClient]:
    async with serving(settings, store) as client:
        yield client


async def rows(pool: asyncpg.Pool) -> tuple[int, int]:
    """Stored inputs, and known deliveries."""
    return await pool.fetchval("SELECT count(*) FROM api.raw_input"), await pool.fetchval(
        "SELECT count(*) FROM api.input_seen"
    )


async def next_fact(amqp_url: str, prefix: str) -> Fact:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        queue = await channel.get_queue(f"{prefix}scorer.facts")
        async with queue.iterator(timeout=30) as messages:
            async for message in messages:
                await message.ack()
                return Fact.model_validate_json(message.body)
    raise AssertionError("unreachable: the iterator raises when its time is up")


async def test_an_order_is_answered_202_with_the_id_of_the_fact_that_the_scorer_gets(
    api: ApiClient, pool: asyncpg.Pool, amqp_url: str, name_prefix: str
) -> None:
    answer = await api.deliver(encoded())

    assert (answer.status, answer.json["status"]) == (202, "accepted")
    fact = await next_fact(amqp_url, name_prefix)
    assert str(fact.id) == answer.json["id"]
    assert fact.store_id == api.store.id
    assert fact.data.email == "jane@example.com"
    assert fact.data.item_count == 3
    stored = await pool.fetchrow("SELECT id, store_id, source, topic, body FROM api.raw_input")
    assert tuple(stored) == (fact.id, api.store.id, "woocommerce", "order.updated", encoded())
