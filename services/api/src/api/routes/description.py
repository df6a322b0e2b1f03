"""/openapi.json and /docs: what the API says of itself. Outside of its prefix, and for everybody."""

from collections.abc import Iterable

from aiohttp import web

from api import docs_page, openapi
from api.openapi import Route
from api.responses import as_json


def described(routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """The routes that tell of these, which are without the prefix."""
    document = openapi.document(Route(route.method, route.path, route.handler) for route in routes)
    page = docs_page.page(document)

    async def told(_: web.Request) -> web.Response:
        return as_json(document)

    async def shown(_: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers=docs_page.HEADERS)

    return [web.get("/openapi.json", told), web.get("/docs", shown)]
