"""Ids as people give them: whole, or as much of the beginning as they have before them."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from cli import api
from cli.api import Api, ApiError
from cli.explanation import plain

T = TypeVar("T")

NAMED = 5
"""How many are named where several begin so."""


def run_on(path: str, given: str, work: Callable[[Api, UUID], Awaitable[T]]) -> T:
    """What `work` returns, done with the thing of the API's list at `path` that is meant."""

    async def found(api: Api) -> T:
        return await work(api, await whole(api, path, given))

    return api.run(found)


async def whole(api: Api, path: str, given: str) -> UUID:
    """The one id of the API's list at `path` that begins so. Of a whole one nothing is asked.

    Raises:
        ApiError: it is too short, none begins so, or several do.
    """
    try:
        return UUID(given)
    except ValueError:
        answer = await api.get(path, id=given, per_page=str(NAMED + 1))
    begin = given.replace("-", "").lower()
    # An API that is older than this command answers with what it has, whatever it begins with.
    match [found for one in answer if (found := UUID(one["id"])).hex.startswith(begin)]:
        case [found]:
            return found
        case []:
            raise ApiError(f"No id begins with {plain(given)}: `trustlens {path[1:]} list` shows those there are.")
        case several:
            more = ", …" if len(several) > NAMED else ""
            named = ", ".join(map(str, several[:NAMED]))
            raise ApiError(f"Several ids begin with {plain(given)}, give more of one: {named}{more}")
