"""What tests of several folders share: a real Postgres and a real RabbitMQ, started when a test first asks."""

import os
import time
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import aio_pika
import asyncpg
import pytest
from cryptography.fernet import Fernet

from local_stack.stack import Stack
from shared import db, topology
from shared.secrets import Vault
from support import servers


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with servers.guarded_stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def postgres(stack: Stack) -> Stack:
    """The stack with its Postgres running and migrated."""
    stack.postgres.start()
    stack.migrate()
    return stack


@pytest.fixture(scope="session")
def amqp_url(stack: Stack) -> str:
    """Shared by all tests: take `name_prefix` for exchanges and queues."""
    stack.rabbitmq.launch()
    stack.rabbitmq.wait_ready()
    return stack.rabbitmq.url


@pytest.fixture
async def database_url(postgres: Stack) -> AsyncIterator[str]:
    """A database of the test's own, with all tables and no rows."""
    async with servers.copied_database(postgres) as url:
        yield url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """As a service has it, on the test's own database."""
    pool = await db.connect(database_url, size=10, application="tests")
    yield pool
    # What a test left open must not hold up the end: the database goes anyway.
    pool.terminate()


@pytest.fixture
async def name_prefix(amqp_url: str) -> AsyncIterator[str]:
    """Unique to the test; what the topology made under it is deleted afterwards."""
    prefix = f"t{uuid4().hex[:12]}."
    yield prefix
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        for queue in topology.QUEUES:
            await channel.queue_delete(prefix + queue.name)
            await channel.queue_delete(prefix + topology.dead(queue.name))


@pytest.fixture(scope="session")
def secret_keys() -> str:
    return Fernet.generate_key().decode()


@pytest.fixture(scope="session")
def vault(secret_keys: str) -> Vault:
    return Vault(secret_keys)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Here and not in the Makefile, so that pytest's own summary stays the last line.
    if began := os.environ.get("TRUSTLENS_MAKE_BEGAN"):
        terminalreporter.write_line(f"make test took {time.time() - float(began):.0f} s in all.")
