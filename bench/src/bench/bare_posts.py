"""`python -m bench.bare_posts CORE AT_ONCE`: the same posts by aiohttp alone; what no dispatcher could go below here.

Reads a line of JSON for each post; signs and posts them, at most AT_ONCE at a time to each URL, on one core; prints
what that took. Nothing is looked up, checked, decided, kept or told.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
import uvloop

from shared.signing import sign


@dataclass(frozen=True, slots=True)
class Post:
    url: str
    secret: str
    headers: dict[str, str]
    """All but those that are made afresh for each attempt."""
    body: str

    @classmethod
    def parse(cls, line: str) -> "Post":
        told: dict[str, Any] = json.loads(line)
        return cls(**told)


@dataclass(frozen=True, slots=True)
class Took:
    """What so many posts took, from the first to the last answer's end."""

    posts: int
    seconds: float
    processor: float
    """Seconds of this process's own."""

    @property
    def rate(self) -> float:
        return self.posts / self.seconds

    @property
    def micros(self) -> float:
        return 1e6 * self.processor / self.posts


async def post_all(posts: Sequence[Post], *, at_once: int) -> Took:
    lanes: defaultdict[str, deque[Post]] = defaultdict(deque)
    for post in posts:
        lanes[post.url].append(post)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began, used = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for lane in lanes.values():
                for _ in range(at_once):
                    group.create_task(_post_from(session, lane))
        return Took(len(posts), time.perf_counter() - began, time.process_time() - used)


async def _post_from(session: aiohttp.ClientSession, lane: deque[Post]) -> None:
    while lane:
        post = lane.popleft()
        timestamp, body = int(time.time()), post.body.encode()
        fresh = {"X-TrustLens-Timestamp": str(timestamp), "X-TrustLens-Signature": sign(post.secret, timestamp, body)}
        async with session.post(post.url, data=body, headers=post.headers | fresh) as answer:
            answer.raise_for_status()
            await answer.read()


def run(core: int, at_once: int) -> None:
    os.sched_setaffinity(0, {core})
    posts = [Post.parse(line) for line in sys.stdin]
    gc.collect()
    gc.disable()  # a service collects seldom, too
    print(json.dumps(asdict(uvloop.run(post_all(posts, at_once=at_once)))))  # noqa: T201  # whoever started this reads it


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]))
