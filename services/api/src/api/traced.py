"""Each request in a trace: the caller's, where its `traceparent` names one. Only where traces are on."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from shared import traces

_WATCHED = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by machines every few seconds, about nothing that a trace could be of."""


@web.middleware
async def traced(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    resource = request.match_info.route.resource
    route = resource.canonical if resource else ""
    if route in _WATCHED:
        return await handler(request)
    with traces.request(request.method, route, request.headers) as leg:
        response = await handler(request)
        leg.answered(response.status, str(response.status) if response.status >= 500 else None)
        return response
