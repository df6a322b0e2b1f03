"""`python -m bench.receiver PORT`: answers webhooks with 200 at once and notes them, or does not.

A process of its own, so that what receiving costs is not counted as sending. Paths that begin with /hang/ are read
and never answered, with /fail/ answered 500, with /busy/ 429. `GET /told` says what came.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

import uvloop
from aiohttp import web

HOOK = "/hook/"
HANG = "/hang/"
FAIL = "/fail/"
BUSY = "/busy/"
BUSY_SECONDS = 1
"""What its Retry-After says."""
TOLD = "/told"


@dataclass(slots=True)
class Told:
    """What came since the start."""

    requests: int = 0
    """Those that were answered, whatever they brought."""
    at: dict[UUID, float] = field(default_factory=dict)
    """Delivery → when the first request with it had come whole, by time.monotonic(), which all processes share."""

    def note(self, delivery: str, now: float) -> None:
        self.requests += 1
        self.at.setdefault(UUID(delivery), now)

    def encode(self) -> str:
        return json.dumps({"requests": self.requests, "at": {str(one): at for one, at in self.at.items()}})

    @classmethod
    def parse(cls, text: str) -> Self:
        told = json.loads(text)
        return cls(told["requests"], {UUID(one): at for one, at in told["at"].items()})

    @property
    def repeated(self) -> int:
        """Requests that brought what had come before."""
        return self.requests - len(self.at)

    def waits(self, sent: Mapping[UUID, float]) -> list[float]:
        """Seconds from the sending of each delivery to its first request; without those that did not come."""
        return [self.at[one] - at for one, at in sent.items() if one in self.at]


def handler(told: Told) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == TOLD:
            return web.Response(text=told.encode())
        await request.read()
        if request.path.startswith(HANG):
            await asyncio.Event().wait()
        if request.path.startswith(FAIL):
            return web.Response(status=500)
        if request.path.startswith(BUSY):
            return web.Response(status=429, headers={"Retry-After": str(BUSY_SECONDS)})
        told.note(request.headers["X-TrustLens-Delivery"], time.monotonic())
        return web.Response()

    return answer


async def serve(port: int) -> None:
    """Until the process is ended."""
    server = web.Server(handler(Told()), handler_cancellation=True)  # who hangs up is not waited for
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
