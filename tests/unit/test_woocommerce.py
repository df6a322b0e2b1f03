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
from shared.events import Coupon, Order, Refund
from shared.identity import fingerprint_kind
from support.orders import order

STORE = UUID("018f0000-0000-7000-8000-000000000001")
KEY = b"k" * 32


def parse(**changes: Any) -> Order:
    return woocommerce.parse_order(json.dumps(order(**changes)).encode(), KEY)


def fault(raw: bytes) -> dict[str, str]:
    with pytest.raises(BadBodyError) as caught:
        woocommerce.parse_order(raw, KEY)
    return caught.value.params


def test_every_field_of_an_order_is_read() -> None:
    refunds = [{"id": 9, "reason": "too small", "total": "-49.00"}]

    read = parse(refunds=refunds, coupon_lines=[{"code": "Welcome10"}])

    assert [fingerprint_kind(bytes.fromhex(found)) for found in read.fingerprints] == [
        "shipping_address",
        "billing_address",
        "phone",
        "ip",
    ]
    assert read == Order(
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
        coupons=(Coupon(code="welcome10"),),
        product_ids=(55, 60),
        fingerprints=read.fingerprints,
        payments=("ch_3Q9",),
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
        ({"line_items": [{"product_id": 9}, {"product_id": 9}, {"product_id": 7}]}, "product_ids", (7, 9)),
        ({"line_items": [{"product_id": n} for n in (0, -1, True, "9", None, 2**63, 1.5)]}, "product_ids", ()),
        ({"transaction_id": None}, "payments", ()),
        ({"transaction_id": " ch_1 "}, "payments", ("ch_1",)),
        ({"transaction_id": 17}, "payments", ("17",)),
        ({"transaction_id": ["ch_1"]}, "payments", ()),
        ({"transaction_id": "x" * 201}, "payments", ()),
        ({"transaction_id": "\ud800"}, "payments", ()),
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


@pytest.mark.parametrize("customer_id", [0, 17, None])
def test_the_customer_is_the_billing_e_mail_of_a_guest_as_of_anybody(customer_id: object) -> None:
    assert parse(customer_id=customer_id) == parse()


def test_a_line_s_price_is_a_number_and_no_amount_of_ours() -> None:
    lines = [{"product_id": 55, "quantity": 1, "price": 19.666666666666668, "total": "19.67"}]
    assert (parse(line_items=lines).total, parse(line_items=lines).item_count) == (Decimal("249.00"), 1)


def test_fields_that_a_store_leaves_empty_are_no_fault() -> None:
    empty = parse(customer_ip_address="", customer_user_agent="", transaction_id="", payment_method="", number="")
    assert (empty.payments, empty.payment_method, empty.number) == ((), "", "4821")


def test_a_date_with_an_offset_is_the_same_moment() -> None:
    at = datetime(2026, 5, 28, 18, 45, tzinfo=timezone(timedelta(hours=2)))

    assert parse(date_modified_gmt=at.isoformat()).modified_at == at


def test_a_refund_that_is_listed_twice_is_one() -> None:
    twice = [{"id": 1, "total": "-1.00"}, {"id": 1, "total": "-1.00"}]
    assert [refund.id for refund in parse(refunds=twice).refunds] == [1]


def meta(**values: Any) -> list[dict[str, Any]]:
    return [{"id": n, "key": key, "value": value} for n, (key, value) in enumerate(values.items())]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (meta(_stripe_intent_id="pi_1", _stripe_charge_captured="yes"), ("ch_3Q9", "pi_1")),  # WooCommerce Stripe
        (meta(_stripe_charge_id="ch_3Q9"), ("ch_3Q9",)),
        (meta(_payment_intent_id="pi_2"), ("ch_3Q9", "pi_2")),  # Payment Plugins for Stripe
        (meta(_intent_id="pi_3", _charge_id="ch_3"), ("ch_3Q9", "pi_3", "ch_3")),  # WooPayments
        (meta(_intent_id={"id": "pi_3"}, _charge_id=None, _stripe_intent_id="x" * 201), ("ch_3Q9",)),
    ],
)
def test_payments_are_named_as_each_gateway_names_them(
    written: list[dict[str, Any]], expected: tuple[str, ...]
) -> None:
    assert parse(meta_data=written).payments == expected


