"""Following attempts and sending dead messages back, on a stand-in that answers what a test says."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cli.api import Api, ApiError, connected
from cli.dead import send_all_back
from cli.deliveries import filters, follow
from cli.ids import whole
from cli.webhooks import change, try_out
from cli.webhooks import refusal as refusal_of
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


NAMED = [f"1f2e3d4c-{n}000-5000-8000-000000000000" for n in range(9)]


async def found(given: str, *answers: str) -> UUID:
    """What is meant, where the API's list answers so."""

    async def answer(request: web.Request) -> web.Response:
        assert (request.path, request.query["id"]) == ("/v1/deliveries", given)
        return web.json_response([{"id": one} for one in answers[: int(request.query["per_page"])]])

    id_: UUID = await asked(answer, lambda api: whole(api, "/deliveries", given))
    return id_


async def test_the_beginning_of_an_id_is_enough_where_no_other_begins_so():
    assert await found("1f2e3d4c", NAMED[0]) == UUID(NAMED[0])
    assert await found("1F2E3D4C-0", NAMED[0]) == UUID(NAMED[0])


async def test_of_a_whole_id_nothing_is_asked():
    async def answer(_: web.Request) -> web.Response:
        raise AssertionError

    assert await asked(answer, lambda api: whole(api, "/deliveries", NAMED[0])) == UUID(NAMED[0])


async def test_where_several_ids_begin_so_they_are_named_and_nothing_is_done():
    with pytest.raises(ApiError) as refused:
        await found("1f2e3d4c", *NAMED[:2])
    assert str(refused.value).endswith(f"give more of one: {NAMED[0]}, {NAMED[1]}")
    with pytest.raises(ApiError, match=f"{NAMED[4]}, …$"):
        await found("1f2e3d4c", *NAMED)


async def test_an_api_that_answers_with_whatever_it_has_is_not_believed():
    with pytest.raises(ApiError, match="trustlens deliveries list"):
        await found("abcdefab", *NAMED)


async def test_a_url_is_refused_by_the_api_before_there_is_an_endpoint():
    async def answer(request: web.Request) -> web.Response:
        assert (request.path, await request.json()) == ("/v1/webhooks/validate", {"url": "ftp://x"})
        data = {"status": 400, "params": {"url": "must begin with https://"}}
        return web.json_response({"code": "rest_invalid_param", "message": "", "data": data}, status=400)

    error = await asked(answer, lambda api: refusal_of(api, "ftp://x"))
    assert str(error) == "The API refused it: url must begin with https://."


@pytest.mark.parametrize("status", [200, 400, 404])
async def test_what_is_not_about_the_url_is_left_to_the_creation(status):
    async def answer(_: web.Request) -> web.Response:
        data = {"status": status, "params": {"format": "must be slack"}}
        return web.json_response({"code": "rest_invalid_param", "message": "", "data": data}, status=status)

    assert await asked(answer, lambda api: refusal_of(api, "https://hooks.slack.com/x")) is None


async def test_an_endpoint_that_is_off_is_tested_with_a_word_about_it(capsys):
    shown = {"id": str(uuid7()), "url": "https://crm.example", "events": [], "enabled": False, "disabled_reason": "410"}
    trial = {"delivery_id": str(uuid7()), "ok": True, "status_code": 200, "duration_ms": 3, "body": "", "error": None}

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(trial if request.path.endswith("/test") else shown)

    result = await asked(answer, lambda api: try_out(api, UUID(str(shown["id"]))))
    told = capsys.readouterr().out.splitlines()
    assert result.ok
    assert told[0].startswith("The endpoint is off: 410.")
    assert told[1] == f"trustlens webhooks edit {shown['id']} --enable"
    assert told[2] == "The receiver answered HTTP 200 in 3 ms."


async def test_what_things_as_they_stand_do_not_allow_is_said_in_the_api_s_words():
    async def answer(_: web.Request) -> web.Response:
        return refusal(409, "trustlens_webhook_off")

    with pytest.raises(ApiError, match=r"^Not now\.$"):
        await asked(answer, lambda api: api.post("/deliveries/x/retry"))
