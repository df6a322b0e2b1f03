"""Orders of wc/v3 as stores really send them, and what is wrong with those that are none."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.body import BadBodyError
from api.ingest import woocommerce
from shared.events import Order, Refund
from support.orders import order

STORE = UUID("018f0000-0000-7000-8000-000000000001")


def parse(**changes: Any) -> Order:
    return woocommerce.parse_order(json.dumps(order(**changes)).encode())


def fault(raw: bytes) -> dict[str, str]:
    with pytest.raises(BadBodyError) as caught:
        woocommerce.parse_order(raw)
    return caught.value.params


def test_every_field_of_an_order_is_read() -> None:
    refunds = [{"id": 9, "reason": "too small", "total": "-49.00"}]

    assert parse(refunds=refunds, payment_method="stripe") == Order(
        id=4821,
        number="4821",
        total=Decimal("249.00"),
        currency="EUR",
        status="processing",
        item_count=3,
        payment_method="stripe",
        billing_country="DE",
        shipping_country="AT",
        created_at=datetime(2026, 5, 28, 16, 42, tzinfo=UTC),
        modified_at=datetime(2026, 5, 28, 16, 45, tzinfo=UTC),
        email="jane@example.com",
        refunds=(Refund(id=9, amount=Decimal("49.00"), reason="too small"),),
    )


@given(
    total=st.decimals(0, Decimal("999999999999999.99"), places=2),
    refunds=st.lists(st.decimals(0, 10**6, places=3), max_size=5),
    quantities=st.lists(st.integers(0, 10**6), max_size=5),
    modified=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0)),  # noqa: DTZ001  # as the store writes it
)
def test_amounts_counts_and_times_come_through_exactly(
    total: Decimal, refunds: list[Decimal], quantities: list[int], modified: datetime
) -> None:
    read = parse(
        total=str(total),
        refunds=[{"id": n, "total": f"-{amount}"} for n, amount in enumerate(refunds, start=1)],
        line_items=[{"quantity": quantity} for quantity in quantities],
        date_modified_gmt=modified.isoformat(),
    )

    assert read.total == total
    assert [refund.amount for refund in read.refunds] == refunds
    assert read.item_count == sum(quantities)
    assert read.modified_at == modified.replace(tzinfo=UTC)
    assert Order.model_validate_json(read.encode()) == read


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": None}, "id"),
        ({"id": 0}, "id"),
        ({"id": 2**63}, "id"),
        ({"id": True}, "id"),
        ({"id": "x"}, "id"),
        ({"status": ""}, "status"),
        ({"status": "wc-"}, "status"),
        ({"status": "x" * 41}, "status"),
        ({"status": "a\0b"}, "status"),
        ({"currency": "EURO"}, "currency"),
        ({"currency": ""}, "currency"),
        ({"currency": "E\u0130R"}, "currency"),
        ({"currency": "EUR\n"}, "currency"),
        ({"total": "-0.01"}, "total"),
        ({"total": -5}, "total"),
        ({"total": ""}, "total"),
        ({"total": "NaN"}, "total"),
        ({"total": "Infinity"}, "total"),
        ({"total": "1e5"}, "total"),
        ({"total": "1" * 16}, "total"),
        ({"total": "\u0661"}, "total"),
        ({"total": "1,000.00"}, "total"),
        ({"total": True}, "total"),
        ({"total": None}, "total"),
        ({"total": []}, "total"),
        ({"date_created_gmt": None}, "date_created_gmt"),
        ({"date_modified_gmt": None}, "date_modified_gmt"),
        ({"date_modified_gmt": 1700000000}, "date_modified_gmt"),
        ({"date_modified_gmt": "yesterday"}, "date_modified_gmt"),
        ({"date_modified_gmt": "0001-01-01T00:00:00+14:00"}, "date_modified_gmt"),
        ({"date_modified_gmt": "9999-12-31T23:59:59-14:00"}, "date_modified_gmt"),
        ({"number": "\ud800"}, "number"),
        ({"number": "1" * 201}, "number"),
        ({"payment_method": "a\0"}, "payment_method"),
        ({"billing": "x"}, "billing"),
        ({"billing": {"email": 5.5}}, "billing.email"),
        ({"billing": {"email": "a\0@example.com"}}, "billing.email"),
        ({"billing": {"country": "x" * 201}}, "billing.country"),
        ({"shipping": {"country": "\ud800"}}, "shipping.country"),
        ({"line_items": {}}, "line_items"),
        ({"line_items": [{"quantity": -1}]}, "line_items.0.quantity"),
        ({"line_items": [{"quantity": 1e10}]}, "line_items.0.quantity"),
        ({"line_items": [{"quantity": 1e9}] * 3}, "line_items"),
        ({"line_items": [{}] * 10_001}, "line_items"),
        ({"refunds": [{"id": n, "total": "-1"} for n in range(1, 1002)]}, "refunds"),
        ({"refunds": [{"id": 1, "total": "-1"}, {"id": 1, "total": "-2"}]}, "refunds"),
        ({"refunds": [{"id": 1}]}, "refunds.0.total"),
        ({"refunds": [{"id": 1, "total": "--1"}]}, "refunds.0.total"),
        ({"refunds": [{"id": 1, "total": "-1", "reason": "\ud800"}]}, "refunds.0.reason"),
        ({"coupon_lines": [{}] * 101}, "coupon_lines"),
    ],
)
def test_the_bad_field_of_an_order_is_named(changes: dict[str, Any], field: str) -> None:
    assert list(fault(json.dumps(order(**changes)).encode())) == [field]


def test_all_missing_fields_are_named_at_once() -> None:
    assert sorted(fault(b"{}")) == ["currency", "date_created_gmt", "date_modified_gmt", "id", "status", "total"]


def test_a_signed_rest_error_is_told_from_an_order() -> None:
    error = {"code": "woocommerce_rest_cannot_view", "message": "Sorry.", "data": {"status": 401}}

    assert list(fault(json.dumps(error).encode())) == ["code"]


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"total": 249}, "total", Decimal(249)),
        ({"total": 249.5}, "total", Decimal("249.5")),
        ({"total": "-0.00"}, "total", Decimal(0)),
        ({"total": "10.000", "currency": "KWD"}, "total", Decimal("10.000")),
        ({"total": "2500", "currency": "JPY"}, "total", Decimal(2500)),
        ({"status": "wc-on-hold"}, "status", "on-hold"),
        ({"status": "awaiting-pickup"}, "status", "awaiting-pickup"),
        ({"currency": "usd"}, "currency", "USD"),
        ({"number": 77}, "number", "77"),
        ({"number": None}, "number", "4821"),
        ({"payment_method": None}, "payment_method", ""),
        ({"billing": None}, "email", None),
        ({"billing": []}, "email", None),
        ({"billing": {}}, "email", None),
        ({"billing": {"email": ""}}, "email", None),
        ({"billing": {"email": "jane@@example"}}, "email", "jane@@example"),
        ({"billing": {"email": "jane.example.com"}}, "email", None),
        ({"billing": {"email": "x" * 300 + "@example.com"}}, "email", None),
        ({"billing": {"email": " J@M\u00fcller.example "}}, "email", "j@xn--mller-kva.example"),
        ({"line_items": None}, "item_count", 0),
        ({"line_items": [{"quantity": 0.5}, {"quantity": 0.5}, {"quantity": None}]}, "item_count", 1),
        ({"refunds": [{"id": 1, "total": "5.00"}]}, "refunds", (Refund(id=1, amount=Decimal("5.00")),)),
        ({"refunds": [{"id": 1, "total": "-0.00", "reason": None}]}, "refunds", (Refund(id=1, amount=Decimal(0)),)),
        ({"date_modified_gmt": "2026-05-28T18:45:00+02:00"}, "modified_at", datetime(2026, 5, 28, 16, 45, tzinfo=UTC)),
        ({"meta_data": [{"value": "\0\ud800"}]}, "id", 4821),
    ],
)
def test_what_shops_really_send_is_taken_as_it_is_meant(changes: dict[str, Any], field: str, value: object) -> None:
    assert getattr(parse(**changes), field) == value


def test_a_long_refund_reason_is_shortened_because_people_write_it() -> None:
    read = parse(refunds=[{"id": 1, "total": "-1", "reason": "x" * 10_000}])

    assert read.refunds[0].reason == "x" * woocommerce.MAX_REASON


@given(st.text(st.characters(codec=None)))
def test_any_text_in_place_of_an_email_is_a_normal_address_or_none_or_told(raw: str) -> None:
    try:
        email = parse(billing={"email": raw}).email
    except BadBodyError as error:
        assert list(error.params) == ["billing.email"]  # noqa: PT017  # one of two right outcomes
    else:
        assert email is None or email == email.strip().lower()


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists), st.sampled_from(sorted(order())))
def test_any_value_in_place_of_a_field_is_read_or_told(value: Any, field: str) -> None:
    try:
        read = parse(**{field: value})
    except BadBodyError as error:
        assert all(name.split(".")[0] == field for name in error.params)  # noqa: PT017  # as above
    else:
        assert Order.model_validate_json(read.encode()) == read


@given(st.binary(), st.text(st.characters(codec="ascii"), min_size=1))
def test_a_signature_verifies_and_any_other_does_not(raw: bytes, secret: str) -> None:
    signature = base64.b64encode(hmac.new(secret.encode(), raw, hashlib.sha256).digest()).decode()

    assert woocommerce.is_signed(raw, secret, signature)
    assert not woocommerce.is_signed(raw + b" ", secret, signature)
    assert not woocommerce.is_signed(raw, secret + "x", signature)
    assert not woocommerce.is_signed(raw, secret, "")
    assert not woocommerce.is_signed(raw, secret, "\udcff\u00e9")


def test_only_an_unlabelled_form_with_a_webhook_s_number_is_a_ping() -> None:
    form = "application/x-www-form-urlencoded"

    assert woocommerce.is_ping(b"webhook_id=12", form)
    assert not woocommerce.is_ping(b"webhook_id=12&x=1", form)
    assert not woocommerce.is_ping(b"webhook_id=12\n", form)
    assert not woocommerce.is_ping(b"webhook_id=", form)
    assert not woocommerce.is_ping(b"webhook_id=12", "application/json")


def test_deliveries_differ_by_store_source_webhook_delivery_and_body() -> None:
    given: dict[str, Any] = {"source": "s", "webhook_id": "7", "delivery_id": "d", "raw": b"{}"}
    variants = [given | {name: value} for name, value in (("source", "t"), ("webhook_id", ""), ("raw", b"{ }"))]
    digests = {
        woocommerce.digest(STORE, **given),
        woocommerce.digest(UUID(int=STORE.int + 1), **given),
        woocommerce.digest(STORE, **(given | {"webhook_id": "", "delivery_id": "7d"})),
        *(woocommerce.digest(STORE, **variant) for variant in variants),
    }

    assert len(digests) == 6
    assert woocommerce.digest(STORE, **given) in digests


def test_a_date_with_an_offset_is_the_same_moment() -> None:
    at = datetime(2026, 5, 28, 18, 45, tzinfo=timezone(timedelta(hours=2)))

    assert parse(date_modified_gmt=at.isoformat()).modified_at == at


def test_a_refund_that_is_listed_twice_is_one() -> None:
    twice = [{"id": 1, "total": "-1.00"}, {"id": 1, "total": "-1.00"}]
    assert [refund.id for refund in woocommerce.parse_order(json.dumps(order(refunds=twice)).encode()).refunds] == [1]
