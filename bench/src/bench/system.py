"""All four services at once, on all cores with their servers: one shop with an endpoint and a rule."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import aiohttp

from api.scopes import Scope
from api.stores import create_key
from bench import dispatching, metrics, stack
from bench.asking import BASE
from bench.custom import LARGE
from bench.dispatching import REACH, ReceiverProcess
from bench.metrics import Reading
from bench.stack import Site, Track
from local_stack.errors import StackError
from local_stack.services import STOP_SIGNALS, ServiceProcess

SERVICES = ("api", "scorer", "rule-engine", "dispatcher")
RULE = {
    "name": "Tell of large orders",
    "trigger": "order_placed",
    "conditions": {"field": "order.total", "operator": ">=", "value": LARGE},
    "hourly_limit": 1_000_000,
}


@dataclass(frozen=True, slots=True)
class System:
    """Running."""

    track: Track
    receiver: ReceiverProcess
    services: Mapping[str, ServiceProcess]
    key: str = ""
    """Of the first shop; it may do everything."""

    @property
    def pids(self) -> dict[str, int]:
        """Of the services.

        Raises:
            StackError: one has ended.
        """
        found = {name: service.process.pid() for name, service in self.services.items()}
        for name, pid in found.items():
            if pid is None:
                raise StackError(f"{name} ended:\n{self.services[name].process.last_lines()}")
        return {name: pid for name, pid in found.items() if pid}

    async def read(self, name: str) -> Reading:
        """What a service tells of itself."""
        return await asyncio.to_thread(metrics.read, self.services[name].url)

    def processors(self) -> dict[str, float]:
        """Seconds that each has used: services, servers, who posts and who receives."""
        servers = self.track.site.stack
        others = {
            "Postgres": servers.postgres.process.pid(),
            "RabbitMQ": servers.rabbitmq.process.pid(),
            "the receiver": self.receiver.process.pid(),
        }
        used = {name: metrics.cpu_seconds(pid) for name, pid in {**self.pids, **others}.items() if pid}
        return used | {"the bench": sum(os.times()[:2])}


@asynccontextmanager
async def system(site: Site, *also: str, **settings: str) -> AsyncIterator[System]:
    """Ready, with an endpoint on the default events and a rule. `also`: more services; `settings`: more variables."""
    with all_cores(site):
        async with (
            stack.track(site) as track,
            dispatching.receiving(site) as receiver,
            _services(track, (*SERVICES, *also), settings) as services,
        ):
            key = await _key(track)
            await _set_up(services["api"].url, key, receiver)
            yield System(track, receiver, services, key)


@contextmanager
def all_cores(site: Site) -> Iterator[None]:
    """Servers, this process and all that it starts may use every core."""
    _move(site, site.other_cores | {site.scorer_core})
    try:
        yield
    finally:
        _move(site, site.other_cores)


def _move(site: Site, cores: frozenset[int]) -> None:
    roots = (os.getpid(), site.stack.postgres.process.pid(), site.stack.rabbitmq.process.pid())
    for pid in (one for root in roots if root for one in metrics.family(root)):
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(ProcessLookupError):  # it may end meanwhile
                os.sched_setaffinity(int(thread.name), cores)


@asynccontextmanager
async def _services(
    track: Track, names: tuple[str, ...], settings: Mapping[str, str]
) -> AsyncIterator[Mapping[str, ServiceProcess]]:
    reach = {
        "TRUSTLENS_ALLOW_HTTP": str(REACH.allow_http),
        "TRUSTLENS_ALLOWED_TARGETS": ",".join(map(str, REACH.allowed)),
    }
    services = {name: stack.service_process(track.site.stack.folder, name) for name in names}
    async with AsyncExitStack() as ending:
        for service in services.values():
            ending.push_async_callback(asyncio.to_thread, service.process.stop, STOP_SIGNALS)
        since = {name: s.launch(stack.environment(track) | reach | dict(settings)) for name, s in services.items()}
        for name, service in services.items():
            await asyncio.to_thread(service.wait_ready, since[name])
        yield services


async def _key(track: Track) -> str:
    async with stack.connected(track) as pool, pool.acquire() as connection:
        shop = track.site.shops[0]
        return (await create_key(connection, shop.id, name="bench", scopes=list(get_args(Scope)))).key


async def _set_up(api: str, key: str, receiver: ReceiverProcess) -> None:
    endpoint, rules = receiver.urls(2)
    action = {"type": "send_webhook", "url": rules, "secret": dispatching.SECRET}
    async with aiohttp.ClientSession(headers={"X-TrustLens-API-Key": key}) as session:
        await _create(session, f"{api}{BASE}/webhooks", {"url": endpoint, "secret": dispatching.SECRET})
        await _create(session, f"{api}{BASE}/rules", {**RULE, "actions": [action]})


async def _create(session: aiohttp.ClientSession, url: str, what: Mapping[str, Any]) -> None:
    async with session.post(url, json=what) as answer:
        if answer.status != 201:
            raise StackError(f"POST {url}: {answer.status} {await answer.text()}")
