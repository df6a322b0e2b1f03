"""What a request carries, checked: bodies within their limits, parameters by a model, ids by their form."""

from typing import Any, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ValidationError

from api.body import parse_text_object
from api.errors import invalid
from shared.mistakes import mistakes

MAX_OBJECT = 64 * 1024
"""Bytes of a body that describes one thing: fifty conditions and ten actions fit many times."""

M = TypeVar("M", bound=BaseModel)


async def read_body(request: web.Request, limit: int) -> bytes:
    """
    Raises:
        HTTPRequestEntityTooLarge: more than `limit` bytes.
    """
    return await request.clone(client_max_size=limit).read()


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


async def read_nothing(request: web.Request) -> None:
    """Where there is nothing to say, an empty object may still be sent.

    Raises:
        ApiError: 400, each field that was given all the same.
    """
    if request.can_read_body and (unknown := await read_object(request)):
        raise invalid(dict.fromkeys(unknown, "is not known here: nothing is asked for"))


def query(request: web.Request, model: type[M]) -> M:
    """The parameters a model knows; of a repeated one the last, as PHP reads it.

    Raises:
        ApiError: 400, each bad parameter with what is wrong.
    """
    return checked(model, dict(request.query.items()))


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
