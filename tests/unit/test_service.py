"""What a service's process asks of its system."""

import asyncio
import json
import os
import resource
import sys
from collections.abc import Iterator

import pytest

from shared.service import _cancel, _open_many

NOWHERE = {
    "TRUSTLENS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "TRUSTLENS_AMQP_URL": "amqp://nobody@127.0.0.1:1/",
    "TRUSTLENS_SECRET_KEYS": "k" * 43 + "=",
}


@pytest.fixture
def limit() -> Iterator[tuple[int, int]]:
    """Of open files: ours, and the system's for us."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_service_may_open_as_many_connections_as_its_system_lets_it(limit: tuple[int, int]) -> None:
    _, most = limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    _open_many()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)


async def test_a_task_whose_library_keeps_a_cancellation_to_itself_ends_all_the_same() -> None:
    answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def connect_then_stay() -> None:
        await asyncio.wait_for(answered, 60)
        await asyncio.Event().wait()

    task = asyncio.create_task(connect_then_stay())
    await asyncio.sleep(0)
    answered.set_result("connected")  # in the same moment as the cancellation: before 3.12, wait_for returns it

    await _cancel({task})

    assert task.done()


async def test_who_waits_for_postgres_ends_when_it_is_told_to() -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scorer", env=os.environ | NOWHERE, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout
    events = []
    async for line in program.stdout:
        events.append(json.loads(line)["event"])
        if events[-1] == "db.waiting" and events.count("db.waiting") == 1:
            program.terminate()
    assert await program.wait() == 0
    assert events[-1] == "service.stopped"
