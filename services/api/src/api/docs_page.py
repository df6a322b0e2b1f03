"""/docs: the API's description as one HTML page, with nothing in it that is fetched, and no script."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from api.values import STORABLE

Json = Mapping[str, Any]

DEEPEST = 4
"""Levels of a body's fields that are shown; below, their types alone."""

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; text-transform: capitalize; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
nav a { margin-right: .8rem; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: 0 .8rem; }
details[open] { padding-bottom: .8rem; }
summary { cursor: pointer; padding: .5rem 0; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); border-radius: 4px; overflow-x: auto; padding: .7rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid var(--line); padding: .25rem .6rem .25rem 0; text-align: left; vertical-align: top; }
td:first-child { white-space: nowrap; }
.method { display: inline-block; font-weight: 600; min-width: 4.5rem; }
.about { white-space: pre-line; } .soft { opacity: .7; }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page(document: Json) -> str:
    """`document`: as `openapi.document` makes it."""
    title = escape(document["info"]["title"])
    tags = [tag["name"] for tag in document["tags"]]
    links = "".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in tags)
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{title} API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{title} API</h1>{_about(document)}"
        f"<nav>{links}</nav>{''.join(_section(document, tag) for tag in tags)}</body></html>\n"
    )


def _about(document: Json) -> str:
    paragraphs = escape(document["info"]["description"]).strip().split("\n\n")
    told = "".join(f"<p>{_code(paragraph)}</p>" for paragraph in paragraphs)
    return f'{told}<p>The same for machines: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>'


def _code(text: str) -> str:
    """Of escaped text, what stands between backquotes as code."""
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(text.split("`")))


def _section(document: Json, tag: str) -> str:
    operations = [
        _operation(document, method, path, told)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
        if tag in told["tags"]
    ]
    return f'<h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(operations)}'


def _operation(document: Json, method: str, path: str, told: Json) -> str:
    return (
        f'<details id="{escape(told["operationId"])}"><summary><span class="method">{method.upper()}</span>'
        f"<code>{escape(path)}</code> {escape(told['summary'])}</summary>"
        f"<p>{_code(escape(told.get('description', '')))}</p>"
        f"{_parameters(document, told['parameters'])}{_body(document, told.get('requestBody'))}"
        f"{_answers(document, told['responses'])}<h3>curl</h3>{_pre(_curl(document, method, path, told))}</details>"
    )


def _parameters(document: Json, parameters: Iterable[Json]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(told['name'])}</code></td>"
        f"<td>{told['in']}{', required' if told.get('required') else ''}</td>"
        f"<td>{escape(_type(document, told['schema']))}</td><td>{_code(escape(told.get('description', '')))}</td></tr>"
        for told in parameters
    )
    return f"<h3>Parameters</h3><table>{rows}</table>" if rows else ""


def _body(document: Json, body: Json | None) -> str:
    if body is None:
        return ""
    content = body["content"]["application/json"]
    needed = "" if body["required"] else ' <span class="soft">(may be left out)</span>'
    examples = "".join(
        f"<h3>Example: {escape(name)}</h3>{_pre(json.dumps(example['value'], indent=2, ensure_ascii=False))}"
        for name, example in content.get("examples", {}).items()
    )
    return f"<h3>Body{needed}</h3>{_fields(document, content['schema'], asked=True)}{examples}"


def _answers(document: Json, responses: Json) -> str:
    good = {status: told for status, told in responses.items() if status < "300"}
    bad = {status: _resolved(document, told) for status, told in responses.items() if status >= "300"}
    shown = "".join(_answer(document, status, told) for status, told in good.items())
    rows = "".join(f"<tr><td>{status}</td><td>{_code(escape(t['description']))}</td></tr>" for status, t in bad.items())
    return f"{shown}<h3>Errors</h3><table>{rows}</table>"


def _answer(document: Json, status: str, told: Json) -> str:
    schema = told.get("content", {}).get("application/json", {}).get("schema")
    headers = ", ".join(f"<code>{escape(name)}</code>" for name in told.get("headers", {}))
    with_headers = f" Headers: {headers}." if headers else ""
    fields = _fields(document, schema) if schema else ""
    return f"<h3>{status}</h3><p>{escape(told['description'])}{with_headers}</p>{fields}"


# Schemas --------------------------------------------------------------------------------------------------------------


