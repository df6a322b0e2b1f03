"""What no caller should send, on every route: the answer is 400, and names what is wrong. The routes and what they
take are read from the API's description, so that a new one is tried too.
"""

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import asyncpg
import jsonschema_rs
import pytest

from api import examples, openapi
from api.app import ROUTES
from api.openapi import Route
from api.settings import ApiSettings
from api.stores import CreatedStore
from shared.broker import Broker
from shared.secrets import Vault
from support import whole_api
from support.api_client import BASE, Answer, ApiClient

DOCUMENT = openapi.document(Route(route.method, route.path, route.handler) for route in ROUTES)
JSON = {"Content-Type": "application/json"}
LONG = "x" * 7_000
"""A whole request line may have 8,190 bytes; what is longer never reaches a route."""
SIGNED = {"/ingest/woocommerce/{store_id}", "/ingest/stripe/{store_id}"}
"""Nothing of their bodies is read unless it is signed."""


Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Whole:
    api: ApiClient
    ids: Mapping[str, str]
    """Of what there is, by route."""

    async def send(self, method: str, path: str, query: str = "", **kwargs: Any) -> Answer:
        return await self.api.request(method.upper(), f"{BASE}{self.real(path)}{query}", **kwargs)

    def real(self, path: str) -> str:
        thing = self.ids.get(path.split("/")[1], "")
        known = {"email_hash": thing, "id": thing, "tag": "wholesale", "store_id": str(self.api.store.id)}
        return path.format(**known)


@pytest.fixture
async def whole(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool, broker: Broker, vault: Vault
) -> AsyncIterator[Whole]:
    async with whole_api.opened(api_settings, api_store, pool, broker, vault) as api:
        yield Whole(api, await whole_api.stocked(api, pool, broker))


def operations(*methods: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, by_method in DOCUMENT["paths"].items():
        for method, told in by_method.items():
            if method in methods:
                yield method, path, told


# Parameters -----------------------------------------------------------------------------------------------------------


def wrong(schema: Mapping[str, Any]) -> Iterator[str]:
    """Values that a parameter cannot have."""
    validator = jsonschema_rs.Draft202012Validator(dict(schema), validate_formats=True)
    yield from (value for value in _CANDIDATES if not validator.is_valid(_as_read(value, schema)))
    yield from (str(schema[edge] + step) for edge, step in (("minimum", -1), ("maximum", 1)) if edge in schema)
    for one in schema.get("enum", ()):
        yield from (f"{one.upper()} ", f"{one}; DROP TABLE customers", f"{one}'--", f"{one},{one}")
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)
    yield "a\x00b"


_CANDIDATES = ("nothing", "", "1.5", "1,000", "0x10", "null", "2", "@shop.example", "jane@", "9" * 5_000, LONG)


def _as_read(value: str, schema: Mapping[str, Any]) -> object:
    """No text is a number or a truth, unless it is written as one."""
    return int(value) if schema.get("type") == "integer" and value.isdecimal() and len(value) < 20 else value


async def test_a_value_that_a_parameter_cannot_have_is_400_and_named(whole: Whole) -> None:
    tried = 0
    for method, path, told in operations("get", "post", "delete"):
        for parameter in (p for p in told["parameters"] if p["in"] == "query"):
            for value in wrong(parameter["schema"]):
                answer = await whole.send(method, path, f"?{parameter['name']}={quote(value)}")

                assert answer.status == 400, (method, path, parameter["name"], value[:50], answer.text)
                assert answer.json["code"] == "rest_invalid_param"
                assert parameter["name"] in answer.json["data"]["params"]
                tried += 1
    assert tried > 400


async def test_of_a_repeated_parameter_the_last_counts(whole: Whole) -> None:
    for method, path, told in operations("get"):
        if any(parameter["name"] == "per_page" for parameter in told["parameters"]):
            needed = f"&email={quote('jane@example.com')}" if path == "/evaluations" else ""
            last = await whole.send(method, path, f"?per_page=x&per_page=2{needed}")
            first = await whole.send(method, path, f"?per_page=2&per_page=x{needed}")
            assert (last.status, first.status) == (200, 400), path


async def test_an_unknown_parameter_is_ignored(whole: Whole) -> None:
    for method, path, told in operations("get"):
        known = "".join(f"&{p['name']}=jane@example.com" for p in told["parameters"] if p["name"] == "email")
        plain = await whole.send(method, path, f"?{known}")
        with_it = await whole.send(method, path, f"?no_such_parameter=1{known}")
        assert with_it.status == plain.status < 500, path


# Paths ----------------------------------------------------------------------------------------------------------------


async def test_an_id_that_is_none_names_nothing(whole: Whole) -> None:
    for method, path, _ in operations("get", "post", "put", "patch", "delete"):
        for value in ("x", "0", "%00", "'; DROP TABLE rules; --", "..%2f..", LONG) if "{id}" in path else ():
            answer = await whole.api.request(
                method.upper(), BASE + path.replace("{id}", quote(value, safe="%")), headers=JSON, data=b"{}"
            )
            assert answer.status == 404, (method, path, value[:50], answer.text)


