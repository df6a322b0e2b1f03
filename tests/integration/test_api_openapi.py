"""/openapi.json and /docs as they are served, and methods as they say."""

import re

import pytest

from api import docs_page
from support.api_client import BASE, ApiClient


async def test_the_description_is_told_to_everybody(api: ApiClient) -> None:
    answer = await api.request("GET", "/openapi.json", key="")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json["openapi"] == "3.1.0"
    assert answer.json["servers"] == [{"url": BASE}]
    assert "/customers/{email_hash}" in answer.json["paths"]


async def test_the_page_is_shown_to_everybody_and_may_fetch_nothing(api: ApiClient) -> None:
    answer = await api.request("GET", "/docs", key="")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert {name: answer.headers[name] for name in docs_page.HEADERS} == dict(docs_page.HEADERS)
    assert "<title>TrustLens API</title>" in answer.text


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_head_answers_without_a_body(api: ApiClient, path: str) -> None:
    answer = await api.request("HEAD", path, key="")
    assert (answer.status, answer.text) == (200, "")


async def test_every_path_allows_exactly_the_methods_that_are_told_of_it(api: ApiClient) -> None:
    paths = (await api.request("GET", "/openapi.json")).json["paths"]
    for path, methods in paths.items():
        told = {method.upper() for method in methods}
        implied = {"OPTIONS", *(["HEAD"] if "GET" in told else [])}

        url = BASE + re.sub(r"{\w+}", "x", path)
        options = await api.request("OPTIONS", url)
        wrong = await api.request("TRACE", url)

        assert options.status == 204
        assert (wrong.status, wrong.json["code"]) == (405, "rest_method_not_allowed")
        assert set(options.headers["Allow"].split(", ")) == told | implied, path
        assert wrong.headers["Allow"] == options.headers["Allow"]
