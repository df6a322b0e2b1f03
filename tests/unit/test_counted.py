"""What is counted goes by names of ours, whatever comes in from outside."""

from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from api.metrics import timed
from dispatcher.attempt import _kind
from dispatcher.classify import Answer
from shared import health
from shared.log import _count_errors

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(1, status_code=204), "2xx"),
        (Answer(1, status_code=410), "4xx"),
        (Answer(1, status_code=200, phase="body"), "body"),
        (Answer(1, phase="dns", error="no such name"), "dns"),
        (Answer(0, final="this store has no mail server"), "none"),
    ],
)
def test_an_attempt_counts_by_the_class_of_its_answer_or_the_phase_it_failed_in(answer: Answer, kind: str) -> None:
    assert _kind(answer) == kind


def test_an_error_counts_by_its_event_and_a_librarys_by_its_logger() -> None:
    def counted(event: str) -> float:
        return REGISTRY.get_sample_value("trustlens_errors_total", {"event": event}) or 0.0

    before = counted("tests.failed"), counted("library")
    _count_errors(None, "error", {"event": "tests.failed"})
    _count_errors(None, "warning", {"event": "tests.failed"})
    _count_errors(None, "error", {"event": "any words, with jane@example.com", "logger": "library"})
    assert (counted("tests.failed"), counted("library")) == (before[0] + 1, before[1] + 1)


async def test_a_request_counts_by_its_route_and_what_has_none_by_no_name() -> None:
    def counted(route: str, status: str) -> float:
        labels = {"route": route, "status": status}
        return REGISTRY.get_sample_value("trustlens_http_request_seconds_count", labels) or 0.0

    async def thing(_: web.Request) -> web.Response:
        return web.Response(status=201)

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            return web.Response(status=error.status)

    app = web.Application(middlewares=[timed, answered])
    app.add_routes([web.get("/things/{id}", thing)])
    before = counted("none", "4xx")
    runner, port = await health.serve(app, "127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for method, path in (("GET", "/things/jane@example.com"), ("PURGE", "/things/1"), ("GET", "/nothing")):
            async with session.request(method, path):
                pass
    await runner.cleanup()

    assert counted("GET /things/{id}", "2xx") == 1
    assert counted("none", "4xx") == before + 2
