"""The audit log: who changed what, and who read what is personal; from where, when, and what came of it.

The entry is committed before anything is done, its status after the answer is known: nothing is done that the log does
not name. An entry whose status stays empty was begun, and nobody knows whether it was done: this process died.
"""

import json
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from aiohttp import web

from api.proxies import caller_address
from api.routes import BASE
from api.state import STATE
from api.store import audit as store
from api.store.audit import Entry
from api.stores import Key
from api.values import thing
from shared.db import Pool, is_transient
from shared.ids import uuid7

log = structlog.get_logger()

ENTRY: web.RequestKey[UUID] = web.RequestKey("audit", UUID)


async def begin(request: web.Request, key: Key, *things: str) -> None:
    """Once per request; to be called before what it does is done, and before what is personal is read.

    `things`: ids and hashes that the path does not name.
    """
    if ENTRY in request:
        return
    state = request.app[STATE]
    entry = Entry(
        id=uuid7(),
        store_id=key.store_id,
        at=datetime.now(UTC),
        actor=f"key:{key.prefix}",
        action=_action(request),
        objects=_things([*request.match_info.values(), *things]),
        key_id=key.id,
        key_name=key.name,
        address=caller_address(request.remote, request.headers.getall("X-Forwarded-For", []), state.trusted_proxies),
    )
    await store.begin(state.pool, entry)
    request[ENTRY] = entry.id


def _action(request: web.Request) -> str:
    """Method and route, the path's variables by their names."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical.removeprefix(BASE) if resource else ''}"


def _things(values: Iterable[str]) -> list[str]:
    """Whatever else a caller wrote into a path, an address say, is nothing to keep."""
    return list(dict.fromkeys(filter(None, map(thing, values))))


@web.middleware
async def completed(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Outside of whatever makes answers of errors: it tells the status that the caller is told."""
    response = await handler(request)
    if ENTRY in request:
        await _complete(request, response)
    return response


async def _complete(request: web.Request, response: web.StreamResponse) -> None:
    """Best effort: what was done is done, and its entry is there."""
    try:
        await store.complete(
            request.app[STATE].pool, request[ENTRY], status=response.status, made=_made(request, response)
        )
    except Exception as error:
        if not is_transient(error):
            raise
        log.warning("audit.not_completed", entry=str(request[ENTRY]), status=response.status)


def _made(request: web.Request, response: web.StreamResponse) -> list[str]:
    """The id of what a POST made, as its answer tells it."""
    if request.method != "POST" or response.status not in {201, 202} or not isinstance(response, web.Response):
        return []
    answer = json.loads(response.text or "null")
    told = [answer.get("id"), answer.get("job_id")] if isinstance(answer, dict) else []
    known = _things(request.match_info.values())
    return [made for made in _things(filter(None, map(_text, told))) if made not in known]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def forget(pool: Pool, days: int) -> None:
    """Entries this old are kept no more."""
    await store.forget(pool, datetime.now(UTC) - timedelta(days=days))
