"""Answers: JSON in which amounts keep their decimals, from values or as Postgres wrote it."""

from collections.abc import Mapping

from aiohttp import web
from pydantic import BaseModel

from shared.jsontext import dumps


def as_json(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    body = value.model_dump() if isinstance(value, BaseModel) else value
    # Half of a surrogate pair, in a field's name that we repeat, becomes the escape that JSON has for it.
    return _answer(dumps(body).encode("utf-8", "backslashreplace"), status=status, headers=headers)


def as_written(text: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON that Postgres wrote."""
    return _answer(text.encode(), status=status, headers=headers)


def _answer(body: bytes, *, status: int, headers: Mapping[str, str] | None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json", charset="utf-8")
