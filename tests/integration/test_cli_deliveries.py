"""Following attempts and sending dead messages back, on a stand-in that answers what a test says."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cli.api import Api, ApiError, connected
from cli.dead import send_all_back
from cli.deliveries import filters, follow
from cli.webhooks import change
from shared.ids import uuid7

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def asked(handler: Handler, work: Callable[[Api], Awaitable[Any]]) -> Any:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        return await connected(str(server.make_url("/v1")), "a key", work)


class Enough(Exception):  # noqa: N818  # ends what would go on for ever
    pass


def refusal(status: int, code: str = "trustlens_unavailable") -> web.Response:
    return web.json_response({"code": code, "message": "Not now.", "data": {"status": status}}, status=status)


def one(number: int, second: int) -> dict[str, Any]:
    return {"delivery_id": "d", "number": number, "ended_at": f"2026-06-05 14:00:{second:02}"}


async def test_a_list_is_collected_page_by_page_until_its_end_or_the_limit():
    async def answer(request: web.Request) -> web.Response:
        page, size = int(request.query["page"]), int(request.query["per_page"])
        return web.json_response(list(range(250))[(page - 1) * size : page * size])

    assert await asked(answer, lambda api: api.collect("/x", limit=1000)) == list(range(250))
    assert await asked(answer, lambda api: api.collect("/x", limit=120)) == list(range(120))
    assert await asked(answer, lambda api: api.collect("/x", limit=7)) == list(range(7))


async def test_what_has_no_content_is_an_answer_too():
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=204)

    assert await asked(answer, lambda api: api.delete("/webhooks/x")) is None


async def test_attempts_are_told_once_over_an_outage_which_is_told_once():
    looks = iter(
        [
            web.json_response([one(2, 5), one(1, 3)]),
            refusal(503),
            refusal(503),
            web.json_response([one(4, 7), one(3, 1), one(2, 5)]),
        ]
    )
    queries: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        queries.append(request.query.get("after", ""))
        return next(looks)

    told: list[int] = []
    complaints: list[str] = []

    def tell(attempt: Any) -> None:
        told.append(attempt["number"])
        if len(told) == 4:
            raise Enough

    with pytest.raises(Enough):
        await asked(answer, lambda api: follow(api, {}, tell, complain=complaints.append, poll=0))
    assert told == [1, 2, 3, 4]
    assert len(complaints) == 1
    assert queries == ["", *["2026-06-05 14:00:00"] * 3]


async def test_following_ends_where_the_key_is_refused():
    answers = iter([web.json_response([]), refusal(401, "rest_forbidden")])

    async def answer(request: web.Request) -> web.Response:
        return next(answers)

    with pytest.raises(ApiError, match="TRUSTLENS_API_KEY"):
        await asked(answer, lambda api: follow(api, {}, lambda _: None, complain=lambda _: None, poll=0))


async def test_a_customer_may_be_named_by_address():
    async def answer(request: web.Request) -> web.Response:
        assert request.query["email"] == "ann+x@shop.example"
        return web.json_response({"email_hash": "ab" * 32})

    async def work(api: Api) -> dict[str, str]:
        return await filters(api, webhook=None, event="test", status=None, customer="ann+x@shop.example")

    assert await asked(answer, work) == {"event": "test", "customer": "ab" * 32}


async def test_dead_messages_go_back_the_oldest_first_and_one_that_is_gone_is_passed_over():
    sent: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            names = ("a", "gone", "b/c")
            fields = {"queue": "scorer.facts", "reason": "rejected", "error": "", "service": "scorer", "size": 1}
            return web.json_response([{"id": name, **fields} for name in names])
        sent.append(request.path_qs)
        return refusal(404, "trustlens_dead_not_found") if "gone" in request.path else web.json_response({})

    assert await asked(answer, lambda api: send_all_back(api, None)) == 2
    assert sent == [f"/v1/dead/{name}/redrive?queue=scorer.facts" for name in ("a", "gone", "b%2Fc")]


async def test_one_header_is_changed_without_knowing_the_others():
    endpoint_id = uuid7()
    patches: list[Any] = []
    shown = {"id": str(endpoint_id), "url": "https://crm.example", "events": [], "enabled": True}

    async def answer(request: web.Request) -> web.Response:
        if request.method == "PATCH":
            patches.append(await request.json())
        return web.json_response(shown | {"headers": {"X-A": "***", "X-B": "***"}})

    async def work(api: Api) -> Any:
        return await change(api, endpoint_id, {"timeout": 5}, {"x-b": "new"}, [])

    await asyncio.wait_for(asked(answer, work), 20)
    assert patches == [{"timeout": 5, "headers": {"X-A": "***", "x-b": "new"}}]
