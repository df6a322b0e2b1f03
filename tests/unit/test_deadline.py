"""Our deadline ends as asyncio's own does, whatever happens with it at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from dispatcher.send import _Deadline

Within = Callable[[float], AbstractAsyncContextManager[object]]
NEVER = 3600.0


@asynccontextmanager
async def ours(seconds: float) -> AsyncIterator[None]:
    with _Deadline(seconds):
        yield


both = pytest.mark.parametrize("within", [ours, asyncio.timeout], ids=["ours", "asyncio"])


async def for_ever() -> None:
    await asyncio.Event().wait()


@both
async def test_what_takes_too_long_is_late_and_its_task_goes_on(within: Within) -> None:
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with within(0):
                await for_ever()
    task = asyncio.current_task()
    assert task
    assert not task.cancelling()


@both
async def test_what_is_done_in_time_is_not_late_afterwards(within: Within) -> None:
    async with within(0):
        pass
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@both
@pytest.mark.parametrize(("outer", "inner", "late"), [(0, NEVER, "outer"), (NEVER, 0, "inner"), (0, 0, "outer")])
@pytest.mark.parametrize("other", [ours, asyncio.timeout], ids=["in ours", "in asyncio's"])
async def test_of_two_deadlines_the_one_that_passed_is_told_and_the_outer_if_both_did(
    within: Within, other: Within, outer: float, inner: float, late: str
) -> None:
    told = "neither"
    try:
        async with other(outer):
            try:
                async with within(inner):
                    await for_ever()
            except TimeoutError:
                told = "inner"
    except TimeoutError:
        told = "outer"
    assert told == late


@both
@pytest.mark.parametrize("first", ["the deadline", "somebody"])
async def test_who_is_cancelled_as_the_deadline_passes_is_cancelled(within: Within, first: str) -> None:
    async def wait() -> None:
        async with within(0):
            if first == "the deadline":
                asyncio.get_running_loop().call_later(0, waiting.cancel)
            await for_ever()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    if first == "somebody":
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@both
async def test_another_error_that_comes_with_the_deadline_is_the_one_told(within: Within) -> None:
    async def fail() -> None:
        async with within(0):
            try:
                await for_ever()
            finally:
                raise ValueError("told")

    with pytest.raises(ValueError, match="told"):
        await fail()
