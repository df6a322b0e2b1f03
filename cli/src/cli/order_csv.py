"""Orders as a spreadsheet has them: a header with known columns, and rows → orders as wc/v3 writes them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

DELIMITERS = ",;\t"
LIST = "|"
"""Between the entries of a cell that holds several: neither separator of columns, and in no coupon's code."""
NEAR = 0.8
"""So alike (difflib's ratio) is a name that was meant: `emial` is email, `billing_first_name` is billing_state not."""
THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
"""Currencies in whose amounts three digits after a point are no thousands."""
_STATUSES = {"pending-payment": "pending", "canceled": "cancelled", "draft": "checkout-draft"}
"""As WooCommerce's pages and other shops call them → as wc/v3 does."""
_META = {"_trustlens_fingerprint": "fingerprint", "_card_brand": "card_brand", "last4": "card_last4"}
"""Keys of an order's meta that the API reads → the column."""


class HeaderError(Exception):
    """The file's first line names no columns that could be read; the message says which, and what it may have meant."""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    path: str = ""
    """The field of wc/v3 that it fills, by which refusals of the API are told."""
    also: tuple[str, ...] = ()
    """Names under which others export it."""
    needed: bool = False


COLUMNS = (
    Column("id", "id", ("order_id",), needed=True),
    Column("status", "status", ("order_status",), needed=True),
    Column("currency", "currency", ("order_currency",), needed=True),
    Column("total", "total", ("order_total",), needed=True),
    Column("created", "date_created_gmt", ("date_created_gmt", "order_date", "date"), needed=True),
    Column("modified", "date_modified_gmt", ("date_modified_gmt", "modified_date")),
    Column("number", "number", ("order_number",)),
    Column("email", "billing.email", ("billing_email", "customer_email")),
    Column("phone", "billing.phone", ("billing_phone",)),
    Column("billing_address_1", "billing.address_1"),
    Column("billing_city", "billing.city"),
    Column("billing_postcode", "billing.postcode"),
    Column("billing_country", "billing.country"),
    Column("shipping_address_1", "shipping.address_1"),
    Column("shipping_city", "shipping.city"),
    Column("shipping_postcode", "shipping.postcode"),
    Column("shipping_country", "shipping.country"),
    Column("payment_method", "payment_method"),
    Column("transaction_id", "transaction_id"),
    Column("card_brand"),
    Column("card_last4"),
    Column("coupons", "coupon_lines", ("coupon_codes",)),
    Column("refunds", "refunds"),
    Column("products", "line_items", ("product_ids",)),
    Column("items", "line_items", ("item_count",)),
    Column("ip", "customer_ip_address", ("customer_ip_address", "ip_address")),
    Column("fingerprint"),
)
_NAMED = {name: column.name for column in COLUMNS for name in (column.name, *column.also)}
_FILLED_BY = {column.path: column.name for column in reversed(COLUMNS) if column.path}


@dataclass(frozen=True, slots=True)
class Header:
    columns: tuple[str | None, ...]
    """By position; None: it is passed over."""
    passed_over: tuple[str, ...]
    """As they are written."""


def header(cells: Sequence[str]) -> Header:
    """
    Raises:
        HeaderError: there is none, or a needed column is missing, one is there twice, or one is misspelt.
    """
    found = [_NAMED.get(_plain(cell)) for cell in cells]
    here = {name for name in found if name}
    if twice := next((name for name in found if name and found.count(name) > 1), None):
        raise HeaderError(f"The column {twice} is there twice.")
    if not here:
        needed = ", ".join(column.name for column in COLUMNS if column.needed)
        raise HeaderError(f"The first line names no column that is known: it must name at least {needed}.")
    unknown = [cell.strip() for cell, name in zip(cells, found, strict=True) if name is None and cell.strip()]
    for cell in unknown:
        if meant := _meant(cell, here):
            raise HeaderError(f"There is no column {cell}: is {meant} meant? Rename it, or take it out.")
    if missing := [column.name for column in COLUMNS if column.needed and column.name not in here]:
        named = ", ".join(unknown) or "no other"
        raise HeaderError(f"The column {missing[0]} is missing. Not known are: {named}.")
    return Header(tuple(found), tuple(unknown))


def _meant(cell: str, here: set[str]) -> str | None:
    """The column that a name is nearly, unless that is there too."""
    near = get_close_matches(_plain(cell), _NAMED, n=1, cutoff=NEAR)
    return next((_NAMED[name] for name in near if _NAMED[name] not in here), None)


