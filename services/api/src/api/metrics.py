"""Metrics of the api. Labels are our own words only: bounded."""

import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import Counter, Histogram

INPUTS = Counter("trustlens_inputs_total", "What stores sent, by what became of it.", ["source", "result"])
GATE = Counter("trustlens_gate_total", "Checkouts that the gate was asked about.", ["decision", "reason"])
STORE_REQUESTS = Counter("trustlens_store_requests_total", "Requests to stores' REST APIs.", ["result"])
POLLS = Counter("trustlens_catch_up_polls_total", "Looks for what stores' webhooks missed.", ["result"])
GAPS = Counter("trustlens_catch_up_gaps_total", "Orders that a poll found and no webhook had told.")
INTAKE_BATCH = Histogram("trustlens_intake_batch_inputs", "Inputs per commit.", buckets=(1, 2, 5, 10, 20, 50, 100, 200))
HTTP_SECONDS = Histogram(
    "trustlens_http_request_seconds",
    "From a request's head to its answer, by method and route (its variables by name) and class of status.",
    ["route", "status"],
    buckets=(0.01, 0.05, 0.25, 1, 5),
)


@web.middleware
async def timed(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Outside of all that makes answers: every answer is counted."""
    began = time.perf_counter()
    response = await handler(request)
    HTTP_SECONDS.labels(_route(request), f"{response.status // 100}xx").observe(time.perf_counter() - began)
    return response


def _route(request: web.Request) -> str:
    """The method, too, as the route names it: a caller may make up any."""
    route = request.match_info.route
    return f"{route.method} {route.resource.canonical}" if route.resource else "none"
