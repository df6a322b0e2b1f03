"""Whatever is sent, the answer is in WordPress' words, over real HTTP; methods that only ask are answered."""

import asyncio
import gzip
import json
import logging
from urllib.parse import urlsplit

import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore
from support.api_client import BASE, Answer, ApiClient, serving

CUSTOMER = "/customers/" + "a" * 64
JSON = {"Content-Type": "application/json"}


async def raw(api: ApiClient, sent: bytes) -> Answer:
    """What is answered to bytes that no client library would send; the server closes afterwards."""
    address = urlsplit(api.origin)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(sent)
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), headers, body.decode())


def request(path: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    head = [f"{method} {BASE}{path} HTTP/1.1", "Host: api.example", "Connection: close", *lines]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


NO_HTTP = [
    b"nonsense\r\n\r\n",
    request("/stats", method="BREW"),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    request("/customers", "X-Long: " + "x" * 20_000),
    request("/customers", "no colon"),
    request("/customers", "Content-Length: five"),
    request("/customers", "Content-Length: 5", "Content-Length: 6"),
    request("/customers", "Transfer-Encoding: chunked", "Content-Length: 5"),
    request("/customers", *(f"X-{n}: 1" for n in range(500))),
    request("/customers", "X-Control: a\0b"),
]


async def test_what_is_no_http_is_400_in_wordpress_words(api: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    for sent in NO_HTTP:
        answer = await raw(api, sent)

        assert answer.status == 400, sent[:100]
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        message = "The address or a header is too long." if len(sent) > 20_000 else "This could not be read as HTTP."
        assert answer.json == {"code": "rest_bad_request", "message": message, "data": {"status": 400}}
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]


@pytest.mark.parametrize(
    "host", ["a:99999999", 'a"><b', "a b", "a/b", "[::1", "[:::]", "[12345::]", "jane@example.com", ""]
)
async def test_a_host_that_is_none_is_400_and_in_no_link(api: ApiClient, host: str) -> None:
    key = f"X-TrustLens-API-Key: {api.store.api_key}"
    answer = await raw(api, request("/keys", key).replace(b"Host: api.example", f"Host: {host}".encode()))

    assert (answer.status, answer.json["code"]) == (400, "rest_bad_request")


@pytest.mark.parametrize("host", ["api_1.shop.example.:65535", "[::1]:80", "127.0.0.1"])
async def test_links_lead_to_the_host_that_was_asked(api: ApiClient, host: str) -> None:
    key = f"X-TrustLens-API-Key: {api.store.api_key}"
    answer = await raw(api, request("/keys", key).replace(b"Host: api.example", f"Host: {host}".encode()))

    assert answer.headers["Link"].startswith(f"<http://{host.removesuffix(':80')}{BASE}/keys?page=1>")


@pytest.mark.parametrize("path", ["/customers", "/nothing"])
async def test_an_expectation_that_nobody_can_meet_is_417(api: ApiClient, path: str) -> None:
    answer = await raw(api, request(path, "Expect: miracles"))

    assert (answer.status, answer.json["code"]) == (417, "rest_expectation_failed")


async def test_who_expects_100_continue_is_told_to_go_on(api: ApiClient) -> None:
    key = f"X-TrustLens-API-Key: {api.store.api_key}"
    answer = await raw(api, request("/customers", key, "Expect: 100-continue"))

    assert answer.status == 100
    assert answer.text.startswith("HTTP/1.1 200 OK")


async def test_a_body_that_is_not_what_its_headers_say_is_400_and_no_error_of_ours(
    api: ApiClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    cut_off = gzip.compress(b'{"name": "cut off"}' * 100)[:-20]
    for encoding, body in [("gzip", b'{"name": "plain"}'), ("gzip", cut_off), ("deflate", b"\xff" * 100)]:
        answer = await api.post("/keys", data=body, headers=JSON | {"Content-Encoding": encoding})

        assert (answer.status, answer.json["code"]) == (400, "rest_invalid_param")
        assert answer.json["data"]["params"].keys() == {"body"}
    assert "error    " not in capsys.readouterr().out
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]


async def test_an_encoding_that_nobody_can_undo_is_415(api: ApiClient) -> None:
    answer = await api.post("/keys", data=b"{}", headers=JSON | {"Content-Encoding": "br"})

    assert (answer.status, answer.json["code"]) == (415, "rest_unsupported_media_type")


async def test_a_body_that_unpacks_to_more_than_is_taken_is_413(api: ApiClient) -> None:
    bomb = gzip.compress(b" " * 50_000_000)

    answer = await api.post("/keys", data=bomb, headers=JSON | {"Content-Encoding": "gzip"})

    assert (answer.status, answer.json["code"]) == (413, "rest_content_too_large")


BODIES: list[tuple[dict[str, str], bytes, int]] = [
    ({"Content-Type": "application/json; charset=utf-8"}, b'{"name": "a", "scopes": ["read"]}', 201),
    ({"Content-Type": "Application/JSON;charset=UTF-8"}, b'{"name": "a", "scopes": ["read"]}', 201),
    ({"Content-Type": "application/json; charset=iso-8859-1"}, b'{"name": "\xe9", "scopes": ["read"]}', 400),
    (JSON, b'\xef\xbb\xbf{"name": "with a byte order mark", "scopes": ["read"]}', 201),
    (JSON, b'{"name": "first", "name": "last wins", "scopes": ["read"]}', 201),
    (JSON, b"", 400),
    (JSON, b'{"name": NaN, "scopes": ["read"]}', 400),
    (JSON, b'{"name": "a", "scopes": ' + b"[" * 100_000, 413),
    (JSON, b'{"name": "a", "scopes": ' + b"[" * 30_000, 400),
    ({"Content-Type": "text/plain"}, b'{"name": "a", "scopes": ["read"]}', 415),
    ({"Content-Type": "application/x-www-form-urlencoded"}, b"name=a", 415),
    ({"Content-Type": ""}, b'{"name": "a", "scopes": ["read"]}', 415),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 415),
]


