"""Servers and services for one run: two processes of each service, which reach servers and receivers by proxies."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.faults import proxy
from bench.faults.chaos import REPLICAS
from bench.faults.proxy import Proxy
from bench.faults.replica import Replica
from cli import progress
from local_stack import passwords, ports, stack_env
from local_stack.errors import StackError
from local_stack.folder import CHECKOUT, Folder
from local_stack.process import Process, stop_all
from local_stack.services import SERVICES, STOP_SIGNALS
from local_stack.stack import Stack

FOLDER = Folder(CHECKOUT / ".local" / "bench" / "faults" / "stack")
READY_SECONDS = 180.0
"""Eight processes on two cores, which others may use too."""
LOOK_SECONDS = 0.5
SETTINGS = {
    "TRUSTLENS_HOST": "127.0.0.1",
    "TRUSTLENS_ALLOW_HTTP": "true",
    "TRUSTLENS_ALLOWED_TARGETS": "127.0.0.0/8",
    "TRUSTLENS_LOG_FORMAT": "json",
    "TRUSTLENS_RETRY_DELAYS": "10,20,40",
}
"""What is not as by default: retries come sooner, so that a run ends soon. The breaker's probes are as always."""
PROXIES = ("database-proxy", "broker-proxy", "receiver-proxy", "receiver")


@dataclass(frozen=True, slots=True)
class Site:
    stack: Stack
    replicas: Mapping[str, Replica]
    database: Proxy
    broker: Proxy
    receiver: Proxy
    receiver_port: int
    """Where a receiver must listen to be reached by its proxy."""
    receiver_url: str
    """By way of the proxy."""
    store: Mapping[str, str]
    """Its id, key and secrets, as stack.env names them."""

    def of(self, service: str) -> list[Replica]:
        """Both."""
        return [self.replicas[f"{service}-{number}"] for number in (1, 2)]


@contextmanager
def servers(folder: Folder = FOLDER, **settings: str) -> Iterator[Stack]:
    """A Postgres and a RabbitMQ with nothing in them but a store. What a run leaves is there until the next one.

    `settings`: more variables for the services.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRUSTLENS_")}
    stack = Stack(folder, environ=environ | settings, services=())
    try:
        _end(stack)  # what a run that was killed left running
        for old in (folder.postgres, folder.rabbitmq, folder.logs):
            shutil.rmtree(old, ignore_errors=True)
        stack.up(progress.step)
        yield stack
    finally:
        _end(stack)


def _end(stack: Stack) -> None:
    stop_all([Process(name, stack.folder) for name in REPLICAS], STOP_SIGNALS)
    stack.down()


@asynccontextmanager
async def site(stack: Stack) -> AsyncIterator[Site]:
    """With all services ready."""
    taken = ports.remembered(stack.folder, [*REPLICAS, *PROXIES])
    replicas = _replicas(stack, taken)
    async with (
        proxy.running(taken["database-proxy"], stack.postgres.port) as database,
        proxy.running(taken["broker-proxy"], stack.rabbitmq.amqp_port) as broker,
        proxy.running(taken["receiver-proxy"], taken["receiver"]) as receiver,
    ):
        try:
            for replica in replicas.values():
                replica.start()
            await until_ready(replicas.values())
            url = f"http://127.0.0.1:{taken['receiver-proxy']}"
            store = stack_env.read(stack.folder)
            yield Site(stack, replicas, database, broker, receiver, taken["receiver"], url, store)
        finally:
            await asyncio.to_thread(stop_all, [replica.service.process for replica in replicas.values()], STOP_SIGNALS)


def _replicas(stack: Stack, taken: Mapping[str, int]) -> dict[str, Replica]:
    environment = {
        **stack.environ,
        **SETTINGS,
        "TRUSTLENS_DATABASE_URL": _by_way_of(taken["database-proxy"], stack.database_url),
        "TRUSTLENS_AMQP_URL": _by_way_of(taken["broker-proxy"], stack.amqp_url),
        "TRUSTLENS_SECRET_KEYS": passwords.kept(stack.folder).secret_key,
    }
    modules = {f"{service.name}-{number}": service.module for service in SERVICES for number in (1, 2)}
    return {name: Replica.of(name, modules[name], stack.folder, taken[name], environment) for name in REPLICAS}


def _by_way_of(port: int, url: str) -> str:
    server = urlsplit(url)
    return server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}").geturl()


async def until_ready(replicas: Iterable[Replica]) -> None:
    """
    Raises:
        StackError: some are not, after READY_SECONDS, or have ended.
    """
    deadline, waiting = time.monotonic() + READY_SECONDS, list(replicas)
    while waiting := [replica for replica in waiting if not await replica.ready()]:
        if time.monotonic() > deadline or any(replica.ended() is not None for replica in waiting):
            raise StackError("\n".join(f"{r.name} is not ready:\n{r.service.process.last_lines()}" for r in waiting))
        await asyncio.sleep(LOOK_SECONDS)
