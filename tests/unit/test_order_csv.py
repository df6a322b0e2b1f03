"""Spreadsheets of orders: the header, the cells, and what is said of those that cannot be read."""

from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ingest import woocommerce
from api.ingest.woocommerce import WcOrder
from cli.order_csv import COLUMNS, HeaderError, Reading, column_of, delimiter, header, order

NEEDED = ["id", "status", "currency", "total", "created"]
ROW = {"id": "4821", "status": "completed", "currency": "EUR", "total": "249.00", "created": "2026-05-28 16:42:00"}
PLAIN, EUROPEAN = Reading(), Reading(comma=True)


def read(*, reading: Reading = PLAIN, **cells: Any) -> dict[str, Any]:
    return order(ROW | cells, reading)


def fault(*, reading: Reading = PLAIN, **cells: Any) -> str:
    with pytest.raises(ValueError) as told:
        read(reading=reading, **cells)
    return str(told.value)


def test_a_row_with_every_column_is_an_order_that_the_api_takes_as_it_is_meant():
    cells: dict[str, Any] = {
        "modified": "2026-05-30T09:10:00+02:00",
        "number": "A-4821",
        "email": "Jane@Example.com",
        "phone": "'+49 30 123456",
        **{f"{kind}_{part}": f"{kind} {part}" for kind in ("billing", "shipping") for part in ("address_1", "city")},
        "billing_postcode": "10115",
        "shipping_postcode": "1010",
        "billing_country": "DE",
        "shipping_country": "AT",
        "payment_method": "stripe",
        "transaction_id": "ch_3Q9",
        "card_brand": "visa",
        "card_last4": "4242",
        "coupons": "WELCOME10 | spring",
        "refunds": "4900:20.00:too small: sent back|4901:5.00",
        "products": "17x2|23",
        "ip": "93.184.216.34",
        "fingerprint": "d3v1c3",
    }
    assert set(ROW | cells) | {"items"} == {column.name for column in COLUMNS}
    found = woocommerce.read_order(read(**cells), b"key")
    assert (found.id, found.number, found.status, found.total) == (4821, "A-4821", "completed", Decimal("249.00"))
    assert (found.currency, found.email, found.payment_method) == ("EUR", "jane@example.com", "stripe")
    assert (found.created_at.isoformat(), found.modified_at.isoformat()) == (
        "2026-05-28T16:42:00+00:00",
        "2026-05-30T07:10:00+00:00",
    )
    assert (found.billing_country, found.shipping_country) == ("DE", "AT")
    assert [(r.id, r.amount, r.reason) for r in found.refunds] == [
        (4900, Decimal("20.00"), "too small: sent back"),
        (4901, Decimal("5.00"), ""),
    ]
    assert [coupon.code for coupon in found.coupons] == ["welcome10", "spring"]
    assert (found.product_ids, found.item_count, found.payments) == ((17, 23), 3, ("ch_3Q9",))
    assert len(found.fingerprints) == 6, "addresses, phone, IP, card and device"


def test_a_row_of_the_needed_columns_alone_is_an_order():
    found = woocommerce.read_order(read(), b"key")
    assert (found.modified_at, found.number, found.email) == (found.created_at, "4821", None)
    assert (found.refunds, found.coupons, found.fingerprints, found.item_count) == ((), (), (), 0)


def test_the_number_of_items_counts_where_it_stands_by_itself():
    found = woocommerce.read_order(read(products="17x2|23", items="5"), b"key")
    assert (found.product_ids, found.item_count) == ((17, 23), 5)


def test_refunds_without_an_id_are_numbered():
    assert read(refunds="20.00|5.00")["refunds"] == [
        {"id": 1, "total": "20.00", "reason": ""},
        {"id": 2, "total": "5.00", "reason": ""},
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Completed", "completed"), ("On hold", "on-hold"), ("Pending payment", "pending"), ("Canceled", "cancelled")],
)
def test_a_status_may_be_written_as_it_is_shown(written, meant):
    assert read(status=written)["status"] == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-01-31T23:59:59", "2026-01-31T23:59:59"),
        ("2026-01-31 23:59", "2026-01-31T23:59:00"),
        ("2026-01-31", "2026-01-31T00:00:00"),
        ("2026-01-31T23:59:59Z", "2026-01-31T23:59:59"),
        ("2026-01-31T23:59:59+02:00", "2026-01-31T21:59:59"),
        ("31.01.2026", "2026-01-31T00:00:00"),
        ("1.2.2026 9:05", "2026-02-01T09:05:00"),
        ("31.01.2026, 23:59:59", "2026-01-31T23:59:59"),
    ],
)
def test_times_are_read_as_iso_8601_and_as_european_spreadsheets_write_them(written, meant):
    assert read(created=written)["date_created_gmt"] == meant