async def test_bodies_as_they_come_are_taken_or_told_what_is_wrong(api: ApiClient) -> None:
    for headers, body, status in BODIES:
        answer = await api.post("/keys", data=body, headers=headers)

        assert answer.status == status, (headers, body[:100])
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        if b"last wins" in body:
            assert answer.json["name"] == "last wins"


async def test_a_body_that_does_not_come_is_408(api_settings: ApiSettings, api_store: CreatedStore) -> None:
    async with serving(api_settings.model_copy(update={"body_seconds": 0.1}), api_store) as api:
        key = f"X-TrustLens-API-Key: {api.store.api_key}"
        sent = request("/keys", key, "Content-Type: application/json", "Content-Length: 500", method="POST")
        answer = await raw(api, sent + b"{")

    assert (answer.status, answer.json["code"]) == (408, "rest_request_timeout")


@pytest.mark.parametrize("before", [b"", b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["first", "later"])
@pytest.mark.parametrize(
    ("begun", "dripping"), [(b"", b""), (b"GET /healthz HTTP/1.1\r\nX-Slow: ", b""), (b"GET /", b"a")]
)
async def test_who_sends_no_whole_head_in_time_is_hung_up_on_however_slowly_it_goes_on(
    api_settings: ApiSettings, api_store: CreatedStore, before: bytes, begun: bytes, dripping: bytes
) -> None:
    async with serving(api_settings.model_copy(update={"idle_seconds": 0.3}), api_store) as api:
        address = urlsplit(api.origin)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(before + begun)
        reading = asyncio.create_task(reader.read())
        while not reading.done():
            writer.write(dripping)
            await asyncio.wait({reading}, timeout=0.02)
        writer.close()

    assert (await reading).count(b"HTTP/1.1 200 OK") == bool(before)


async def test_no_answer_tells_versions(api: ApiClient) -> None:
    answers = [await api.get("/stats"), await api.get("/nothing"), await raw(api, b"nonsense\r\n\r\n")]

    assert [answer.headers["Server"] for answer in answers] == ["TrustLens"] * 3


async def test_a_body_that_breaks_off_leaves_nothing_behind(api: ApiClient, pool: asyncpg.Pool) -> None:
    address = urlsplit(api.origin)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    key = f"X-TrustLens-API-Key: {api.store.api_key}"
    writer.write(request("/keys", key, "Content-Type: application/json", "Content-Length: 500", method="POST") + b"{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await api.get("/keys")).json[0]["name"] == "first key"
    assert await pool.fetchval("SELECT count(*) FROM api.keys") == 1


# Methods that only ask ------------------------------------------------------------------------------------------------


async def test_head_answers_as_get_without_a_body(api: ApiClient) -> None:
    for path in ("/customers", "/stats", "/keys", "/nothing", CUSTOMER, "/customers?page=0"):
        got, asked = await api.get(path), await api.request("HEAD", BASE + path)

        assert (asked.status, asked.text) == (got.status, "")
        for name in ("Content-Type", "Content-Length", "X-WP-Total", "X-WP-TotalPages", "Link"):
            assert asked.headers.get(name) == got.headers.get(name)


async def test_the_head_of_an_export_has_no_body_and_leaves_the_connection_usable(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    await pool.execute(
        "INSERT INTO scorer.customers (store_id, email_hash, email, created_at, updated_at)"
        " VALUES ($1, $2, 'jane@example.com', now(), now())",
        api.store.id,
        "a" * 64,
    )

    key = f"X-TrustLens-API-Key: {api.store.api_key}"
    answer = await raw(api, request(CUSTOMER + "/export", key, method="HEAD"))

    assert (answer.status, answer.text) == (200, "")
    assert int(answer.headers["Content-Length"]) > 100


async def test_options_tells_the_methods_without_a_key(api: ApiClient) -> None:
    for path, allow in {
        "/stats": "GET, HEAD, OPTIONS",
        "/keys": "GET, HEAD, OPTIONS, POST",
        CUSTOMER: "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
        CUSTOMER + "/notes": "OPTIONS, POST",
    }.items():
        answer = await api.request("OPTIONS", BASE + path, key="")

        assert (answer.status, answer.text, answer.headers["Allow"]) == (204, "", allow)


async def test_a_method_that_a_route_has_not_is_405_with_those_it_has(api: ApiClient) -> None:
    for method in ("DELETE", "PATCH", "TRACE"):
        answer = await api.request(method, BASE + "/stats")
        assert (answer.status, answer.json["code"]) == (405, "rest_method_not_allowed")
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


async def test_options_of_nothing_is_404(api: ApiClient) -> None:
    answer = await api.request("OPTIONS", BASE + "/nothing")

    assert (answer.status, answer.json["code"]) == (404, "rest_no_route")


# Pages in a browser ---------------------------------------------------------------------------------------------------

PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "x-trustlens-api-key"}


def of_cors(answer: Answer) -> dict[str, str]:
    return {
        name: value for name, value in answer.headers.items() if name.startswith("Access-Control") or name == "Vary"
    }


async def test_without_configured_origins_no_page_is_told_anything(api: ApiClient) -> None:
    origin = {"Origin": "https://dashboard.example"}

    assert of_cors(await api.get("/stats", headers=origin)) == {}
    assert of_cors(await api.request("OPTIONS", BASE + CUSTOMER, headers=origin | PREFLIGHT)) == {}


async def test_pages_of_configured_origins_may_ask_and_others_may_not(
    api_settings: ApiSettings, api_store: CreatedStore
) -> None:
    settings = api_settings.model_copy(update={"cors_origins": ("https://dashboard.example", "http://localhost:3000")})
    async with serving(settings, api_store) as api:
        for origin in settings.cors_origins:
            preflight = of_cors(
                await api.request("OPTIONS", BASE + CUSTOMER, key="", headers=PREFLIGHT | {"Origin": origin})
            )
            assert preflight["Access-Control-Allow-Origin"] == origin
            assert "PATCH" in preflight["Access-Control-Allow-Methods"].split(", ")
            assert "X-TrustLens-API-Key" in preflight["Access-Control-Allow-Headers"].split(", ")
            for answer in (
                await api.get("/customers", headers={"Origin": origin}),
                await api.get("/nothing", headers={"Origin": origin}),
                await api.get("/customers", key="", headers={"Origin": origin}),
            ):
                told = of_cors(answer)
                assert (told["Access-Control-Allow-Origin"], told["Vary"]) == (origin, "Origin")
                assert "X-WP-Total" in told["Access-Control-Expose-Headers"].split(", ")
        for origin in (
            "https://evil.example",
            "https://dashboard.example.evil.example",
            "null",
            "*",
            "HTTP://LOCALHOST:3000",
        ):
            for answer in (
                await api.get("/customers", headers={"Origin": origin}),
                await api.request("OPTIONS", BASE + CUSTOMER, headers=PREFLIGHT | {"Origin": origin}),
            ):
                assert of_cors(answer) == {"Vary": "Origin"}


# Mistakes of ours -----------------------------------------------------------------------------------------------------


async def test_a_mistake_of_ours_shows_the_id_that_the_log_has_and_nothing_else(
    api: ApiClient, pool: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    await pool.execute(
        "WITH customer AS (INSERT INTO scorer.customers (store_id, email_hash, created_at, updated_at)"
        " VALUES ($1, $2, now(), now()) RETURNING store_id, email_hash)"
        " INSERT INTO scorer.score_history (store_id, email_hash, at, trust_score, segment, points, cause)"
        " SELECT store_id, email_hash, now(), 50, 'jane is no segment', '{}', 'fact' FROM customer",
        api.store.id,
        "a" * 64,
    )

    answer = await api.get(f"{CUSTOMER}/score-history")

    error_id = answer.json["data"]["error_id"]
    assert answer.json == {
        "code": "internal_server_error",
        "message": f"An error on our side, logged as {error_id}.",
        "data": {"status": 500, "error_id": error_id},
    }
    logged = [line for line in capsys.readouterr().out.splitlines() if "api.failed" in line]
    assert len(logged) == 1
    assert error_id in logged[0]
    assert "jane" not in logged[0]


async def test_an_unknown_field_s_name_is_told_as_json_whatever_it_is(api: ApiClient) -> None:
    answer = await api.post("/keys", data=json.dumps({"\ud800\0<script>": 1}).encode(), headers=JSON)

    assert (answer.status, answer.json["code"]) == (400, "rest_invalid_param")
