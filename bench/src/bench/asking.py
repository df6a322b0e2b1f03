"""The api as the real service, and somebody who asks it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from api.stores import create_key
from bench import stack
from bench.stack import Track
from local_stack.errors import StackError
from local_stack.services import STOP_SIGNALS

BASE = "/wp-json/trustlens/v1"


@dataclass(frozen=True, slots=True)
class Client:
    """With a key of the first shop, on one connection."""

    session: aiohttp.ClientSession

    async def get(self, path: str) -> float:
        """Seconds until the whole answer was there.

        Raises:
            StackError: it is none.
        """
        began = time.perf_counter()
        async with self.session.get(BASE + path) as answer:
            text = await answer.text()
        if answer.status != 200:
            raise StackError(f"The api answers {answer.status} to {path}: {text[:200]}")
        return time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class ApiProcess:
    """The service, running."""

    url: str
    key: str
    """Of the first shop; it may read."""
    pid: int


@asynccontextmanager
async def client(track: Track) -> AsyncIterator[Client]:
    async with (
        api(track) as served,
        aiohttp.ClientSession(served.url, headers={"X-TrustLens-API-Key": served.key}) as session,
    ):
        yield Client(session)


@asynccontextmanager
async def api(track: Track) -> AsyncIterator[ApiProcess]:
    """`python -m api` on this track, on a core of its own; ready."""
    async with stack.connected(track) as pool, pool.acquire() as connection:
        shop = track.site.shops[0]
        key = (await create_key(connection, shop.id, name="bench", scopes=["read"])).key
    service = stack.service_process(track.site.stack.folder, "api")
    since = service.launch(stack.environment(track))
    pid = service.process.pid()
    if pid is None:
        raise StackError(f"The api did not start:\n{service.process.last_lines(since)}")
    os.sched_setaffinity(pid, {track.site.scorer_core})  # before it has threads
    try:
        await asyncio.to_thread(service.wait_ready, since)
        yield ApiProcess(service.url, key, pid)
    finally:
        await asyncio.to_thread(service.process.stop, STOP_SIGNALS)