def test_a_time_that_names_no_zone_is_in_the_one_that_was_told():
    berlin = Reading(zone=ZoneInfo("Europe/Berlin"))
    assert read(reading=berlin, created="2026-07-31 12:00")["date_created_gmt"] == "2026-07-31T10:00:00"
    assert read(reading=berlin, created="2026-01-31T12:00Z")["date_created_gmt"] == "2026-01-31T12:00:00"


@pytest.mark.parametrize("written", ["01/31/2026", "yesterday", "", "31.02.2026", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_may_mean_several_or_none_is_refused(written):
    told = "created must be a time like 2026-01-31 23:59:59 or 31.01.2026 23:59"
    assert fault(created=written) == told


def test_a_comma_is_a_decimal_point_only_where_no_comma_separates_columns():
    assert read(reading=EUROPEAN, total="249,90")["total"] == "249.90"
    like = "must be a number like 249.00, without currency and thousands separators"
    assert fault(total="249,90") == f"total {like}"
    for written in ("1,234.50", "€ 249", "1 234", ".5", "", "NaN"):
        assert fault(total=written) == f"total {like}"
        assert fault(reading=EUROPEAN, total=written) == f"total {like}"


@pytest.mark.parametrize("written", ["1.234", "1,234"])
def test_what_may_be_thousands_is_not_guessed(written):
    told = "total may mean thousands or thousandths: write it without thousands separators"
    assert fault(reading=EUROPEAN, total=written) == told
    assert read(reading=EUROPEAN, total=written, currency="KWD")["total"] == "1.234"


def test_a_bad_cell_is_told_by_its_column():
    assert fault(id="#A12") == "id must be a whole number"
    assert fault(refunds="4900:12,50") == (
        "refunds must be a number like 249.00, without currency and thousands separators"
    )
    assert fault(products="shoes") == "products must be product ids like 17 or 17x2, with | between them"
    assert (read(id="#12")["id"], read(id="12.0")["id"]) == (12, 12)


@given(st.fixed_dictionaries({}, optional={column.name: st.text(max_size=30) for column in COLUMNS}))
def test_any_row_is_an_order_or_has_a_column_that_is_told(cells):
    try:
        told = order(ROW | cells, Reading())["status"] and ""
    except ValueError as error:
        told = str(error)
    assert told.partition(" ")[0] in {"", *(column.name for column in COLUMNS)}


def test_columns_stand_in_any_order_and_under_the_names_that_others_give_them():
    found = header(["Order ID", "ORDER STATUS", "Buyer", " Currency ", "total", "Order date", "Cashier"])
    assert found.columns == ("id", "status", None, "currency", "total", "created", None)
    assert found.passed_over == ("Buyer", "Cashier")


def test_a_missing_column_is_named_with_what_was_found_instead():
    with pytest.raises(HeaderError, match=r"The column total is missing\. Not known are: amount paid, Cashier"):
        header(["id", "status", "currency", "created", "amount paid", "Cashier"])


@pytest.mark.parametrize(
    ("written", "meant"),
    [("emial", "email"), ("curency", "currency"), ("Billing e-mail", "email"), ("Ship city", "shipping_city")],
)
def test_a_misspelt_column_is_refused_with_the_one_that_is_meant(written, meant):
    cells = [name for name in NEEDED if name != meant] + [written]
    with pytest.raises(HeaderError, match=f"There is no column {written}: is {meant} meant?"):
        header(cells)


def test_a_name_that_is_like_a_column_that_is_there_is_passed_over():
    assert header([*NEEDED, "email", "e-mail"]).passed_over == ("e-mail",)


def test_a_column_that_is_there_twice_is_refused():
    with pytest.raises(HeaderError, match="The column id is there twice"):
        header([*NEEDED, "order_id"])


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_the_separator_is_found_in_the_header(sign):
    assert delimiter(sign.join([*NEEDED, "a,b;c"])) == sign


def test_what_the_api_refuses_is_told_by_the_column():
    assert column_of("total") == "total"
    assert column_of("date_created_gmt") == "created"
    assert column_of("billing.email") == "email"
    assert column_of("refunds.total") == "refunds"
    assert column_of("line_items.quantity") == "products"
    assert column_of("unheard.of") == "unheard.of"


def test_every_field_that_a_column_fills_is_one_that_the_api_reads():
    tops = {column.path.partition(".")[0] for column in COLUMNS if column.path}
    assert tops <= set(WcOrder.model_fields)
