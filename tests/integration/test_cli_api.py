"""The commands' way to the API, on a stand-in that answers what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cli.answers import Job
from cli.api import Api, ApiError, connected
from cli.explain import fetch
from cli.jobs import follow
from cli.personas import Persona
from cli.personas_run import play

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JOB = "0190a000-0000-7000-8000-000000000000"


@asynccontextmanager
async def standin(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("/v1"))


async def asked(handler: Handler, work: Callable[[Api], Awaitable[Any]]) -> Any:
    async with standin(handler) as url:
        return await connected(url, "a key", work)


def customer(**given: Any) -> dict[str, Any]:
    defaults = {
        "email_hash": "ab" * 32,
        "trust_score": 50,
        "segment": "normal",
        "segment_label": "Normal",
        "total_orders": 1,
        "total_refunds": 0,
        "return_rate": 0.0,
        "is_blocked": False,
        "is_allowlisted": False,
        "signals": [],
    }
    return defaults | given


async def test_a_call_carries_the_key_and_reads_amounts_to_the_cent():
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["X-TrustLens-API-Key"] == "a key"
        return web.Response(text='{"total_order_value": 249.00}', content_type="application/json")

    found = await asked(answer, lambda api: api.get("/customers/x"))
    assert found == {"total_order_value": Decimal("249.00")}


async def test_the_address_reaches_the_api_as_it_was_typed():
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/score-history"):
            return web.json_response([])
        seen.append(request.query["email"])
        return web.json_response(customer())

    found, history = await asked(answer, lambda api: fetch(api, "ann+test&x=1@shop.example"))
    assert (seen, found["email_hash"], history) == (["ann+test&x=1@shop.example"], "ab" * 32, [])


async def test_who_asks_too_often_waits_as_long_as_the_api_says_and_asks_again():
    told = ["0", "00", None]

    async def answer(_: web.Request) -> web.Response:
        wait = told.pop(0)
        return web.json_response({}, status=429, headers={"Retry-After": wait}) if wait else web.json_response({})

    assert await asked(answer, lambda api: api.post("/customers/x/notes", {"text": "Called."})) == {}
    assert told == []


@pytest.mark.parametrize("wait", ["3600", "soon", ""])
async def test_a_wait_that_is_too_long_or_none_is_told(wait: str):
    async def answer(_: web.Request) -> web.Response:
        body = {"code": "rest_too_many_requests", "message": "Too many.", "data": {"status": 429}}
        return web.json_response(body, status=429, headers={"Retry-After": wait})

    with pytest.raises(ApiError, match=r"HTTP 429\. Too many\."):
        await asked(answer, lambda api: api.get("/customers/x"))


async def test_an_unknown_customer_is_told_by_the_address_that_was_typed():
    async def answer(request: web.Request) -> web.Response:
        body = {"code": "trustlens_customer_not_found", "message": "Customer not found.", "data": {"status": 404}}
        return web.json_response(body, status=404)

    with pytest.raises(ApiError, match=r"This store has no customer x@shop\.example\."):
        await asked(answer, lambda api: fetch(api, "x@shop.example"))


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_a_refusal_without_json_is_a_sentence_too(status):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text="<html>")

    with pytest.raises(ApiError) as refused:
        await asked(answer, lambda api: api.get("/store"))
    assert refused.value.status == status
    assert str(refused.value).endswith(".")


async def test_a_page_where_the_api_should_be_is_not_taken_for_it():
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="<html>Welcome")

    with pytest.raises(ApiError, match="is not TrustLens"):
        await asked(answer, lambda api: api.get("/store"))


async def test_an_api_that_is_away_is_said_to_be():
    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    async with standin(answer) as url:
        pass
    with pytest.raises(ApiError, match=r"The API does not answer at .*make up"):
        await connected(url, "a key", lambda api: api.get("/store"))


async def test_a_job_is_followed_until_it_ends():
    jobs = [
        {"id": JOB, "kind": "recompute", "state": state, "done": done, "total": total, "error": None}
        for state, done, total in (("queued", 0, None), ("running", 5, 9), ("done", 9, 9))
    ]
    left = iter(jobs)

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(next(left))

    shown: list[Job] = []
    ended = await asked(answer, lambda api: follow(api, JOB, shown.append, poll=0))
    assert [job.done for job in shown] == [0, 5, 9]
    assert ended.state == "done"


PERSONA = Persona("ann@personas.example", "Ann", "Nothing.", ({"id": "persona-1"},), {"orders": 5})


async def test_personas_are_waited_for_until_their_signals_are_there():
    looks = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal looks
        if request.method == "POST":
            assert await request.json() == {"events": [{"id": "persona-1"}], "history": False}
            return web.json_response({"results": [{"id": "persona-1", "status": "accepted"}]})
        looks += 1
        if looks == 1:
            return web.json_response({"code": "trustlens_customer_not_found", "message": "Not found."}, status=404)
        return web.json_response(customer(signals=[{"module": "orders", "points": 5, "reason": "Three were kept."}]))

    (judged,) = await asked(answer, lambda api: play(api, [PERSONA], history=False, patience=30))
    assert judged.as_expected
    assert looks == 2


async def test_personas_that_are_never_scored_end_the_patience():
    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            return web.json_response({"results": []})
        return web.json_response({"code": "trustlens_customer_not_found", "message": "Not found."}, status=404)

    (judged,) = await asked(answer, lambda api: play(api, [PERSONA], history=False, patience=0))
    assert judged.customer is None


async def test_an_event_that_the_api_rejects_ends_the_play():
    async def answer(request: web.Request) -> web.Response:
        rejected = {"id": "persona-1", "status": "rejected", "field": "data.total", "message": "is missing"}
        return web.json_response({"results": [rejected]})

    with pytest.raises(ApiError, match=r"refused the event persona-1: data\.total is missing\."):
        await asked(answer, lambda api: play(api, [PERSONA], history=False, patience=0))


async def test_the_api_may_take_its_time_but_not_for_ever():
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await ended.wait()
        return web.Response()

    async with standin(answer) as url:
        with pytest.raises(ApiError, match="it took too long"):
            await connected(url, "a key", lambda api: api.get("/store"), patience=0.05)
        ended.set()
