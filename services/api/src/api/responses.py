"""Answers: JSON in which amounts keep their decimals, and pages of lists."""

from collections.abc import Mapping, Sequence

from aiohttp import web
from pydantic import BaseModel

from api import paging
from api.paging import Page
from shared.jsontext import dumps


def as_json(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    body = value.model_dump() if isinstance(value, BaseModel) else value
    # Half of a surrogate pair, in a field's name that we repeat, becomes the escape that JSON has for it.
    text = dumps(body).encode("utf-8", "backslashreplace")
    return web.Response(body=text, status=status, headers=headers, content_type="application/json", charset="utf-8")


def as_page(request: web.Request, items: Sequence[BaseModel], *, page: Page, total: int) -> web.Response:
    """A bare array with the paging headers."""
    return as_json([item.model_dump() for item in items], headers=paging.headers(page, total, request.url))