async def test_a_hash_that_is_none_is_400_and_one_of_nobody_404(whole: Whole) -> None:
    for method, path, told in operations("get", "post", "put", "patch", "delete"):
        if "{email_hash}" not in path:
            continue
        content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
        body = next((example["value"] for example in content.get("examples", {}).values()), None)
        for value, status in [("x", 400), ("g" * 64, 400), ("a" * 63, 400), (LONG, 400), ("a" * 64, 404)]:
            real = path.format(email_hash=value, tag="wholesale")
            answer = await whole.api.request(method.upper(), BASE + real, json=body)
            assert answer.status == status, (method, path, value[:50], answer.text)


async def test_a_hash_is_known_in_any_case(whole: Whole) -> None:
    hashed = whole.ids["customers"]
    lower, upper = [await whole.api.get(f"/customers/{one}") for one in (hashed, hashed.upper())]
    assert (lower.status, lower.json) == (upper.status, upper.json)
    assert lower.json["email_hash"] == hashed


@pytest.mark.parametrize("written", ["jane@example.com", "JANE%40Example.COM", "%20jane@example.com%20"])
async def test_an_address_is_known_however_it_is_written(whole: Whole, written: str) -> None:
    answer = await whole.api.get(f"/customers/lookup?email={written}")
    assert answer.json["email_hash"] == whole.ids["customers"]


async def test_pluses_and_unicode_in_addresses(whole: Whole, until: Until) -> None:
    event = examples.EVENTS["order"]["events"][0]
    for number, address in enumerate(["jane+shop@example.com", "jürgen@müller.example"], 1):
        data = {**event["data"], "id": number, "billing": {"email": address}}
        told = {"events": [{**event, "id": f"of-{number}", "data": data}]}
        assert (await whole.api.post("/ingest/events", json=told)).json["results"][0]["status"] == "accepted"

    async def known() -> bool:
        written = ("jane%2Bshop@example.com", "jane+shop@example.com", "j%C3%BCrgen@xn--mller-kva.example")
        answers = [await whole.api.get(f"/customers/lookup?email={one}") for one in written]
        return {answer.status for answer in answers} == {200}

    await until(known)


# Bodies ---------------------------------------------------------------------------------------------------------------

NESTED = b'{"a":' * 40 + b"1" + b"}" * 40
BODIES: list[tuple[bytes, set[int]]] = [
    (b"", {400}),
    (b"nonsense", {400}),
    (b'{"a": 1', {400}),
    (b"[]", {400}),
    (b"null", {400}),
    (b'"text"', {400}),
    (b"\xff\xfe", {400}),
    (b'{"a": NaN}', {400}),
    (b'{"a": -Infinity}', {400}),
    (b'{"a": 1e999}', {400}),
    (b'{"a": "\\u0000"}', {400}),
    (b'{"a": "\\ud800"}', {400}),
    (b'{"a": ' + b"9" * 5_000 + b"}", {400}),
    (NESTED, {400}),
    (b"[" * 50_000, {400}),
    (b'{"no_such_field": 1}', {400}),
    (b" " * 6_000_000 + b"{}", {400, 413}),
]


async def test_a_body_that_cannot_be_is_refused_and_never_looked_into(whole: Whole) -> None:
    for method, path, told in operations("post", "put", "patch"):
        for body, statuses in BODIES if path not in SIGNED else ():
            # Of these, any object may be asked about; and where nothing must be said, nothing may be sent.
            if (path == "/rules/validate" and b"no_such_field" in body) or (not body and _may_be_left_out(told)):
                continue
            answer = await whole.send(method, path, data=io.BytesIO(body), headers=JSON)

            assert answer.status in statuses, (method, path, body[:50], answer.text)
            assert answer.json["code"] in {"rest_invalid_param", "rest_content_too_large"}


def _may_be_left_out(told: Mapping[str, Any]) -> bool:
    return not told.get("requestBody", {"required": False})["required"]


async def test_a_field_that_nobody_knows_is_named(whole: Whole) -> None:
    for method, path, _ in operations("post", "put", "patch"):
        if path in SIGNED | {"/rules/validate"}:
            continue
        answer = await whole.send(method, path, json={"no_such_field": 1})
        assert "no_such_field" in " ".join(answer.json["data"]["params"]), (method, path, answer.text)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
async def test_a_body_that_is_not_sent_as_json_is_415(whole: Whole, kind: str) -> None:
    for method, path, _ in operations("post", "put", "patch"):
        if path not in SIGNED:
            answer = await whole.send(method, path, data=b"a=1", headers={"Content-Type": kind})
            assert (answer.status, answer.json["code"]) == (415, "rest_unsupported_media_type"), (method, path)


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
async def test_what_a_customer_cannot_be_changed_to(whole: Whole, method: str) -> None:
    for body, status, said in [
        ({"is_blocked": True, "is_allowlisted": True}, 409, "trustlens_blocked_and_allowlisted"),
        ({}, 400, "rest_invalid_param"),
        ({"reason": "none of both"}, 400, "rest_invalid_param"),
        ({"is_blocked": None}, 400, "rest_invalid_param"),
        ({"is_blocked": "yes"}, 400, "rest_invalid_param"),
        ({"is_blocked": 1}, 400, "rest_invalid_param"),
        ({"is_blocked": True, "reason": "x" * 501}, 400, "rest_invalid_param"),
        ({"is_blocked": True, "is_bloked": True}, 400, "rest_invalid_param"),
    ]:
        answer = await whole.send(method, "/customers/{email_hash}", json=body)
        assert (answer.status, answer.json["code"]) == (status, said), body
    assert (await whole.api.get(f"/customers/{whole.ids['customers']}")).json["is_blocked"] is False
