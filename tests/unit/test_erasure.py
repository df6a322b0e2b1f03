"""What is left of a customer who was erased, in what services parsed and in what is only bytes."""

import json
from collections.abc import Callable
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import erasure
from dispatcher.destinations import email, slack, webhook, woocommerce
from dispatcher.destinations.webhook import Site
from dispatcher.store import Body
from shared.erasure import REMOVED, Person, forget_automation, forget_event, forget_text
from shared.events import (
    ActionRef,
    Automation,
    CheckoutAttemptFact,
    Event,
    EventType,
    OrderFact,
    WebhookEvent,
)
from shared.identity import email_hash
from support import facts
from support.dispatching import CUSTOMER, automation, event
from support.facts import mark

KEY = b"k" * 32
JANE = "jane@example.com"
PERSON = Person(email_hash(KEY, JANE), KEY)
SITE = Site("https://shop.example", "Shop")
STORE = UUID(int=1)


def of_jane(source: Any) -> Any:
    return source.model_copy(update={"customer": CUSTOMER.model_copy(update={"email_hash": PERSON.email_hash})})


def told(kind: EventType) -> Event:
    """With her address also where somebody wrote it."""
    happened = event(STORE, kind)
    data = happened.data.model_copy(update={"reason": f'{JANE} wrote "no" & <never>'})
    made: Event = of_jane(happened.model_copy(update={"data": data}))
    return made


def fired(action: str, **params: str) -> Automation:
    asked = automation(STORE, None).model_copy(update={"action": ActionRef(position=0, type=action, params=params)})
    made: Automation = of_jane(asked)
    return made


def frozen(shape: str, content: bytes) -> Body:
    happened = event(STORE)
    return Body(happened.recorded_at, happened.id, shape, PERSON.email_hash, content)


# Whose address it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [JANE, "Jane@Example.COM", " jane@example.com\n"])
def test_an_address_is_known_in_every_form(text: str) -> None:
    assert PERSON.has(text)


@pytest.mark.parametrize("text", ["", "@", "jane", "jane@example.org", "ajane@example.com", "jane@example.com.au"])
def test_another_address_is_not_hers(text: str) -> None:
    assert not PERSON.has(text)


def test_an_international_domain_is_the_same_in_both_spellings() -> None:
    person = Person(email_hash(KEY, "jane@xn--bcher-kva.example"), KEY)
    assert person.has("jane@bücher.example")
    assert person.removed_from("ask jane@Bücher.example.") == f"ask {REMOVED}."


@pytest.mark.parametrize(
    "text",
    [
        "{}", "<{}>", "mailto:{}", "write to {}.", "({})", "{}, john@example.com", '"{}"', "https://x.example/?email={}",
        "a@b {} c@d", "{}!",
    ],
)  # fmt: skip
def test_an_address_is_found_within_a_text(text: str) -> None:
    assert PERSON.removed_from(text.format(JANE.upper())) == text.format(REMOVED)


def test_a_word_of_a_million_letters_is_read_once() -> None:
    word = "a" * 1_000_000
    assert PERSON.removed_from(f"@ {word} {JANE}") == f"@ {word} {REMOVED}"


@given(st.text(), st.text())
def test_no_text_around_it_hides_the_address_that_stands_between_blanks(before: str, after: str) -> None:
    assert JANE not in PERSON.removed_from(f"{before} {JANE} {after}").split(" ")


# Bodies ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(set(get_args(WebhookEvent)) - {"test", "automation_triggered"}))
@pytest.mark.parametrize(("shape", "render"), [("trustlens", webhook.render), ("slack", slack.render)])
def test_a_frozen_body_is_as_if_the_event_had_never_told_of_the_person(
    kind: EventType, shape: str, render: Callable[..., bytes]
) -> None:
    happened = told(kind)
    content = render(happened, SITE, include_email=True)
    left = erasure.without(frozen(shape, content), PERSON)
    assert left == render(forget_event(happened), SITE, include_email=True)
    assert JANE.encode() not in left
    assert erasure.without(frozen(shape, left), PERSON) == left


@pytest.mark.parametrize("render", [webhook.render, slack.render])
def test_a_body_of_somebody_else_stays_byte_for_byte(render: Callable[..., bytes]) -> None:
    john = CUSTOMER.model_copy(update={"email": "john@example.com"})
    content = render(event(STORE, "customer_blocked").model_copy(update={"customer": john}), SITE, include_email=True)
    assert forget_text(content, PERSON) == content


