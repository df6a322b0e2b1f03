"""The API's description (OpenAPI 3.1), made of the declarations that its handlers validate by."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import core_schema

from api.operations import Access, Header, Operation, Owned, access_of, operation_of
from api.values import STORABLE

BASE = "/wp-json/trustlens/v1"
VERSION = "1"
REFERENCE = "#/components/schemas/{model}"

Json = dict[str, Any]

OWNED: Mapping[str, Json] = json.loads(Path(__file__).with_name("owned.json").read_text())
"""Schemas of what other services validate. A test compares them with the models that they are made from."""

_VARIABLE = re.compile(r"{(\w+)}")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    """As it is routed, its variables in braces."""
    handler: Callable[..., Any]


class UndeclaredError(Exception):
    """A route that says nothing of itself."""


class Schemas(GenerateJsonSchema):
    """As our own JSON has it: amounts are numbers in answers, texts can be stored, and no field has a title as well."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> Json:
        return {"type": "number"} if self.mode == "serialization" else super().decimal_schema(schema)

    def str_schema(self, schema: core_schema.StringSchema) -> Json:
        told = super().str_schema(schema)
        return told if self.mode == "serialization" or "pattern" in told else {**told, "pattern": STORABLE}

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name).lstrip("_")

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # none should
        return False


def document(routes: Iterable[Route], *, title: str = "TrustLens") -> Json:
    """
    Raises:
        UndeclaredError: a route has no declaration.
        ValueError: two different schemas have the same name.
    """
    declared = [(route, _declared(route)) for route in routes]
    types = _Types([operation for _, operation in declared])
    paths: dict[str, Json] = {}
    for route, operation in declared:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, operation, types)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": VERSION, "description": _ABOUT},
        "servers": [{"url": BASE}],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(route) for route, _ in declared)],
        "paths": paths,
        "components": {
            "schemas": types.components,
            "responses": {_named(status): _error(status) for status in _ERRORS},
            "headers": _HEADERS,
            "securitySchemes": _SCHEMES,
        },
    }


def _declared(route: Route) -> Operation:
    operation = operation_of(route.handler)
    if operation is None:
        raise UndeclaredError(f"{route.method} {route.path}")
    return operation


# Schemas --------------------------------------------------------------------------------------------------------------


class _Types:
    """The schemas of all that is taken and answered, which refer to each other by name."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        adapters = {id(kind): TypeAdapter(kind) for kind in _answered(operations)}
        asked: list[tuple[int, JsonSchemaMode, TypeAdapter[Any]]] = [
            *((key, "serialization", adapter) for key, adapter in adapters.items()),
            *((id(model), "validation", TypeAdapter(model)) for model in _taken(operations)),
        ]
        self._made, rest = TypeAdapter.json_schemas(asked, ref_template=REFERENCE, schema_generator=Schemas)
        ours = {name: _owned_resolved(schema) for name, schema in {**rest.get("$defs", {}), "Error": _ERROR}.items()}
        if twice := ours.keys() & OWNED.keys():
            raise ValueError(f"two schemas each are called {', '.join(sorted(twice))}")
        self.components = dict(sorted({**ours, **OWNED}.items()))

    def answered(self, kind: Any) -> Json:
        return dict(self._made[id(kind), "serialization"])

    def taken(self, body: type[BaseModel] | Owned) -> Json:
        return _reference(body.name) if isinstance(body, Owned) else dict(self._made[id(body), "validation"])


def _answered(operations: Iterable[Operation]) -> list[Any]:
    kinds = [kind for operation in operations for kind in (operation.answer, *operation.others.values())]
    return list({id(kind): kind for kind in kinds if kind is not None}.values())


def _taken(operations: Iterable[Operation]) -> list[type[BaseModel]]:
    return list(dict.fromkeys(op.body for op in operations if op.body and not isinstance(op.body, Owned)))


def _reference(name: str) -> Json:
    return {"$ref": REFERENCE.format(model=name)}


def _owned_resolved(schema: Any) -> Any:
    """With the owner's schema in the place of a mark of it: see `schemas.owned`."""
    match schema:
        case {"x-owned": str(name), **rest}:
            return {**_of_owner(name), **rest}
        case dict():
            return {key: _owned_resolved(value) for key, value in schema.items()}
        case list():
            return [_owned_resolved(item) for item in schema]
        case _:
            return schema


