"""A rate limit per key, over real HTTP."""

from api.settings import ApiSettings
from api.stores import CreatedStore
from support.api_client import ApiClient, serving

TOLD = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


async def test_without_a_limit_nothing_is_said_of_one(api: ApiClient) -> None:
    answers = [await api.get("/stats") for _ in range(20)]

    assert {answer.status for answer in answers} == {200}
    assert not set(TOLD) & set(answers[-1].headers)


async def test_a_key_that_asks_too_often_is_told_how_long_to_wait_and_others_are_not(
    api_settings: ApiSettings, api_store: CreatedStore
) -> None:
    settings = api_settings.model_copy(update={"rate_limit": 0.02})
    async with serving(settings, api_store) as api:
        first = await api.post("/keys", json={"name": "other", "scopes": ["read"]})
        refused = [await api.get(path) for path in ("/stats", "/nothing", "/customers/x")]
        other = await api.get("/stats", key=first.json["key"])

    assert first.status == 201
    assert [first.headers[name] for name in TOLD] == ["1", "0", "50"]
    for answer in (refused[0], refused[2]):
        assert (answer.status, answer.json["code"]) == (429, "rest_too_many_requests")
        assert 48 <= int(answer.headers["Retry-After"]) <= 50
        assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert refused[1].status == 404  # nobody is asked who calls a route that there is not
    assert (other.status, other.headers["X-RateLimit-Remaining"]) == (200, "0")


async def test_every_answer_to_a_limited_key_says_what_is_left(
    api_settings: ApiSettings, api_store: CreatedStore
) -> None:
    settings = api_settings.model_copy(update={"rate_limit": 1000.0})
    async with serving(settings, api_store) as api:
        answers = [
            await api.get("/stats"),
            await api.get("/customers?page=0"),
            await api.get("/customers/" + "a" * 64),
            await api.post("/keys", data=b"{"),
            await api.request("HEAD", "/wp-json/trustlens/v1/stats"),
            await api.request("DELETE", "/wp-json/trustlens/v1/keys/7"),
        ]
        stranger = await api.get("/stats", key="tl_unknown")

    assert [answer.status for answer in answers] == [200, 400, 404, 415, 200, 404]
    assert all(set(TOLD) <= set(answer.headers) for answer in answers)
    assert not set(TOLD) & set(stranger.headers)


async def test_what_is_refused_by_the_limit_is_not_in_the_audit_log(
    api_settings: ApiSettings, api_store: CreatedStore
) -> None:
    settings = api_settings.model_copy(update={"rate_limit": 0.02})
    async with serving(settings, api_store) as api:
        reader = (await api.post("/keys", json={"name": "other", "scopes": ["admin"]})).json["key"]
        assert (await api.post("/keys", json={"name": "a", "scopes": ["read"]})).status == 429

        entries = (await api.get("/audit", key=reader)).json

    assert [(entry["action"], entry["status"]) for entry in entries] == [("POST /keys", 201)]
