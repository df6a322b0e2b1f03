"""/dead: messages that no service could process, over all queues, and their way back."""

from collections.abc import Sequence
from typing import Any

import structlog
from aiohttp import web

from api import audit, dead
from api.auth import needs
from api.dead import QUEUE_NAMES, DeadMessage
from api.errors import ApiError
from api.operations import Operation
from api.pages import as_page
from api.requests import query, read_nothing
from api.responses import as_json
from api.schemas import DeadLetter, DeadLetterShown, DeadListing, DeadPlace
from api.state import STATE
from api.stores import Key

log = structlog.get_logger()


@needs("admin")
@Operation("List messages that no service could process", query=DeadListing, answer=list[DeadLetter])
async def index(request: web.Request, key: Key) -> web.Response:
    listing = query(request, DeadListing)
    found = await _look(request, key, listing)
    page = listing.page
    shown = [DeadLetter(**_told(message)) for message in found[page.offset : page.offset + page.size]]
    return as_page(request, shown, page=page, total=len(found))


@needs("admin")
@Operation(
    "Show a dead message with its body",
    query=DeadPlace,
    answer=DeadLetterShown,
    path={"id": {"type": "string", "minLength": 1}},
)
async def show(request: web.Request, key: Key) -> web.Response:
    """With its body, which may be personal."""
    await audit.begin(request, key)
    found = await _look(request, key, query(request, DeadPlace))
    message = next((one for one in found if one.id == request.match_info["id"]), None)
    if message is None:
        raise _not_found()
    log.info("api.dead_shown", **_place(key, message))
    body = message.body.decode("utf-8", "replace")
    return as_json(DeadLetterShown(**_told(message), body=body))


@needs("admin")
@Operation(
    "Send a dead message on its way again",
    query=DeadPlace,
    answer=DeadLetter,
    path={"id": {"type": "string", "minLength": 1}},
)
async def redrive(request: web.Request, key: Key) -> web.Response:
    """The message as it was; it is in its queue again."""
    await read_nothing(request)
    queues = _queues(query(request, DeadPlace))
    state = request.app[STATE]
    message = await dead.redrive(state.pool, state.broker, key.store_id, request.match_info["id"], queues)
    if message is None:
        raise _not_found()
    log.info("api.dead_redriven", **_place(key, message))
    return as_json(DeadLetter(**_told(message)))


async def _look(request: web.Request, key: Key, place: DeadPlace) -> list[DeadMessage]:
    state = request.app[STATE]
    return await dead.look(state.pool, state.broker, key.store_id, _queues(place))


def _queues(place: DeadPlace) -> Sequence[str]:
    return [place.queue] if place.queue else QUEUE_NAMES


def _told(message: DeadMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "queue": message.queue,
        "reason": message.reason,
        "error": message.error,
        "service": message.service,
        "at": message.at,
        "size": len(message.body),
    }


def _place(key: Key, message: DeadMessage) -> dict[str, str]:
    """Which message, and who asked for it: for the log."""
    return {
        "store": str(key.store_id),
        "actor": f"key:{key.prefix}",
        "queue": message.queue,
        "message_id": message.id,
    }


def _not_found() -> ApiError:
    return ApiError(404, "trustlens_dead_not_found", "There is no such dead message.")


ROUTES = [
    web.get("/dead", index),
    web.get("/dead/{id}", show),
    web.post("/dead/{id}/redrive", redrive),
]
