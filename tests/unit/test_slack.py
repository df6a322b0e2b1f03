"""Slack messages: the texts of the users' guide's adapter, and nothing from outside that Slack would act on."""

import json
import re
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.destinations import slack
from dispatcher.destinations.webhook import Site, Source, Trial, event_name
from shared.events import EventData, EventType
from unit.test_webhook_bodies import AT, AUTOMATION, CUSTOMER, DATA, SITE, SOURCES, event

BROKEN = re.compile(r"[<>]|&(?!(?:amp|lt|gt);)")


def message(source: Source, *, text: str | None = None, site: Site = SITE) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(slack.render(source, site, include_email=True, text=text))
    return parsed


def section(source: Source, *, text: str | None = None) -> str:
    found: str = message(source, text=text)["blocks"][0]["text"]["text"]
    return found


def small_print(source: Source, *, text: str | None = None) -> str:
    found: str = message(source, text=text)["blocks"][1]["elements"][0]["text"]
    return found


def texts(body: dict[str, Any]) -> list[str]:
    """All that Slack shows."""
    first, second = body["blocks"]
    return [body["text"], first["text"]["text"], *(element["text"] for element in second["elements"])]


def of_segment(kind: EventType, segment: str) -> Source:
    return event(kind, DATA[kind], customer=CUSTOMER.model_copy(update={"segment": segment}))


def test_a_high_risk_order_reads_as_in_the_guide() -> None:
    order = event("high_risk_order", DATA["high_risk_order"])
    assert message(order)["text"] == ":warning: High-risk order placed"
    assert section(order) == (
        "*Order #4821* — USD 249.00\nCustomer segment: *risk* (score: 34)\nReturn rate: 41.7% over 12 orders"
    )


def test_a_blocked_customer_reads_as_in_the_guide() -> None:
    blocked = event("customer_blocked", DATA["customer_blocked"])
    assert message(blocked)["text"] == ":warning: Customer blocked"
    assert section(blocked) == "Customer (score: *34*, segment: *risk*) blocked.\nReason: Rule: Serial returner"


@pytest.mark.parametrize("reason", [None, "", "  \n "])
def test_a_block_without_a_reason_says_not_specified(reason: str | None) -> None:
    assert section(event("customer_blocked", EventData(reason=reason))).endswith("\nReason: not specified")


@pytest.mark.parametrize("kind", ["high_risk_order", "customer_blocked"])
def test_critical_customers_get_the_rotating_light(kind: EventType) -> None:
    assert message(of_segment(kind, "critical"))["text"].startswith(":rotating_light: ")
    assert message(of_segment(kind, "risk"))["text"].startswith(":warning: ")


@pytest.mark.parametrize("source", SOURCES, ids=event_name)
def test_every_other_event_is_named_as_in_the_guide(source: Source) -> None:
    if event_name(source) not in {"high_risk_order", "customer_blocked"}:
        assert message(source)["text"] == f"TrustLens event: {event_name(source)}"


@pytest.mark.parametrize("kind", get_args(EventType))
def test_every_event_renders(kind: EventType) -> None:
    assert all(texts(message(event(kind, DATA.get(kind, EventData())))))


def test_a_high_risk_order_without_its_order_is_no_message() -> None:
    with pytest.raises(ValueError, match="without an order"):
        slack.render(event("high_risk_order", EventData()), SITE, include_email=True)


def test_the_test_delivery_says_that_it_is_one() -> None:
    assert section(Trial(AT)) == "This is a test delivery from TrustLens."


def test_a_rule_says_its_name_and_order() -> None:
    assert section(AUTOMATION).startswith("Rule *Watch returns* fired\nOrder 4821\nCustomer segment: *risk*")


def test_a_rules_own_text_stands_in_place_of_ours_with_the_facts_below() -> None:
    body = message(AUTOMATION, text="Look at <this> & hurry\nplease")
    assert body["text"] == body["blocks"][0]["text"]["text"] == "Look at &lt;this&gt; &amp; hurry\nplease"
    assert small_print(AUTOMATION, text="x") == (
        "Café “Your Store” · segment risk, score 34 · rule Watch returns · order 4821"
    )


def test_the_store_is_named_and_one_without_a_name_by_its_url() -> None:
    assert small_print(AUTOMATION) == SITE.name
    assert message(AUTOMATION, site=Site(url="https://a.example", name=""))["blocks"][1]["elements"][0]["text"] == (
        "https://a.example"
    )


@pytest.mark.parametrize("source", SOURCES, ids=event_name)
@pytest.mark.parametrize("include_email", [True, False])
def test_no_message_has_an_address(source: Source, include_email: bool) -> None:
    assert b"@" not in slack.render(source, SITE, include_email=include_email)


@given(st.text(), st.text(), st.sampled_from(["jane@example.com", "JANE@Example.com"]))
def test_the_customers_address_is_taken_out_of_reasons_and_texts(before: str, after: str, address: str) -> None:
    reason = f"{before}{address}{after}"
    blocked = event("customer_blocked", EventData(reason=reason))
    for body in (message(blocked), message(AUTOMATION, text=reason)):
        assert not any("jane@example.com" in text.lower() for text in texts(body))


hostile = st.lists(
    st.one_of(st.sampled_from(["<!channel>", "<@U1>", "<http://x|y>", "&lt;", "&", "&amp;", "<", ">", "\n"]), st.text())
).map("".join)


@given(text=hostile, reason=hostile, name=hostile, number=hostile)
def test_nothing_can_open_a_tag_or_a_mention(text: str, reason: str, name: str, number: str) -> None:
    rule = AUTOMATION.rule.model_copy(update={"name": name})
    fired = AUTOMATION.model_copy(update={"rule": rule})
    order = DATA["high_risk_order"].order
    assert order
    site = Site(url="https://a.example", name=name)
    for source in (
        fired,
        event("customer_blocked", EventData(reason=reason)),
        event("high_risk_order", EventData(order=order.model_copy(update={"number": number, "currency": name[:3]}))),
    ):
        for own in (None, text):
            for shown in texts(message(source, text=own, site=site)):
                assert not BROKEN.search(shown), shown
                assert 0 < len(shown) <= slack.LONGEST


@given(st.integers(0, 10), st.sampled_from(["&", "<", "x&"]))
def test_a_text_that_is_too_long_is_cut_between_characters(before: int, repeated: str) -> None:
    cut = section(AUTOMATION, text="x" * before + repeated * 4000)
    assert len(cut) <= slack.LONGEST
    assert cut.endswith("…")
    assert not BROKEN.search(cut)


def test_slack_finds_no_links_and_names_by_itself() -> None:
    first, second = message(AUTOMATION, text="@channel #general")["blocks"]
    assert first["text"]["verbatim"] is second["elements"][0]["verbatim"] is True


def test_amounts_have_their_currencys_decimals() -> None:
    order = DATA["high_risk_order"].order
    assert order
    dinars = order.model_copy(update={"total": Decimal("1.25"), "currency": "KWD"})
    assert "KWD 1.250\n" in section(event("high_risk_order", EventData(order=dinars)))
