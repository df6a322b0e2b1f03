"""What a request carries, checked: bodies within their limits, parameters by a model, ids by their form."""

import asyncio
from typing import Any, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ValidationError

from api.body import UNSTORABLE, is_storable, parse_text_object
from api.errors import invalid
from api.operations import Operation, operation_of
from api.state import STATE
from shared.mistakes import mistakes

MAX_OBJECT = 64 * 1024
"""Bytes of a body that describes one thing: fifty conditions and ten actions fit many times."""
BODY: web.RequestKey[bytes] = web.RequestKey("body", bytes)

M = TypeVar("M", bound=BaseModel)


async def read_body(request: web.Request, limit: int) -> bytes:
    """
    Raises:
        HTTPRequestEntityTooLarge: more than `limit` bytes.
        HTTPRequestTimeout: it does not come.
        RequestPayloadError: it ends before its end.
    """
    raw = request.get(BODY)
    return await _received(request.clone(client_max_size=limit)) if raw is None else raw


async def _received(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(request.app[STATE].body_seconds):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except ConnectionError as error:  # it is the caller who went away, nothing of ours
        raise web.RequestPayloadError from error


def remember_body(request: web.Request, raw: bytes) -> None:
    """For whoever reads it next: it comes only once."""
    request[BODY] = raw


def has_body(request: web.Request) -> bool:
    """Whether one was sent, read already or not."""
    return bool(request[BODY]) if BODY in request else request.can_read_body


async def read_object(request: web.Request) -> dict[str, Any]:
    """
    Raises:
        HTTPUnsupportedMediaType: not sent as JSON.
        HTTPRequestEntityTooLarge: more than 64 KiB.
        BadBodyError: no JSON object.
    """
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    return parse_text_object(await read_body(request, MAX_OBJECT))


async def read_optional(request: web.Request) -> dict[str, Any]:
    """As `read_object`; without a body as if it had been {}."""
    return await read_object(request) if has_body(request) else {}


async def read_nothing(request: web.Request) -> None:
    """Where there is nothing to say, an empty object may still be sent.

    Raises:
        ApiError: 400, each field that was given all the same.
    """
    if unknown := await read_optional(request):
        raise invalid(dict.fromkeys(unknown, "is not known here: nothing is asked for"))


def query(request: web.Request, model: type[M]) -> M:
    """The parameters a model knows; of a repeated one the last, as PHP reads it, to which `segment[]` is `segment`.

    Raises:
        ApiError: 400, each bad parameter with what is wrong.
        TypeError: the route declares others.
    """
    if _declared(request).query is not model:
        raise TypeError(f"{request.match_info.handler.__qualname__} declares other parameters")
    given = dict(request.query.items())
    if lists := [name for name in parameters(model) if any(other.startswith(f"{name}[") for other in given)]:
        raise invalid(dict.fromkeys(lists, "takes one value, not a list"))
    if unstorable := [name for name, value in given.items() if name in model.model_fields and not is_storable(value)]:
        raise invalid(dict.fromkeys(unstorable, UNSTORABLE))
    return checked(model, given)


def parameters(model: type[BaseModel]) -> list[str]:
    """The names that a request gives them."""
    return [field.alias or name for name, field in model.model_fields.items()]


async def body(request: web.Request, model: type[M]) -> M:
    """What a model takes. Where the route lets the body be left out, it is as if it had been {}.

    Raises:
        ApiError: 400, each bad field with what is wrong; and what `read_object` raises.
        TypeError: the route declares another.
    """
    declared = _declared(request)
    if declared.body is not model:
        raise TypeError(f"{request.match_info.handler.__qualname__} declares another body")
    return checked(model, await (read_optional if declared.optional else read_object)(request))


def _declared(request: web.Request) -> Operation:
    declared = operation_of(request.match_info.handler)
    if declared is None:
        raise TypeError(f"{request.match_info.handler.__qualname__} declares nothing")
    return declared


def checked(model: type[M], data: object) -> M:
    """
    Raises:
        ApiError: 400, each bad field with what is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid(mistakes(error)) from None


def path_uuid(request: web.Request, name: str) -> UUID | None:
    """None if it has not the form of an id, and so names nothing."""
    try:
        return UUID(request.match_info[name])
    except ValueError:
        return None