def _plain(cell: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", cell.lower()).strip("_")


def delimiter(line: str) -> str:
    """What separates the header's columns: whichever makes known names of most of them."""
    return max(DELIMITERS, key=lambda sign: sum(_plain(cell) in _NAMED for cell in line.split(sign)))


def column_of(path: str) -> str:
    """The column that fills a field of wc/v3; the field, where none does."""
    parts = path.split(".")
    begins = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_FILLED_BY[begin] for begin in begins if begin in _FILLED_BY), path)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the cells of a file are to be understood."""

    comma: bool = False
    """Amounts may have one before their decimals, as where columns are separated by semicolons."""
    zone: tzinfo = UTC
    """Of times that name none."""


def order(row: Mapping[str, str], reading: Reading) -> dict[str, Any]:
    """An order as wc/v3 writes it. What only the API can judge, as a total below nothing, it judges.

    Raises:
        ValueError: a cell holds what it cannot; the message names the column.
    """
    currency = _text(row, "currency").upper()
    time = partial(_time, zone=reading.zone)
    amount = partial(_amount, comma=reading.comma, currency=currency)
    created = _read(row, "created", time)
    refunds = partial(_listed, entry=partial(_refund, amount=amount))
    return {
        "id": _read(row, "id", _id),
        "number": _text(row, "number"),
        "status": _read(row, "status", _status),
        "currency": currency,
        "total": _read(row, "total", amount),
        "date_created_gmt": created,
        "date_modified_gmt": _read(row, "modified", time) if _text(row, "modified") else created,
        "billing": {"email": _text(row, "email"), "phone": _text(row, "phone"), **_address(row, "billing")},
        "shipping": _address(row, "shipping"),
        "payment_method": _text(row, "payment_method"),
        "transaction_id": _text(row, "transaction_id"),
        "customer_ip_address": _text(row, "ip"),
        "line_items": _lines(row),
        "coupon_lines": _read(row, "coupons", partial(_listed, entry=_coupon)),
        "refunds": _read(row, "refunds", refunds),
        "meta_data": [{"key": key, "value": _text(row, name)} for key, name in _META.items() if _text(row, name)],
    }


def _read(row: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(_text(row, name))
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _text(row: Mapping[str, str], name: str) -> str:
    """Without the apostrophe by which exporters keep spreadsheets from computing what begins like a formula."""
    text = row.get(name, "").strip()
    return text[1:] if text[:1] == "'" and text[1:2] in {*"=+-@"} else text


def _id(text: str) -> int:
    found = re.fullmatch(r"#?([0-9]{1,19})(\.0+)?", text)
    if not found:
        raise ValueError("must be a whole number")
    return int(found[1])


def _status(text: str) -> str:
    status = re.sub(r"[\s_]+", "-", text.lower())
    return _STATUSES.get(status, status)


def _amount(text: str, *, comma: bool, currency: str) -> str:
    found = re.fullmatch(r"(-?[0-9]+)(?:([.,])([0-9]+))?", text)
    if not found or (found[2] == "," and not comma):
        raise ValueError("must be a number like 249.00, without currency and thousands separators")
    whole, _, decimals = found.groups()
    if comma and decimals and len(decimals) == 3 and currency not in THREE_DECIMALS:
        raise ValueError("may mean thousands or thousandths: write it without thousands separators")
    return f"{whole}.{decimals}" if decimals else whole


def _time(text: str, *, zone: tzinfo) -> str:
    """In UTC, as wc/v3 writes it."""
    found = re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,? +(\d{1,2})(:.*))?", text, re.ASCII)
    if found:
        day, month, year, hour, rest = found.groups()
        text = f"{year}-{month:0>2}-{day:0>2}" + (f"T{hour:0>2}{rest}" if hour else "")
    try:
        at = datetime.fromisoformat(text)
        in_utc = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time like 2026-01-31 23:59:59 or 31.01.2026 23:59") from None
    return in_utc.replace(tzinfo=None).isoformat(timespec="seconds")


def _address(row: Mapping[str, str], kind: str) -> dict[str, str]:
    return {part: _text(row, f"{kind}_{part}") for part in ("address_1", "city", "postcode", "country")}


def _listed(text: str, *, entry: Callable[[int, str], T]) -> list[T]:
    return [entry(number, part.strip()) for number, part in enumerate(text.split(LIST), 1) if part.strip()]


def _coupon(_: int, code: str) -> dict[str, str]:
    return {"code": code}


def _refund(number: int, text: str, *, amount: Callable[[str], str]) -> dict[str, Any]:
    """`amount`, `id:amount` or `id:amount:reason`; without an id its number in the cell is its id."""
    if ":" not in text:
        return {"id": number, "total": amount(text), "reason": ""}
    refund_id, total, *reason = (part.strip() for part in text.split(":", 2))
    return {"id": _id(refund_id), "total": amount(total), "reason": "".join(reason)}


def _lines(row: Mapping[str, str]) -> list[dict[str, Any]]:
    """A line for each product; where the number of items stands by itself, that counts and not theirs."""
    lines = _read(row, "products", partial(_listed, entry=_line))
    if not _text(row, "items"):
        return lines
    return [*({**line, "quantity": 0} for line in lines), {"quantity": _read(row, "items", _id)}]


def _line(_: int, text: str) -> dict[str, Any]:
    """`id` or `id x quantity`."""
    found = re.fullmatch(r"([0-9]{1,19})(?:\s*[x*]\s*([0-9]{1,9}))?", text)
    if not found:
        raise ValueError("must be product ids like 17 or 17x2, with | between them")
    return {"product_id": int(found[1]), "quantity": int(found[2] or 1)}
