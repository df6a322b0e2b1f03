"""A running connection to RabbitMQ, waiting for what becomes true, and the api in this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore, create_store
from shared.broker import Broker
from shared.secrets import Vault
from support import dispatcher_shop
from support.api_client import ApiClient, serving
from support.dispatcher_shop import Shop
from support.dispatching import Receiver

Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
async def broker(amqp_url: str, name_prefix: str) -> AsyncIterator[Broker]:
    """Connected, with its topology declared, until the test ends."""
    broker = Broker(amqp_url, service="tests", prefix=name_prefix)
    running = asyncio.create_task(broker.run())
    await broker._up.wait()
    yield broker
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def until() -> Until:
    """Look again and again, until it is so; pytest's timeout ends it otherwise."""

    async def wait(true: Callable[[], Awaitable[bool]]) -> None:
        while not await true():  # noqa: ASYNC110  # a table or a queue has no event to wait for
            await asyncio.sleep(0.02)

    return wait


@pytest.fixture
async def api_store(pool: asyncpg.Pool, vault: Vault) -> CreatedStore:
    async with pool.acquire() as connection:
        return await create_store(connection, vault, url="https://shop.example", name="Shop")


@pytest.fixture
def api_settings(database_url: str, amqp_url: str, secret_keys: str, name_prefix: str) -> ApiSettings:
    return ApiSettings(
        database_url=database_url, amqp_url=amqp_url, secret_keys=secret_keys, name_prefix=name_prefix, pool_size=4
    )


@pytest.fixture
async def api(api_settings: ApiSettings, api_store: CreatedStore) -> AsyncIterator[ApiClient]:
    async with serving(api_settings, api_store) as client:
        yield client


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> AsyncIterator[Shop]:
    """A store as the dispatcher's tests need one: endpoints, rule targets, a receiver of its own."""
    async with dispatcher_shop.opened(pool, vault) as shop:
        yield shop


@pytest.fixture
def receiver(shop: Shop) -> Receiver:
    return shop.receiver
