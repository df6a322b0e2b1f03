"""A page of a list, as the answer to a request."""

from collections.abc import Sequence

from aiohttp import web
from pydantic import BaseModel
from yarl import URL

from api import paging
from api.operations import operation_of
from api.paging import Page
from api.proxies import caller_scheme
from api.requests import parameters
from api.responses import as_written
from api.state import STATE
from shared.jsontext import dumps


def as_page(
    request: web.Request, items: Sequence[BaseModel] | Sequence[str], *, page: Page, total: int
) -> web.Response:
    """A bare array with the paging headers; of texts, which Postgres wrote, as they are."""
    texts = [item if isinstance(item, str) else dumps(item.model_dump()) for item in items]
    return as_written(f"[{','.join(texts)}]", headers=paging.headers(page, total, _asked(request)))


def _asked(request: web.Request) -> URL:
    """The address as the caller has it, also through a proxy; of its parameters those that count, each once.

    Links that repeated all that was sent would be longer than clients read a header.
    """
    forwarded = request.headers.get("X-Forwarded-Proto", "")
    scheme = caller_scheme(request.remote, forwarded, request.app[STATE].trusted_proxies) or request.scheme
    declared = operation_of(request.match_info.handler)
    known = parameters(declared.query) if declared and declared.query else ()
    counting = {name: request.query.getall(name)[-1] for name in known if name in request.query}
    return request.url.with_scheme(scheme).with_query(counting)