def test_a_webhook_of_a_rule_loses_the_address_and_nothing_else() -> None:
    source = fired("send_webhook")
    content = webhook.render(source, SITE, include_email=True)
    left = erasure.without(frozen("trustlens", content), PERSON)
    assert left == webhook.render(source, SITE, include_email=False)


def test_a_mail_to_the_customer_cannot_be_without_the_address() -> None:
    source = fired("send_email", to="Jane@Example.com", subject="s", text=f"Dear {JANE}")
    content = email.render(source, SITE, to="Jane@Example.com", subject="s", text=f"Dear {JANE}")
    assert erasure.without(frozen("email", content), PERSON) == erasure.GONE
    assert erasure.without(frozen("email", erasure.GONE), PERSON) == erasure.GONE
    assert dict(forget_automation(source, PERSON).action.params) == {"subject": "s", "text": f"Dear {REMOVED}"}


def test_a_mail_about_the_customer_goes_on_without_the_address() -> None:
    content = email.render(fired("send_email"), SITE, to="owner@shop.example", subject="s", text=f"Look at {JANE}")
    left = json.loads(erasure.without(frozen("email", content), PERSON))
    assert (left["to"], left["text"].splitlines()[0]) == ("owner@shop.example", f"Look at {REMOVED}")


def test_a_change_of_an_order_keeps_its_note_without_the_address() -> None:
    content = woocommerce.render(fired("hold_order"), action="hold_order", reason=f"ask {JANE}")
    left = json.loads(erasure.without(frozen("order", content), PERSON))
    assert left == {"order_id": 4821, "status": "on-hold", "note": f"ask {REMOVED}"}


# Messages -------------------------------------------------------------------------------------------------------------


def test_a_message_without_the_person_is_still_one() -> None:
    left = Event.model_validate_json(forget_text(told("customer_blocked").encode(), PERSON))
    assert (left.customer.email, left.customer.email_domain, left.customer.tags) == (None, None, ())
    assert (left.data.email, left.data.reason) == (None, "")
    assert left.data.order == told("customer_blocked").data.order
    fact = {"store_id": "s", "data": {"email": JANE, "total": 1.10, "note": f"of {JANE}"}}
    assert json.loads(forget_text(json.dumps(fact).encode(), PERSON)) == {
        "store_id": "s",
        "data": {"email": None, "total": 1.1, "note": f"of {REMOVED}"},
    }


def test_a_fact_is_still_one_and_tells_nobody_by_fingerprints_or_the_reasons_of_refunds() -> None:
    seen = (mark("ip", 1),)
    ordered = facts.order(1, JANE, refunds=["1.10"], reason="the lady with the red hair", marks=seen)
    left = OrderFact.model_validate_json(forget_text(ordered.encode(), PERSON)).data
    refunds = (ordered.data.refunds[0].model_copy(update={"reason": ""}),)
    assert left == ordered.data.model_copy(update={"email": None, "fingerprints": (), "refunds": refunds})
    tried = facts.attempt(JANE, "velocity", marks=seen)
    left_of_it = CheckoutAttemptFact.model_validate_json(forget_text(tried.encode(), PERSON)).data
    assert left_of_it == tried.data.model_copy(update={"email": None, "fingerprints": ()})


@pytest.mark.parametrize(
    "raw", [b'{"email": "jane@example.com"', b"\xff jane@example.com", b'[NaN, "jane@example.com"]']
)
def test_what_is_no_json_loses_the_address_all_the_same(raw: bytes) -> None:
    assert forget_text(raw, PERSON) == raw.replace(JANE.encode(), REMOVED.encode())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON)
def test_json_without_the_person_stays_byte_for_byte(value: Any) -> None:
    raw = json.dumps(value).encode()
    assert forget_text(raw, PERSON) == raw


@given(_JSON, st.sampled_from(["email", "note", "reason"]))
def test_the_address_is_found_at_any_depth(value: Any, name: str) -> None:
    raw = json.dumps({"a": [value, {name: JANE}], "b": value}).encode()
    left = forget_text(raw, PERSON)
    assert json.loads(left) == {"a": [value, {name: None}], "b": value}