def _of_owner(path: str) -> Json:
    """`Model`, or `Model.field`."""
    name, _, field = path.partition(".")
    return dict(OWNED[name]["properties"][field]) if field else _reference(name)


# Operations -----------------------------------------------------------------------------------------------------------


def _operation(route: Route, operation: Operation, types: _Types) -> Json:
    access = access_of(route.handler)
    told: Json = {
        "operationId": f"{_module(route)}_{route.handler.__name__}_{route.method.lower()}",
        "tags": [_tag(route)],
        "summary": operation.summary,
        "parameters": [*_of_path(route.path, operation), *_of_query(operation.query), *_of_headers(route, operation)],
        "responses": {**_answers(operation, types), **_refusals(route, operation, access)},
        "security": _security(access),
    }
    if access:
        told["description"] = f"Needs a key with the scope `{access.scope}`."
    if operation.body:
        told["requestBody"] = _body(operation, operation.body, types)
    return told


def _module(route: Route) -> str:
    return route.handler.__module__.rpartition(".")[2]


def _tag(route: Route) -> str:
    return _module(route).partition("_")[0]


def _of_path(path: str, operation: Operation) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": operation.path.get(name) or _VARIABLES[name]}
        for name in _VARIABLE.findall(path)
    ]


def _of_query(model: type[BaseModel] | None) -> list[Json]:
    if model is None:
        return []
    schema = model.model_json_schema(schema_generator=Schemas)
    required = schema.get("required", ())
    return [_parameter(name, of, required=name in required) for name, of in schema["properties"].items()]


def _parameter(name: str, schema: Mapping[str, Any], *, required: bool) -> Json:
    told = {key: value for key, value in schema.items() if key not in {"anyOf", "description"}}
    # What may be left out has null among its types, and no parameter can be null.
    given = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    told |= given[0] if len(given) == 1 else {"anyOf": given} if given else {}
    if told.get("default", ...) is None:
        del told["default"]
    described = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, "in": "query", "required": required, "schema": told, **described}


def _of_headers(route: Route, operation: Operation) -> list[Json]:
    access = access_of(route.handler)
    headers = [*operation.headers, *([_IDEMPOTENCY] if _once(route, access) else [])]
    return [
        {"name": h.name, "in": "header", "description": h.description, "schema": {"type": "string", **h.schema}}
        for h in headers
    ]


def _once(route: Route, access: Access | None) -> bool:
    """Whether it may carry an Idempotency-Key."""
    return access is not None and access.changes and route.method == "POST"


def _body(operation: Operation, body: type[BaseModel] | Owned, types: _Types) -> Json:
    content: Json = {"schema": types.taken(body)}
    if operation.examples:
        content["examples"] = {name: {"value": value} for name, value in operation.examples.items()}
    return {"required": not operation.optional, "content": {"application/json": content}}


def _answers(operation: Operation, types: _Types) -> dict[str, Json]:
    kinds = {operation.status: operation.answer, **operation.others}
    paged = _is_paged(operation)
    return {str(status): _answer(status, kind, types, paged=paged) for status, kind in sorted(kinds.items())}


def _is_paged(operation: Operation) -> bool:
    """Whether it is a list of which a page is asked for."""
    asked = operation.query.model_fields.values() if operation.query else ()
    return get_origin(operation.answer) is list and any(field.alias == "per_page" for field in asked)


