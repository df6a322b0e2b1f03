"""Items of POST /ingest/events as facts, and the one field that is named where an item is none."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ingest import fingerprints, generic
from api.ingest.generic import Rejected, Taken
from shared.events import (
    FACT,
    Category,
    CheckoutAttempt,
    Decline,
    DeletedOrder,
    Dispute,
    Fact,
    Order,
    Product,
    ReportedRefund,
    Wire,
)
from shared.identity import FINGERPRINT_KINDS
from support.orders import order

STORE = UUID("018f0000-0000-7000-8000-000000000001")
FACT_ID = UUID("018f0000-0000-7000-8000-000000000002")
KEY = b"k" * 32
DISPUTE = {"id": "dp_1", "order_id": 4821, "amount": "249.00", "currency": "eur", "status": "open"}
REFUND = {"id": 9, "order_id": 4821, "amount": "49.00"}


def item(kind: str, data: Any, **changes: Any) -> dict[str, Any]:
    return {"id": "e-1", "type": kind, "occurred_at": "2026-05-28T16:45:00", "data": data} | changes


def read(given_item: object) -> Taken | Rejected:
    return generic.read(given_item, store_id=STORE, key=KEY, fact_id=FACT_ID)


def fact(given_item: object) -> Fact:
    found = read(given_item)
    assert isinstance(found, Taken), found
    return found.fact


def rejected(given_item: object) -> Rejected:
    found = read(given_item)
    assert isinstance(found, Rejected), found
    return found


def hashed(**values: str) -> tuple[str, ...]:
    return fingerprints.hashed(KEY, {kind: values.get(kind) for kind in FINGERPRINT_KINDS})


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("order_deleted", {"id": 4821}, DeletedOrder(id=4821)),
        ("refund", REFUND, ReportedRefund(id=9, order_id=4821, amount=Decimal("49.00"))),
        (
            "refund",
            REFUND | {"amount": 49, "reason": "too small"},
            ReportedRefund(id=9, order_id=4821, amount=Decimal(49), reason="too small"),
        ),
        (
            "dispute",
            DISPUTE,
            Dispute(id="dp_1", order_id=4821, amount=Decimal("249.00"), currency="EUR", status="open"),
        ),
        (
            "dispute",
            {
                "id": "dp_1",
                "payments": ["ch_1"],
                "charge": "ch_1",
                "payment_intent": "pi_1",
                "amount": "1",
                "currency": "EUR",
                "status": "won",
                "reason": "fraudulent",
            },
            Dispute(
                id="dp_1",
                payments=("ch_1", "pi_1"),
                amount=Decimal(1),
                currency="EUR",
                status="won",
                reason="fraudulent",
            ),
        ),
        ("decline", {}, Decline()),
        ("decline", {"email": "", "ip": None, "fingerprint": "", "country": "", "code": None}, Decline()),
        (
            "decline",
            {
                "email": " Jane@Example.com",
                "ip": "93.184.216.34",
                "fingerprint": "d41d",
                "country": "de",
                "code": "card_declined",
            },
            Decline(
                email="jane@example.com",
                fingerprints=hashed(ip="93.184.216.34", device="d41d"),
                country="DE",
                code="card_declined",
            ),
        ),
        ("checkout_attempt", {}, CheckoutAttempt()),
        (
            "checkout_attempt",
            {
                "email": "jane@example.com",
                "ip": "10.0.0.1",
                "fingerprint": "d41d",
                "user_agent": "Mozilla/5.0",
                "amount": "9.50",
                "currency": "EUR",
                "decision": "deny",
                "reason": "velocity",
            },
            CheckoutAttempt(
                email="jane@example.com",
                fingerprints=hashed(device="d41d"),
                amount=Decimal("9.50"),
                currency="EUR",
                decision="deny",
                reason="velocity",
            ),
        ),
        ("product", {"id": 60}, Product(id=60)),
        ("product", {"id": 60, "categories": None}, Product(id=60)),
        (
            "product",
            {
                "id": 60,
                "name": "Boot",
                "price": "9.00",
                "categories": [{"id": 1, "slug": "shoes", "name": "Shoes"}, {"slug": "new"}, {"slug": "shoes"}],
            },
            Product(id=60, categories=(Category(slug="new", name="new"), Category(slug="shoes", name="Shoes"))),
        ),
    ],
)
def test_each_kind_of_item_becomes_its_fact(kind: str, data: dict[str, Any], expected: Wire) -> None:
    found = fact(item(kind, data))

    assert (found.type, found.data) == (kind, expected)
    assert (found.id, found.store_id) == (FACT_ID, STORE)
    assert found.occurred_at == datetime(2026, 5, 28, 16, 45, tzinfo=UTC)
    assert FACT.validate_json(found.encode()) == found


def test_an_order_is_a_wc_v3_order() -> None:
    found = fact(item("order", order(billing={"email": "no address"})))

    assert isinstance(found.data, Order)
    assert (found.data.id, found.data.email, found.data.payments) == (4821, None, ("ch_3Q9",))
    assert found.data.modified_at == datetime(2026, 5, 28, 16, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("needs_response", "open"),
        ("warning_needs_response", "warning"),
        ("warning_under_review", "warning"),
        ("warning_closed", "warning"),
        ("prevented", "warning"),
        *[(status, status) for status in ("open", "under_review", "won", "lost", "warning")],
    ],
)
def test_stripe_s_statuses_are_understood(theirs: str, ours: str) -> None:
    found = fact(item("dispute", DISPUTE | {"status": theirs}))

    assert isinstance(found.data, Dispute)
    assert found.data.status == ours


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (None, "item"),
        ("order", "item"),
        ([], "item"),
        ({}, "id"),
        (item("order_deleted", {"id": 1}, id=""), "id"),
        (item("order_deleted", {"id": 1}, id="x" * 129), "id"),
        (item("order_deleted", {"id": 1}, id="a\0"), "id"),
        (item("order_deleted", {"id": 1}, id=True), "id"),
        (item("customer", {}), "type"),
        (item("order_deleted", {"id": 1}, occurred_at="yesterday"), "occurred_at"),
        (item("order_deleted", {"id": 1}, occurred_at=1700000000), "occurred_at"),
        (item("order_deleted", {"id": 1}, occurred_at="1989-12-31T00:00:00"), "occurred_at"),
        (item("order_deleted", {"id": 1}, occurred_at="2200-01-01T00:00:00"), "occurred_at"),
        (item("order_deleted", None), "data"),
        (item("order_deleted", {"id": 1}, colour="red"), "colour"),
        (item("order_deleted", {"id": 1}, **{"x" * 500: 1}), "x" * 200),
        (item("order_deleted", {}), "data.id"),
        (item("order_deleted", {"id": 0}), "data.id"),
        (item("order_deleted", {"id": 1, "colour": "red"}), "data.colour"),
        (item("order", {}), "data.id"),
        (item("order", order(total="-1")), "data.total"),
        (item("order", order(meta_data=[{"value": float("nan")}])), "data.meta_data.0.value"),
        (item("order", {"code": "woocommerce_rest_cannot_view", "message": "Sorry."}), "data.code"),
        (item("refund", REFUND | {"amount": "-1"}), "data.amount"),
        (item("refund", REFUND | {"order_id": None}), "data.order_id"),
        (item("refund", REFUND | {"reason": "x" * 501}), "data.reason"),
        (item("dispute", DISPUTE | {"order_id": None}), "data"),
        (item("dispute", DISPUTE | {"status": "closed"}), "data.status"),
        (item("dispute", DISPUTE | {"status": {}}), "data.status"),
        (item("dispute", DISPUTE | {"id": "x" * 201}), "data.id"),
        (item("dispute", DISPUTE | {"payments": ["p"] * 11}), "data.payments"),
        (item("dispute", DISPUTE | {"payments": ["x" * 201]}), "data.payments.0"),
        (item("dispute", DISPUTE | {"currency": "EURO"}), "data.currency"),
        (item("dispute", DISPUTE | {"evidence_details": {}}), "data.evidence_details"),
        (item("decline", {"email": "jane"}), "data.email"),
        (item("decline", {"email": 5}), "data.email"),
        (item("decline", {"email": "\ud800@example.com"}), "data.email"),
        (item("decline", {"email": "x" * 5000 + "@example.com"}), "data.email"),
        (item("decline", {"ip": "unknown"}), "data.ip"),
        (item("decline", {"country": "Germany"}), "data.country"),
        (item("decline", {"country": "D1"}), "data.country"),
        (item("decline", {"fingerprint": "x" * 201}), "data.fingerprint"),
        (item("decline", {"code": "\0"}), "data.code"),
        (item("checkout_attempt", {"decision": "maybe"}), "data.decision"),
        (item("checkout_attempt", {"reason": "mood"}), "data.reason"),
        (item("checkout_attempt", {"amount": "1e5"}), "data.amount"),
        (item("product", {"id": 60, "categories": [{"slug": ""}]}), "data.categories.0.slug"),
        (item("product", {"id": 60, "categories": [{"slug": "a"}] * 101}), "data.categories"),
    ],
)
def test_the_first_wrong_field_is_named_by_its_path(bad: Any, field: str) -> None:
    assert rejected(bad).field == field


def test_a_rejected_item_is_told_by_its_id_where_it_has_one() -> None:
    assert rejected(item("decline", {"email": "jane"})).id == "e-1"
    assert rejected(item("customer", {}, id=7)).id == "7"
    assert rejected(item("customer", {}, id=["e-1"])).id is None


def test_a_time_with_an_offset_is_the_same_moment() -> None:
    found = fact(item("order_deleted", {"id": 1}, occurred_at="2026-05-28T18:45:00+02:00"))

    assert found.occurred_at == datetime(2026, 5, 28, 16, 45, tzinfo=UTC)


def test_the_same_id_is_the_same_item_whatever_it_holds_and_only_in_its_store() -> None:
    one, other = read(item("order_deleted", {"id": 1})), read(item("product", {"id": 2}))

    assert isinstance(one, Taken)
    assert isinstance(other, Taken)
    assert one.digest == other.digest == generic.digest(STORE, "e-1")
    assert generic.digest(STORE, "e-2") != one.digest != generic.digest(FACT_ID, "e-1")


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["order", "order_deleted", "refund", "dispute", "decline", "checkout_attempt", "product"]),
    st.sampled_from(
        ["id", "order_id", "amount", "email", "ip", "fingerprint", "status", "payments", "charge", "categories"]
    ),
    anything,
)
def test_any_value_in_any_field_is_taken_or_rejected_by_name(kind: str, field: str, value: Any) -> None:
    found = read(
        item(kind, order() | DISPUTE | REFUND | {field: value} if kind == "order" else {"id": 1, field: value})
    )

    if isinstance(found, Taken):
        assert FACT.validate_json(found.fact.encode()) == found.fact
    else:
        assert found.id == "e-1"
        assert found.message


@given(anything)
def test_any_value_in_place_of_an_item_is_rejected_and_told(value: Any) -> None:
    assert rejected(value).field
