"""What a store owner may ask for."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from dispatcher.endpoints import (
    DEFAULT_EVENTS,
    PACE,
    SUBSCRIBABLE,
    NewEndpoint,
    Target,
    filter_doubts,
    filter_errors,
)
from shared.mistakes import by_path, mistakes
from shared.targets import Reach

URL = "https://receiver.example/hook"


def asked(reach: Reach | None = None, **fields: Any) -> NewEndpoint:
    return NewEndpoint.model_validate({"url": URL, **fields}, context=reach)


def wrong(reach: Reach | None = None, **fields: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        asked(reach, **fields)
    return mistakes(caught.value)


@pytest.mark.parametrize("fields", [{}, {"events": []}])
def test_without_events_it_gets_the_four_defaults(fields: dict[str, Any]) -> None:
    assert asked(**fields).events == list(DEFAULT_EVENTS)
    assert DEFAULT_EVENTS == ("score_updated", "customer_blocked", "checkout_blocked", "high_risk_order")


def test_each_of_the_eight_events_can_be_subscribed_to_once() -> None:
    assert len(SUBSCRIBABLE) == 8
    assert asked(events=[*SUBSCRIBABLE, "score_updated"]).events == list(SUBSCRIBABLE)


@pytest.mark.parametrize("name", ["order_placed", "test", "SCORE_UPDATED", ""])
def test_an_unknown_event_is_refused_by_name(name: str) -> None:
    assert wrong(events=["score_updated", name]) == {"events": f"has an unknown event: {name}"}


def test_only_https_is_called_unless_the_installation_allows_http() -> None:
    assert wrong(url="http://receiver.example/") == {"url": "must begin with https://"}
    assert asked(Reach(allow_http=True), url="http://receiver.example/").url == "http://receiver.example/"
    assert wrong(Reach(allow_http=True), url="ftp://receiver.example/") == {"url": "must begin with https://"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "https:///path",
        "receiver.example",
        "//receiver.example",
        "javascript:alert(1)",
        "https://user:password@receiver.example/",
        "https://receiver.example:0/",
        "https://receiver.example:99999/",
        "https://receiver.example/a b",
        "https://receiver.example/\n",
        "https://[::1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://2130706433/",
        "https://127.1/",
        "https://" + "a" * 2050,
    ],
)
def test_an_unusable_url_is_refused(url: str) -> None:
    assert set(wrong(url=url)) == {"url"}


def test_an_allowed_network_may_be_named_by_address() -> None:
    reach = Reach(allow_http=True, allowed=[ip_network("127.0.0.0/8")])
    assert asked(reach, url="http://127.0.0.1:8080/hook").url == "http://127.0.0.1:8080/hook"
    assert wrong(reach, url="http://10.0.0.1/") == {"url": "leads to an address that is refused: private"}


@pytest.mark.parametrize("timeout", [0, 31, -1, "10", 1.5, True, None])
def test_a_timeout_is_a_whole_number_of_seconds_from_1_to_30(timeout: object) -> None:
    assert set(wrong(timeout=timeout)) == {"timeout"}
    assert (asked(timeout=1).timeout, asked(timeout=30).timeout, asked().timeout) == (1, 30, 10)


@pytest.mark.parametrize(
    "name",
    ["X-TrustLens-Signature", "x-trustlens-anything", "Host", "content-length", "User-Agent", "Proxy-Authorization"],
)
def test_reserved_headers_are_refused(name: str) -> None:
    assert wrong(headers={name: "x"}) == {"headers": f"has {name!r}, which is reserved"}


@pytest.mark.parametrize(
    "headers", [{"a b": "x"}, {"": "x"}, {"X": "a\r\nY: b"}, {"X": "é"}, {"X": 1}, {"a": "1", "A": "2"}]
)
def test_headers_that_cannot_be_sent_are_refused(headers: object) -> None:
    assert wrong(headers=headers)


def test_an_authorization_header_may_be_sent() -> None:
    assert asked(headers={"Authorization": "Bearer x"}).headers == {"Authorization": "Bearer x"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("delivery", "always"),
        ("format", "teams"),
        ("filter", {"field": "segment"}),
        ("permanent_codes", [200]),
        ("permanent_codes", ["404"]),
        ("standard_webhooks", "yes"),
        ("include_email", "yes"),
        ("secret", 1),
        ("description", "x" * 501),
        ("nonsense", 1),
    ],
)
def test_what_there_is_not_is_refused_by_name(field: str, value: Any) -> None:
    assert {name.partition(".")[0] for name in wrong(**{field: value})} == {field}


def test_a_slack_address_without_the_slack_format_is_refused_with_a_hint() -> None:
    slack = "https://hooks.slack.com/services/T0/B0/x"
    assert wrong(url=slack) == {"format": "must be slack: a hooks.slack.com URL takes Slack messages only"}
    assert asked(url=slack, format="slack").format == "slack"
    assert set(wrong(url="https://HOOKS.slack.com:443/x")) == {"format"}


def test_a_filter_is_a_condition_of_any_depth_that_is_not_too_large() -> None:
    condition = {"any": [{"field": "segment", "operator": "=", "value": "risk"}, {"not": {"all": []}}]}
    assert asked(filter=condition).filter is not None
    leaf = {"field": "segment", "operator": "=", "value": "risk"}
    assert set(wrong(filter={"all": [leaf] * 10_000})) == {"filter.all"}


TOTAL = {"field": "order.total", "operator": ">", "value": 200}
NO_ORDER = "order.total needs an order, and"


@pytest.mark.parametrize(
    ("events", "given", "errors"),
    [
        (
            [],
            {"field": "trust_score", "operator": "<", "value": "30"},
            {"filter.value": "trust_score is a whole number"},
        ),
        (
            ["customer_blocked"],
            {"any": [{"field": "segment", "operator": "=", "value": "Risk"}]},
            {"filter.any.0.value": "segment is vip, trusted, normal, caution, risk or critical"},
        ),
        (["high_risk_order"], TOTAL, {}),
        (["high_risk_order", "customer_blocked"], TOTAL, {}),
        (["customer_blocked"], TOTAL, {"filter.field": f"{NO_ORDER} customer_blocked has none"}),
        (
            ["automation_triggered", "score_updated"],
            {"not": TOTAL},
            {"filter.not.field": f"{NO_ORDER} none of automation_triggered, score_updated has one"},
        ),
        (list(SUBSCRIBABLE), None, {}),
    ],
)
def test_a_filter_that_nothing_can_pass_is_refused_at_its_place(
    events: list[str], given: Any, errors: dict[str, str]
) -> None:
    assert by_path(filter_errors(asked(events=events, filter=given))) == errors


def test_a_filter_on_what_only_some_of_its_events_have_is_doubted() -> None:
    assert filter_doubts(asked(events=["high_risk_order"], filter=TOTAL)) == []
    assert filter_doubts(asked(events=["high_risk_order", "customer_blocked"], filter=TOTAL)) == [
        f"filter.field: {NO_ORDER} customer_blocked has none: it is not met then"
    ]


def test_standard_webhooks_take_a_secret_that_every_library_reads_alike() -> None:
    refused = wrong(standard_webhooks=True, secret="a secret of thirty-two characters")
    assert refused == {"standard_webhooks": "needs a secret of whsec_ and 24 to 64 bytes in base64"}
    assert asked(standard_webhooks=True, secret="whsec_" + "YWJj" * 8).standard_webhooks
    assert asked(standard_webhooks=True).secret is None


NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)


def test_both_secrets_sign_until_the_overlap_ends_and_then_the_new_one_alone() -> None:
    target = Target(uuid4(), URL, 10, "old", {}, next_secret="new", overlap_until=NOW)
    assert target.secrets(NOW - timedelta(microseconds=1)) == ("old", "new")
    assert target.secrets(NOW) == ("new", None)
    assert Target(uuid4(), URL, 10, "old", {}).secrets(NOW) == ("old", None)


def test_the_pace_is_slacks_own() -> None:
    assert timedelta(seconds=1) == PACE