def _answer(status: int, kind: Any, types: _Types, *, paged: bool) -> Json:
    told: Json = {"description": _DONE.get(status, "Done.")}
    if kind is not None:
        told["content"] = {"application/json": {"schema": types.answered(kind)}}
    if paged:
        told["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in _PAGING}
    return told


def _refusals(route: Route, operation: Operation, access: Access | None) -> dict[str, Json]:
    statuses = {400, 500, 503}
    if access:
        statuses |= {401, 403, 429}
    if _VARIABLE.search(route.path):
        statuses |= {404}
    if route.method in _WITH_BODY:
        statuses |= {408, 413, 415}
    if _once(route, access):
        statuses |= {409, 422}
    told = {str(status): {"$ref": f"#/components/responses/{_named(status)}"} for status in statuses}
    own = {str(status): {**_error(status), "description": when} for status, when in operation.errors.items()}
    return dict(sorted({**told, **own}.items()))


def _security(access: Access | None) -> list[Json]:
    """Basic takes the place of a WordPress user: it takes a key with the scope admin, whatever is asked for."""
    return [{"key": [access.scope]}, {"basic": ["admin"]}] if access else []


# What is the same everywhere ------------------------------------------------------------------------------------------


def _named(status: int) -> str:
    return f"Refused{status}"


def _error(status: int) -> Json:
    told: Json = {
        "description": _ERRORS[status],
        "content": {"application/json": {"schema": _reference("Error")}},
    }
    if status in {429, 503}:
        told["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return told


_ABOUT = f"""\
Trust scores of a store's customers, and all that is made of them.

Errors are WordPress': `{{"code", "message", "data": {{"status"}}}}`; a 400 names each bad field in `data.params`. Lists
are bare arrays, with `X-WP-Total`, `X-WP-TotalPages` and `Link` beside them; a page past the end is empty. Dates are
`Y-m-d H:i:s`, UTC. Unknown parameters are ignored; unknown fields of a body are refused. HEAD answers wherever GET
does, and OPTIONS everywhere. What a route does not know is 404, and 405 where it knows other methods.

A key is sent as `X-TrustLens-API-Key`. One with the scope `admin` is also taken as the password of HTTP Basic, with any
user name, as WordPress clients send application passwords. All paths begin with `{BASE}`.
"""

_SCHEMES: Json = {
    "key": {"type": "apiKey", "in": "header", "name": "X-TrustLens-API-Key"},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "Any user name, and a key with the scope admin as the password.",
    },
}

_PAGING = ("X-WP-Total", "X-WP-TotalPages", "Link")
_HEADERS: Json = {
    "X-WP-Total": {"description": "Items on all pages.", "required": True, "schema": {"type": "integer", "minimum": 0}},
    "X-WP-TotalPages": {"description": "Pages.", "required": True, "schema": {"type": "integer", "minimum": 0}},
    "Link": {"description": "The first, prev, next and last page, where there are.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
}

_IDEMPOTENCY = Header(
    "Idempotency-Key",
    "Any text of one's own: sent again with it, this is not done again, and answers what it answered, for a day.",
    {"pattern": "^[ -~]{1,255}$"},
)

_VARIABLES: Mapping[str, Json] = {
    "email_hash": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
    "id": {"type": "string", "format": "uuid"},
    "store_id": {"type": "string", "format": "uuid"},
}

_DONE: Mapping[int, str] = {201: "Made.", 202: "Accepted.", 204: "Done; there is nothing to say."}

_ERRORS: Mapping[int, str] = {
    400: "A parameter or the body is wrong: `data.params` says what, by field.",
    401: "No key, or none that is known.",
    403: "The key lacks the scope.",
    404: "There is no such thing.",
    409: "Not as things stand; or a request with the same Idempotency-Key is being answered.",
    408: "The body did not come.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    422: "The Idempotency-Key was used before, with another body.",
    429: "Too many requests of this key, where a rate limit is set.",
    500: "An error on our side, logged under `data.error_id`.",
    503: "Not possible just now.",
}

_ERROR: Json = {
    "type": "object",
    "required": ["code", "message", "data"],
    "properties": {
        "code": {"type": "string", "examples": ["rest_invalid_param"]},
        "message": {"type": "string"},
        "data": {
            "type": "object",
            "required": ["status"],
            "properties": {
                "status": {"type": "integer", "description": "The HTTP status."},
                "params": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "By field, what is wrong with it.",
                },
                "error_id": {"type": "string", "description": "Of a 500: under it, it is logged."},
            },
        },
    },
}
