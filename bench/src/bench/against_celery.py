"""The dispatcher beside Celery with requests, by turns: the same signed posts from RabbitMQ to the same receiver."""

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from uuid import uuid4

import aio_pika

from bench import dispatch, dispatching, stack
from bench.bare_posts import Post
from bench.dispatching import SETTLE_SECONDS, ReceiverProcess
from bench.metrics import cpu_seconds
from bench.progress import counted
from bench.receiver import Told
from bench.report import Bound, Figure, Result
from bench.stack import FOLDER, Site
from local_stack.errors import StackError

TWIN = Path(__file__).parent / "celery_twin"
VENV = FOLDER.path.parent / "celery"
NEEDED = ("celery>=5.5", "requests>=2.32")
PROCESSES = 8
"""Of Celery's worker, on the dispatcher's core. More make no more posts: they have to wait for the core."""
RATIO = Bound("at least", 4)
NONE = Bound("at most", 0)


@dataclass(frozen=True, slots=True)
class Run:
    """One way through a full queue, as the receiver saw it."""

    posts: int
    rate: float
    micros: float
    """Of processor time a post, starting included."""

    @classmethod
    def of(cls, told: Told, processor: float) -> "Run":
        """
        Raises:
            StackError: nothing came.
        """
        at = sorted(told.at.values())
        if not at:
            raise StackError("Nothing was posted.")
        return cls(len(at), (len(at) - 1) / max(at[-1] - at[0], 1e-9), 1e6 * processor / len(at))


async def measure(site: Site, *, count: int, rounds: int) -> Result:
    await asyncio.to_thread(_install)
    ours, theirs = [], []
    for number in range(1, rounds + 1):
        async with stack.track(site) as track, dispatching.receiving(site) as receiver:
            subscribers = await dispatching.subscribers(track, receiver.urls(dispatch.ENDPOINTS))
            turns = [subscribers[nth % len(subscribers)] for nth in range(count)]
            events = dispatching.events(turns)
            await stack.fill(track, dispatching.outgoing(events))
            with counted(f"dispatcher {number}/{rounds}", count) as show:
                async with dispatching.dispatcher(track) as dispatcher:
                    await dispatcher.recorded(count, show)
                    ours.append(Run.of(await receiver.told(), cpu_seconds(dispatcher.pid)))
        async with dispatching.receiving(site) as receiver:
            posts = list(map(dispatch.bare_post, turns, events))
            with counted(f"Celery {number}/{rounds}", count):
                theirs.append(await _celery(site, receiver, posts))
    return _result(ours, theirs, count)


def _install() -> None:
    """Celery and what it needs, where nothing of ours is.

    Raises:
        StackError: they cannot be had.
    """
    python = VENV / "bin" / "python"
    if (VENV / "bin" / "celery").exists():
        return
    with counted("Installing Celery", 1):
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)  # noqa: S603  # our own words
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *NEEDED]
        if subprocess.run(command, check=False).returncode:  # noqa: S603  # likewise
            raise StackError("Celery cannot be installed: leave the scenario `celery` out where there is no index.")


async def _celery(site: Site, receiver: ReceiverProcess, posts: Sequence[Post]) -> Run:
    queue = f"bench{uuid4().hex[:8]}"
    environment = {**os.environ, "CELERY_AMQP_URL": site.stack.amqp_url, "CELERY_QUEUE": queue}
    await _fill(environment, posts)
    try:
        async with _worker(site, environment, queue) as worker:
            told = await _all_came(receiver, worker, len(posts))
            return Run.of(told, cpu_seconds(worker.pid))
    finally:
        await _forget(site, queue)


async def _forget(site: Site, queue: str) -> None:
    """Celery makes an exchange of the same name."""
    async with await aio_pika.connect(site.stack.amqp_url) as connection, connection.channel() as channel:
        await channel.queue_delete(queue)
        await channel.exchange_delete(queue)


async def _fill(environment: Mapping[str, str], posts: Sequence[Post]) -> None:
    process = await asyncio.create_subprocess_exec(
        VENV / "bin" / "python", "posts.py", cwd=TWIN, env=environment, stdin=PIPE
    )
    await process.communicate("".join(json.dumps(asdict(post)) + "\n" for post in posts).encode())
    if process.returncode:
        raise StackError("Celery's tasks could not be sent.")


@asynccontextmanager
async def _worker(site: Site, environment: Mapping[str, str], queue: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """As Celery starts it by default, on the dispatcher's core."""
    options = ("--concurrency", str(PROCESSES), "--queues", queue, "--loglevel", "ERROR")
    process = await asyncio.create_subprocess_exec(
        *(VENV / "bin" / "celery", "--app", "posts", "worker", *options),
        cwd=TWIN,
        env=environment,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=STDOUT,
    )
    os.sched_setaffinity(process.pid, {site.scorer_core})  # before it forks
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def _all_came(receiver: ReceiverProcess, worker: asyncio.subprocess.Process, count: int) -> Told:
    """Once all did, or none has for SETTLE_SECONDS."""
    told, idle = await receiver.told(), 0.0
    while len(told.at) < count and idle < SETTLE_SECONDS and worker.returncode is None:
        await asyncio.sleep(stack.LOOK_SECONDS)
        latest = await receiver.told()
        idle = idle + stack.LOOK_SECONDS if len(latest.at) == len(told.at) else 0.0
        told = latest
    return told


def _result(ours: Sequence[Run], theirs: Sequence[Run], count: int) -> Result:
    rate, their_rate = median(run.rate for run in ours), median(run.rate for run in theirs)
    return Result(
        "celery",
        [
            Figure("dispatcher", rate, "deliveries/s"),
            Figure("processor of the dispatcher", median(run.micros for run in ours), "µs/delivery"),
            Figure("Celery with requests", their_rate, "posts/s"),
            Figure("processor of Celery", median(run.micros for run in theirs), "µs/post"),
            Figure("ratio to Celery", rate / their_rate, "times", RATIO),
            Figure("not received", sum(count - run.posts for run in (*ours, *theirs)), "posts", NONE),
        ],
        series={"deliveries/s": [run.rate for run in ours], "Celery, posts/s": [run.rate for run in theirs]},
    )
