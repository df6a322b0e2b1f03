"""Stripe's events as disputes and declined cards, and the signature that proves them."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.body import BadBodyError
from api.ingest import fingerprints, stripe
from api.ingest.stripe import Told
from shared.events import FACT, Decline, Dispute, Payment
from support.stripe import BILLING, CREATED, charge, dispute, event, intent, signature, v1

STORE, FACT_ID = UUID(int=1), UUID(int=2)
KEY, SECRET = b"k" * 32, "whsec_test"
NOW = datetime(2026, 6, 5, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
CARD = fingerprints.hashed(KEY, {"payment": "visa 0002"})


def read(body: object) -> Told | str:
    return stripe.read(json.dumps(body).encode(), store_id=STORE, key=KEY, fact_id=FACT_ID)


def told(body: object) -> Told:
    found = read(body)
    assert isinstance(found, Told), found
    assert FACT.validate_json(found.fact.encode()) == found.fact
    return found


def of_dispute(kind: str = "created", **changes: Any) -> Dispute:
    data = told(event(f"charge.dispute.{kind}", dispute(**changes))).fact.data
    assert isinstance(data, Dispute)
    return data


def of_failure(kind: str, thing: dict[str, Any]) -> Decline:
    data = told(event(kind, thing)).fact.data
    assert isinstance(data, Decline)
    return data


def fault(body: object) -> list[str]:
    with pytest.raises(BadBodyError) as caught:
        read(body)
    return list(caught.value.params)


# Disputes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["created", "updated", "closed", "funds_withdrawn", "funds_reinstated"])
def test_each_event_of_a_dispute_tells_how_it_stood_then(kind: str) -> None:
    found = told(event(f"charge.dispute.{kind}", dispute())).fact
    assert (found.id, found.store_id, found.type) == (FACT_ID, STORE, "dispute")
    assert found.occurred_at == datetime.fromtimestamp(CREATED, UTC)
    assert found.data == Dispute(
        id="dp_1",
        payments=("ch_3Q9", "pi_3Q9"),
        amount=Decimal("249.00"),
        currency="EUR",
        reason="fraudulent",
        status="open",
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("warning_needs_response", "warning"),
        ("warning_under_review", "warning"),
        ("warning_closed", "warning"),
        ("needs_response", "open"),
        ("under_review", "under_review"),
        ("won", "won"),
        ("lost", "lost"),
        ("prevented", "warning"),
    ],
)
def test_each_status_of_a_dispute_is_understood(theirs: str, ours: str) -> None:
    assert of_dispute(status=theirs).status == ours


@pytest.mark.parametrize(
    ("currency", "minor", "amount"),
    [
        ("eur", 24900, "249.00"),
        ("usd", 1, "0.01"),
        ("jpy", 2500, "2500"),
        ("krw", 0, "0"),
        ("kwd", 10000, "10.000"),
        ("isk", 500, "5.00"),
        ("ugx", 500, "5.00"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(currency: str, minor: int, amount: str) -> None:
    found = of_dispute(currency=currency, amount=minor)
    assert (found.currency, str(found.amount)) == (currency.upper(), amount)


def test_a_dispute_may_lack_its_intent_or_tell_its_charge_whole() -> None:
    assert of_dispute(payment_intent=None).payments == ("ch_3Q9",)
    assert of_dispute(charge=charge(id="ch_9")).payments == ("ch_9", "pi_3Q9")
    assert of_dispute(charge=None, payment_intent=None).payments == ()


# Declined cards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "thing"), [("payment_intent.payment_failed", intent()), ("charge.failed", charge())])
def test_a_declined_card_tells_who_why_and_which(kind: str, thing: dict[str, Any]) -> None:
    assert of_failure(kind, thing) == Decline(
        email="jane@example.com", fingerprints=CARD, code="insufficient_funds", country="DE"
    )


def test_both_events_of_a_declined_card_are_one_decline() -> None:
    both = (event("payment_intent.payment_failed", intent()), event("charge.failed", charge(), event_id="evt_2"))
    assert len({told(one).digest for one in both}) == 1
    again = event("charge.failed", charge(id="ch_2"), event_id="evt_3")
    assert told(again).digest != told(both[0]).digest


@pytest.mark.parametrize(
    ("changes", "email"),
    [
        ({}, "jane@example.com"),
        ({"billing_details": None, "receipt_email": "r@example.com"}, "r@example.com"),
        (
            {"billing_details": BILLING | {"email": None}, "metadata": {"customer_email": "m@example.com"}},
            "m@example.com",
        ),
        ({"billing_details": {"email": "no address"}}, None),
        ({"billing_details": {}}, None),
    ],
)
def test_whose_card_it_was_is_told_in_one_of_three_places(changes: dict[str, Any], email: str | None) -> None:
    assert of_failure("charge.failed", charge(**changes)).email == email


@pytest.mark.parametrize("unknown", [None, [], "pm_1", 5])
def test_a_decline_without_a_card_s_data_is_one_all_the_same(unknown: Any) -> None:
    found = of_failure("payment_intent.payment_failed", intent(payment_method=unknown, decline_code=unknown and ""))
    assert found == Decline(email="meta@example.com", code="card_declined")


@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        ("payment_intent.payment_failed", intent(type="invalid_request_error")),
        ("payment_intent.payment_failed", intent() | {"last_payment_error": None}),
        ("charge.failed", charge(payment_method_details={"type": "sepa_debit"})),
    ],
)
def test_what_failed_and_is_no_declined_card_has_no_effect(kind: str, thing: dict[str, Any]) -> None:
    assert read(event(kind, thing)) == "Accepted, but of no effect: it is no declined card."


# Cards that paid ------------------------------------------------------------------------------------------------------


def test_a_charge_that_succeeded_tells_the_card_of_its_payment() -> None:
    found = told(event("charge.succeeded", charge(status="succeeded", failure_code=None))).fact
    assert found.data == Payment(payments=("ch_1", "pi_1"), card_brand="visa")
    assert found.occurred_at == datetime.fromtimestamp(CREATED, UTC)


@pytest.mark.parametrize(
    "method",
    [{"type": "sepa_debit", "sepa_debit": {"last4": "3000"}}, {"type": "card", "card": {"brand": "unknown"}}, None],
)
def test_a_charge_without_a_card_of_a_known_brand_has_no_effect(method: dict[str, Any] | None) -> None:
    found = read(event("charge.succeeded", charge(payment_method_details=method)))
    assert found == "Accepted, but of no effect: it was not paid with a card of a known brand."


def test_a_dispute_tells_its_card() -> None:
    assert of_dispute(payment_method_details={"type": "card", "card": {"brand": "amex"}}).card_brand == "amex"
    assert of_dispute(payment_method_details={"type": "klarna"}).card_brand is None


# All of them ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [event("invoice.paid", {}), {"type": "v2.core.event"}, {"type": "", "data": 5}])
def test_an_event_of_another_type_has_no_effect_whatever_it_holds(body: object) -> None:
    assert read(body) == "Accepted, but events of this type have no effect."


def test_an_event_is_known_again_by_its_id_and_only_in_its_store() -> None:
    first = told(event("charge.dispute.created", dispute()))
    assert told(event("charge.dispute.created", dispute(amount=1))).digest == first.digest
    assert told(event("charge.dispute.created", dispute(), event_id="evt_2")).digest != first.digest
    raw = json.dumps(event("charge.dispute.created", dispute())).encode()
    elsewhere = stripe.read(raw, store_id=UUID(int=9), key=KEY, fact_id=FACT_ID)
    assert isinstance(elsewhere, Told)
    assert elsewhere.digest != first.digest


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ({}, "type"),
        ({"type": "charge.failed"}, "id"),
        (event("charge.failed", {}, created="now"), "created"),
        (event("charge.failed", {}, created=True), "created"),
        (event("charge.failed", {}), "data.object.id"),
        (event("charge.dispute.created", dispute(amount="1.00")), "data.object.amount"),
        (event("charge.dispute.created", dispute(amount=-1)), "data.object.amount"),
        (event("charge.dispute.created", dispute(currency="euro")), "data.object.currency"),
        (event("charge.dispute.created", dispute(status="argued")), "data.object.status"),
        (event("charge.dispute.created", dispute(id="")), "data.object.id"),
        (event("charge.dispute.created", {}) | {"data": None}, "data"),
    ],
)
def test_the_wrong_field_of_an_event_is_named(body: object, field: str) -> None:
    assert field in fault(body)


values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["email", "card", "id"]), inner),
    max_leaves=6,
)


@given(values, st.sampled_from(sorted(charge())), st.sampled_from(sorted(dispute())))
def test_any_value_in_any_field_is_read_or_told(value: Any, of_charge: str, of_dispute: str) -> None:
    bodies = (
        event("charge.failed", charge(**{of_charge: value})),
        event("charge.dispute.closed", dispute(**{of_dispute: value})),
    )
    for body, field in zip(bodies, (of_charge, of_dispute), strict=True):
        try:
            found = read(body)
        except BadBodyError as error:
            assert all(name.startswith(f"data.object.{field}") for name in error.params)  # noqa: PT017  # or it is right
        else:
            assert isinstance(found, str) or FACT.validate_json(found.fact.encode()) == found.fact


# Signatures -----------------------------------------------------------------------------------------------------------


@given(st.binary(), st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_signature_fits_and_any_changed_byte_breaks_it(raw: bytes, secret: str) -> None:
    header = signature(raw, secret, NOW)
    assert stripe.signature_fault(raw, secret, header, NOW) is None
    assert stripe.signature_fault(raw + b" ", secret, header, NOW)
    assert stripe.signature_fault(raw, secret + "x", header, NOW)
    assert stripe.signature_fault(raw, secret, header.replace(f"t={AT}", f"t={AT + 1}"), NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_a_signature_holds_for_five_minutes_either_way(seconds: int, taken: bool) -> None:
    fault = stripe.signature_fault(b"{}", SECRET, signature(b"{}", SECRET, NOW), NOW + timedelta(seconds=seconds))
    assert fault == (None if taken else "Stripe-Signature is of another time: more than 300 s from now.")


def test_while_a_secret_is_rolled_one_signature_of_several_is_enough() -> None:
    good, bad = v1(b"{}", SECRET, AT), v1(b"{}", "whsec_old", AT)
    for header in (f"t={AT},v1={bad},v1={good}", f"t={AT},v1={good},v1={bad}", f" v1={good}, t={AT} "):
        assert stripe.signature_fault(b"{}", SECRET, header, NOW) is None
    assert stripe.signature_fault(b"{}", SECRET, f"t={AT},v1={bad},v0={good}", NOW)


@pytest.mark.parametrize(
    "header",
    ["", "t=,v1=", "v1=abc", "t=1", "t=x,v1=00", "t=1,t=2,v1=00", "t=99999999999999,v1=00", "é", ",,,", "t=-1"],
)
def test_what_is_no_signature_is_told_as_such_and_no_error_of_ours(header: str) -> None:
    assert stripe.signature_fault(b"{}", SECRET, header, NOW)
