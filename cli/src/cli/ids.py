"""Ids as people give them: whole, or as much of the beginning as they have before them; rules by their names too."""

import re
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from cli import api
from cli.api import Api, ApiError
from cli.explanation import plain

T = TypeVar("T")

_BEGINNING = re.compile(r"[0-9a-fA-F]{8}[0-9a-fA-F-]*")
NAMED = 5
"""How many are named where several begin so."""
MAX_RULES = 1000
"""As many as a store may have."""


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


async def rule_id(api: Api, given: str) -> UUID:
    """The one rule of this id, whose id begins so, or whose name this is, or has this in it.

    Raises:
        ApiError: there is none, or there are several.
    """
    if _BEGINNING.fullmatch(given):
        return await whole(api, "/rules", given)
    found = await api.collect("/rules", limit=MAX_RULES, search=given)
    named = [rule for rule in found if rule["name"].casefold() == given.casefold()] or found
    match named:
        case [one]:
            return UUID(one["id"])
        case []:
            raise ApiError(f"No rule is called {plain(given)}: `trustlens rules list` shows those there are.")
        case several:
            more = ", …" if len(several) > NAMED else ""
            told = ", ".join(f"{plain(rule['name'])} ({rule['id']})" for rule in several[:NAMED])
            raise ApiError(f"Several rules are called like {plain(given)}, give the id of one: {told}{more}")