def _resolved(document: Json, told: Json) -> Json:
    """What it refers to, if it does."""
    while "$ref" in told:
        found: Any = document
        for part in told["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        told = found
    return told


def _fields(document: Json, schema: Json, *, asked: bool = False) -> str:
    """`asked`: they are to be given, so which of them must be is of use."""
    rows = "".join(
        f"<tr><td><code>{escape(path)}</code></td>"
        f"<td>{escape(_type(document, of))}{', required' if asked and required else ''}</td>"
        f"<td>{_code(escape(of.get('description') or ''))}</td></tr>"
        for path, of, required in _flat(document, schema)
    )
    about = _resolved(document, schema).get("description", "")
    told = f"<p>{escape(_type(document, schema))}. {_code(escape(about))}</p>"
    return told + (f"<table>{rows}</table>" if rows else "")


def _flat(document: Json, schema: Json, prefix: str = "", depth: int = 0) -> list[tuple[str, Json, bool]]:
    """The fields of a schema and of what is in them, by path, with the kind where there are several; if required."""
    if depth == DEEPEST:
        return []
    found: list[tuple[str, Json, bool]] = []
    parts = _parts(document, schema)
    kinds = [part for part in parts if "properties" in part]
    for part in parts:
        base = prefix + (f"<{_kind_of(part)}>" if len(kinds) > 1 and part in kinds else "")
        if part.get("type") == "array" and "items" in part:
            found += _flat(document, part["items"], f"{base}[]", depth + 1)
        for name, of in part.get("properties", {}).items():
            path = f"{base}.{name}" if base else name
            found += [(path, of, name in part.get("required", ())), *_flat(document, of, path, depth + 1)]
    return found


def _kind_of(part: Json) -> str:
    """Of several, as its `type` says, or else its name."""
    of_type = part["properties"].get("type", {})
    return of_type.get("const") or "|".join(of_type.get("enum", [])) or part.get("title", "")


def _parts(document: Json, schema: Json) -> list[Json]:
    """It, or each of its alternatives."""
    resolved = _resolved(document, schema)
    alternatives = resolved.get("anyOf") or resolved.get("oneOf")
    if not alternatives or "properties" in resolved:
        return [resolved]
    return [part for one in alternatives for part in _parts(document, one)]


def _type(document: Json, schema: Json) -> str:
    resolved = _resolved(document, schema)
    alternatives = resolved.get("anyOf") or resolved.get("oneOf")
    if alternatives:
        return " or ".join(dict.fromkeys(_type(document, one) for one in alternatives))
    if "const" in resolved:
        return json.dumps(resolved["const"])
    if "enum" in resolved:
        return ", ".join(map(str, resolved["enum"]))
    return f"{_kind(document, resolved)}{_bounds(resolved)}"


def _kind(document: Json, schema: Json) -> str:
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(document, schema['items'])}" if "items" in schema else "list"
    return " or ".join(kind) if isinstance(kind, list) else str(schema.get("format", kind))


_BOUNDS = {
    "minimum": "from {}",
    "maximum": "to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "pattern": "like {}",
    "default": "default {}",
}


def _bounds(schema: Json) -> str:
    told = [words.format(_shown(schema[name])) for name, words in _BOUNDS.items() if _is_short(schema.get(name))]
    return f" ({', '.join(told)})" if told else ""


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_UNSAID = (None, "", STORABLE)


def _is_short(value: object) -> bool:
    return value not in _UNSAID and len(str(value)) <= 40


# Calls ----------------------------------------------------------------------------------------------------------------


def _curl(document: Json, method: str, path: str, told: Json) -> str:
    variables = {p["name"] for p in told["parameters"] if p["in"] == "path"}
    for name in variables:
        path = path.replace(f"{{{name}}}", f"${name.upper()}")
    needed = "&".join(f"{p['name']}=…" for p in told["parameters"] if p["in"] == "query" and p.get("required"))
    lines = [f'curl {_method(method)}"$URL{document["servers"][0]["url"]}{path}{f"?{needed}" if needed else ""}"']
    if told["security"]:
        lines.append('-H "X-TrustLens-API-Key: $KEY"')
    if example := _first_example(told):
        lines += ['-H "Content-Type: application/json"', f"-d '{json.dumps(example, ensure_ascii=False)}'"]
    return " \\\n  ".join(lines)


def _method(method: str) -> str:
    return "" if method == "get" else f"-X {method.upper()} "


def _first_example(told: Json) -> Any:
    content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    return next((example["value"] for example in content.get("examples", {}).values()), None)


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"