def coupon(code: Any, limit: Any = None) -> dict[str, Any]:
    return {"code": code, "meta_data": meta(coupon_data={"id": 3, "usage_limit_per_user": limit})}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([coupon("WELCOME", 1)], [("welcome", True)]),
        ([coupon("WELCOME", "1")], [("welcome", True)]),
        ([coupon("welcome", 2), coupon("b", 0)], [("welcome", False), ("b", False)]),
        ([coupon("a", True), coupon("b", [1]), coupon("c", {}), coupon("d", 1.0)], [(c, False) for c in "abcd"]),
        ([coupon("Twice"), coupon("twice", 1)], [("twice", True)]),
        ([{"code": "new", "meta_data": meta(coupon_info='[3,"new",null,10]')}], [("new", False)]),  # 8.7 and later
        (
            [{"code": "a", "meta_data": meta(coupon_data="x")}, {"code": "b", "meta_data": 5}],
            [("a", False), ("b", False)],
        ),
        ([coupon(""), coupon("x" * 101), coupon("\0"), coupon(["a"]), coupon(None), {}, None, "a"], []),
        ([coupon(f"c{n}") for n in range(101)], [(f"c{n}", False) for n in range(100)]),
        (None, []),
        ("x", []),
        ({"code": "a"}, []),
    ],
)
def test_coupons_are_read_and_what_is_none_is_passed_over(lines: Any, expected: list[tuple[str, bool]]) -> None:
    assert [(c.code, c.once) for c in parse(coupon_lines=lines).coupons] == expected


def kinds(read: Order) -> list[str]:
    return [fingerprint_kind(bytes.fromhex(found)) for found in read.fingerprints]


@pytest.mark.parametrize(
    ("payment_method", "written"),
    [
        ("woocommerce_payments", meta(_card_brand="visa", last4="4242")),
        ("square_credit_card", meta(_wc_square_credit_card_card_type="visa", _wc_square_credit_card_account_four=4242)),
        ("", meta(_card_brand="VISA ", last4="4242", _wc__card_type="amex", _wc__account_four="0005")),
    ],
)
def test_a_card_is_the_same_whichever_gateway_took_it(payment_method: str, written: list[dict[str, Any]]) -> None:
    read = parse(payment_method=payment_method, meta_data=written)

    assert "payment" in kinds(read)
    assert read.fingerprints == parse(meta_data=meta(_card_brand="visa", last4="4242")).fingerprints


@pytest.mark.parametrize(
    ("payment_method", "written", "brand"),
    [
        ("woocommerce_payments", meta(_card_brand="mastercard", last4="4242"), "mastercard"),
        ("woocommerce_payments", meta(_card_brand="American Express"), "amex"),
        ("braintree_credit_card", meta(_wc_braintree_credit_card_card_type="mc"), "mastercard"),
        ("stripe", meta(_stripe_card_brand="cartes_bancaires"), "cartes_bancaires"),
        ("stripe", meta(_card_brand="unknown", _stripe_card_brand="visa"), "visa"),
        ("stripe", meta(_card_brand=["visa"]), None),
        ("bacs", [], None),
    ],
)
def test_the_brand_of_a_card_is_read_as_each_gateway_names_it(
    payment_method: str, written: list[dict[str, Any]], brand: str | None
) -> None:
    assert parse(payment_method=payment_method, meta_data=written).card_brand == brand


@pytest.mark.parametrize(
    "written",
    [meta(_card_brand="visa"), meta(last4="4242"), meta(_card_brand="visa", last4="42"), meta(_card_brand=1, last4=[])],
)
def test_half_a_card_is_none(written: list[dict[str, Any]]) -> None:
    assert "payment" not in kinds(parse(meta_data=written))


def test_a_device_has_a_fingerprint_only_where_the_store_left_one() -> None:
    assert "device" in kinds(parse(meta_data=meta(_trustlens_fingerprint="d41d8cd9")))
    assert "device" not in kinds(parse(customer_user_agent="Mozilla/5.0"))


def test_an_order_without_a_shipping_address_goes_to_the_billing_address() -> None:
    shipped = {"address_1": "HAUPTSTR.7", "city": "berlin", "postcode": "10 115", "country": "DE"}

    assert parse(shipping={"country": "AT"}).fingerprints == parse(shipping=shipped).fingerprints
    assert parse(shipping=[]).fingerprints == parse(shipping=shipped).fingerprints


def test_a_shipping_address_that_lacks_a_part_is_none_and_not_the_billing_address() -> None:
    assert "shipping_address" not in kinds(parse(shipping={"city": "Berlin", "postcode": "10115"}))


def test_nothing_of_address_phone_ip_or_card_but_its_brand_is_in_the_fact() -> None:
    read = parse(meta_data=meta(_card_brand="visa", last4="4242", _trustlens_fingerprint="d41d8cd9"))

    sent = read.encode().decode().lower()
    assert len(read.fingerprints) == 6
    for value in ("hauptstr", "berlin", "10115", "ring 1", "wien", "030", "12345", "93.184", "4242", "d41d"):
        assert value not in sent.replace("4821", "")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(codec=None)),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["key", "value", "code", "meta_data", "last4", "usage_limit_per_user"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["meta_data", "coupon_lines", "transaction_id", "customer_ip_address"]),
)
def test_no_optional_part_refuses_an_order_whatever_stands_there(value: Any, field: str) -> None:
    read = woocommerce.read_order(order(**{field: value}), KEY)

    assert Order.model_validate_json(read.encode()) == read
