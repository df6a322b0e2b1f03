"""The API's description: whole, valid, and made of what validates."""

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import jsonschema_rs
import pytest
from aiohttp import web
from pydantic import BaseModel

from api import docs_page, openapi, requests
from api.app import ROUTES
from api.openapi import Route, UndeclaredError
from api.operations import Access, Operation, Owned
from api.values import STORABLE
from support import owned_schemas

DOCUMENT = openapi.document(Route(route.method, route.path, route.handler) for route in ROUTES)
OPERATIONS = [(method, path, told) for path, methods in DOCUMENT["paths"].items() for method, told in methods.items()]


def references(part: Any) -> Iterator[str]:
    match part:
        case {"$ref": str(to)}:
            yield to
        case dict():
            for value in part.values():
                yield from references(value)
        case list():
            for item in part:
                yield from references(item)


def found(reference: str) -> Any:
    part: Any = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part


def validator(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_every_route_is_in_it() -> None:
    assert {(method.upper(), path) for method, path, _ in OPERATIONS} == {(r.method, r.path) for r in ROUTES}


def test_a_route_that_says_nothing_of_itself_is_found_at_once() -> None:
    async def silent() -> None: ...

    with pytest.raises(UndeclaredError, match="GET /silent"):
        openapi.document([Route("GET", "/silent", silent)])


def test_two_schemas_of_one_name_are_found_at_once() -> None:
    class Leaf(BaseModel):
        """Not the one of the conditions."""

    @Operation("Take a leaf", body=Leaf)
    async def take() -> None: ...

    with pytest.raises(ValueError, match="Leaf"):
        openapi.document([Route("POST", "/leaves", take)])


def test_what_others_validate_is_told_as_their_models_have_it() -> None:
    """Where it differs: `python -m support.owned_schemas`, in tests/."""
    assert owned_schemas.FILE.read_text() == owned_schemas.text()


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    assert all(found(reference) for reference in references(DOCUMENT))
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    for _, _, told in OPERATIONS:
        for parameter in told["parameters"]:
            jsonschema_rs.meta.validate(parameter["schema"])
    assert "x-owned" not in json.dumps(DOCUMENT)


def test_operations_have_names_of_their_own() -> None:
    names = [told["operationId"] for _, _, told in OPERATIONS]
    assert len(set(names)) == len(names)


def test_every_example_is_what_its_schema_asks_for() -> None:
    tried = 0
    for _, _, told in OPERATIONS:
        content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in content.get("examples", {}).values():
            validator(content["schema"]).validate(example["value"])
            tried += 1
    assert tried > 20


def test_every_type_of_event_has_an_example() -> None:
    told = DOCUMENT["paths"]["/ingest/events"]["post"]["requestBody"]["content"]["application/json"]
    types = {example["value"]["events"][0]["type"] for example in told["examples"].values()}
    described = DOCUMENT["components"]["schemas"]["IngestEvents"]["properties"]["events"]["items"]["anyOf"][0]
    assert types == set(described["discriminator"]["mapping"])
    for example in told["examples"].values():
        validator(described).validate(example["value"]["events"][0])


def test_what_is_listed_in_pages_tells_of_their_headers() -> None:
    listed = [told for _, _, told in OPERATIONS if any(p["name"] == "per_page" for p in told["parameters"])]
    assert len(listed) > 10
    for told in listed:
        assert {"X-WP-Total", "X-WP-TotalPages", "Link"} == set(told["responses"]["200"]["headers"])


def test_every_operation_tells_who_may_call_it() -> None:
    open_ones = {path for _, path, told in OPERATIONS if not told["security"]}
    assert open_ones == {"/ingest/woocommerce/{store_id}", "/ingest/stripe/{store_id}"}
    assert DOCUMENT["paths"]["/customers/{email_hash}"]["delete"]["security"] == [
        {"key": ["admin"]},
        {"basic": ["admin"]},
    ]


def test_what_is_taken_and_refused_follows_from_the_declaration() -> None:
    class Asked(BaseModel):
        page: int | None = None
        tag: str = "none"

    @Access("write", changes=True)
    @Operation("Try it", query=Asked, body=Owned("NewRule"), optional=True, status=201, errors={409: "It is there."})
    async def handler() -> None: ...

    told = openapi.document([Route("POST", "/tried/{id}", handler)])["paths"]["/tried/{id}"]["post"]

    assert [(p["name"], p["in"], p["required"], p["schema"]) for p in told["parameters"][:3]] == [
        ("id", "path", True, {"type": "string", "format": "uuid"}),
        ("page", "query", False, {"type": "integer"}),
        ("tag", "query", False, {"type": "string", "default": "none", "pattern": STORABLE}),
    ]
    assert told["parameters"][3]["name"] == "Idempotency-Key"
    assert told["requestBody"]["required"] is False
    assert list(told["responses"]) == [
        *("201", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "500", "503")
    ]
    assert told["responses"]["409"]["description"] == "It is there."


def asked(handler: object) -> web.Request:
    return cast("web.Request", SimpleNamespace(match_info=SimpleNamespace(handler=handler), query={}))


async def test_a_handler_validates_by_what_it_declares_and_by_nothing_else() -> None:
    class Asked(BaseModel):
        page: int = 1

    class Other(Asked):
        pass

    @Operation("Try it", query=Asked, body=Asked)
    async def handler() -> None: ...

    assert requests.query(asked(handler), Asked) == Asked()
    with pytest.raises(TypeError, match="declares other parameters"):
        requests.query(asked(handler), Other)
    with pytest.raises(TypeError, match="declares another body"):
        await requests.body(asked(handler), Other)


# /docs ----------------------------------------------------------------------------------------------------------------

PAGE = docs_page.page(DOCUMENT)


def test_the_page_fetches_nothing_and_runs_nothing() -> None:
    assert not re.search(r"<(script|link|img|iframe|object|embed|form)\b|\bsrc=|\son\w+=|url\(|@import", PAGE)
    assert set(re.findall(r'href="([^"#][^"]*)"', PAGE)) == {"/openapi.json"}
    assert docs_page.HEADERS["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_the_page_shows_every_operation_with_a_call_to_copy() -> None:
    for _, _, told in OPERATIONS:
        assert f'id="{told["operationId"]}"' in PAGE
    assert PAGE.count("<h3>curl</h3>") == len(OPERATIONS)
    assert "curl &quot;$URL/wp-json/trustlens/v1/customers/$EMAIL_HASH&quot; \\\n  -H &quot;X-TrustLens" in PAGE


def test_what_is_described_cannot_become_markup() -> None:
    evil = "<script>alert(1)</script>"

    @Operation(evil, answer=dict[str, str], errors={404: evil}, examples={evil: evil}, body=Owned("NewRule"))
    async def handler() -> None: ...

    page = docs_page.page(openapi.document([Route("POST", f"/{evil}", handler)], title=evil))

    assert "<script" not in page
    assert "&lt;script&gt;" in page
