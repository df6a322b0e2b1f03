"""docs/api.md names every route, and tests and files that are there."""

import json
import re
from itertools import chain

import pytest

from api.routes import (
    audit,
    chargebacks,
    customers,
    dead,
    deliveries,
    ingest,
    jobs,
    keys,
    rules,
    rules_try,
    stats,
    store,
    sync,
    webhooks,
)
from cli.customers import app
from local_stack.folder import CHECKOUT

TEXT = (CHECKOUT / "docs" / "api.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"\b([ei]) `(test_\w+\.py)::(\w+)`", TEXT)))
FOLDERS = {"e": "e2e", "i": "integration"}
ZENDESK = CHECKOUT / "docs" / "integrations" / "zendesk"


@pytest.mark.parametrize(("folder", "file", "name"), NAMED)
def test_each_test_that_it_names_is_there(folder: str, file: str, name: str) -> None:
    text = (CHECKOUT / "tests" / FOLDERS[folder] / file).read_text(encoding="utf-8")
    assert re.search(rf"^async def {name}\(", text, re.MULTILINE)


def test_each_line_of_the_seed_has_a_request_and_a_test() -> None:
    rows = TEXT.partition("| the seed's line |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(rows) == 17
    assert all("`curl " in row and "::" in row for row in rows)


def test_each_route_is_told() -> None:
    """Those of rules in a page of their own; PUT and POST that stand for PATCH once for all."""
    modules = (audit, chargebacks, customers, dead, deliveries, ingest, jobs, keys, stats, store, sync, webhooks)
    routes = {(route.method, route.path) for route in chain.from_iterable(module.ROUTES for module in modules)}
    patched = {path for method, path in routes if method == "PATCH"}
    alike = {(method, path) for method in ("PUT", "POST") for path in patched if ("GET", path) in routes} - {
        ("POST", "/webhooks")
    }
    plain = re.sub(r"\s+", " ", TEXT)
    assert [f"{method} {path}" for method, path in routes - alike if f"{method} {path}" not in plain] == []
    assert len((*rules.ROUTES, *rules_try.ROUTES)) == 20


def test_each_command_is_told() -> None:
    told = TEXT.partition("## On the command line")[2]
    there = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {name for name in there if not re.search(rf"\b{name}\b", told)} == set()


def test_the_zendesk_app_has_the_files_and_settings_that_its_manifest_names() -> None:
    manifest = json.loads((ZENDESK / "manifest.json").read_text())
    page = ZENDESK / manifest["location"]["support"]["ticket_sidebar"]
    assert (page.parent / "sidebar.mjs").exists()
    words = json.loads((ZENDESK / "translations" / f"{manifest['defaultLocale']}.json").read_text())["app"]
    assert set(words["parameters"]) == {parameter["name"] for parameter in manifest["parameters"]}
    asked = (page.parent / "sidebar.mjs").read_text()
    assert all(
        f"settings.{parameter['name']}" in asked or f"{{{{setting.{parameter['name']}}}}}" in asked
        for parameter in manifest["parameters"]
    )
