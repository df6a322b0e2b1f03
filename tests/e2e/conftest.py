"""The whole system as processes, once for all end-to-end tests."""

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial

import asyncpg
import pytest

from api.stores import create_store
from cli.stack_env import parse
from local_stack.stack import Stack
from shared.secrets import Vault
from support import rule_world, servers
from support.rule_world import World


@pytest.fixture(scope="session")
def stack_up() -> Iterator[Stack]:
    """Rule webhooks are retried after one second, a killed dispatcher's leases run out after twenty, and what a store
    has not told at once counts as missed.
    """
    quick = {"RETRY_DELAYS": "1,1,1", "LEASE_SECONDS": "20", "GAP_SECONDS": "0", "SYNC_RATE": "100"}
    with servers.guarded_stack(**{f"TRUSTLENS_{name}": value for name, value in quick.items()}) as stack:
        stack.up()
        yield stack


async def with_store(stack: Stack, url: str) -> Mapping[str, str]:
    """The values of its stack.env, with a store that is the test's own."""
    values = parse(stack.folder.stack_env.read_text(encoding="utf-8"))
    connection = await asyncpg.connect(values["TRUSTLENS_DATABASE_URL"])
    vault = Vault(values["TRUSTLENS_SECRET_KEYS"])
    store = await create_store(connection, vault, url=url, name="Shop")
    await connection.close()
    return values | {
        "TRUSTLENS_STORE_ID": str(store.id),
        "TRUSTLENS_API_KEY": store.api_key,
        "TRUSTLENS_WOOCOMMERCE_SECRET": store.woocommerce_secret,
    }


@pytest.fixture
async def road(stack_up: Stack) -> Mapping[str, str]:
    return await with_store(stack_up, "https://shop.example")


@pytest.fixture
async def world(stack_up: Stack) -> AsyncIterator[World]:
    """A shop of its own, whose webhooks come in and whose orders rules may change."""
    async with rule_world.opened(partial(with_store, stack_up)) as world:
        yield world


@pytest.fixture
async def other_world(stack_up: Stack) -> AsyncIterator[World]:
    """Another one, beside it."""
    async with rule_world.opened(partial(with_store, stack_up)) as world:
        yield world
