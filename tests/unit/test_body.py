import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.body import MAX_DEPTH, BadBodyError, is_storable, parse_object, parse_text_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def nested(levels: int, innermost: str = "1") -> bytes:
    return b'{"a":' * levels + innermost.encode() + b"}" * levels


def holds_infinity(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(holds_infinity, value.values() if isinstance(value, dict) else value))
    return value in (float("inf"), float("-inf"))


@given(st.dictionaries(st.text(), JSON))
def test_what_json_reads_is_read_the_same_unless_a_number_is_infinite(value: dict[str, Any]) -> None:
    text = json.dumps(value)
    if holds_infinity(value):
        with pytest.raises(BadBodyError):
            parse_object(text.encode())
    else:
        assert parse_object(text.encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_told_what_is_wrong(raw: bytes) -> None:
    try:
        assert isinstance(parse_text_object(raw), dict)
    except BadBodyError as error:
        assert error.params  # noqa: PT017  # one of two right outcomes


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[1]", "body"),
        (b'"text"', "body"),
        (b"null", "body"),
        (b"\xff\xfe", "body"),
        (b"<html>", "body"),
        (b'{"a": NaN}', "a"),
        (b'{"a": [1, {"b": -Infinity}]}', "a.1.b"),
        (b'{"meta_data": [{"value": 1e999}]}', "meta_data.0.value"),
        (b'{"a": 1' + b"0" * 400 + b"}", "a"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "body"),
        (nested(MAX_DEPTH + 1), ".".join("a" * MAX_DEPTH)),
        (b"[" * 100_000, "body"),
        (b'{"a":' * 100_000, "body"),
    ],
)
def test_the_field_that_cannot_be_taken_is_named(raw: bytes, field: str) -> None:
    with pytest.raises(BadBodyError) as caught:
        parse_object(raw)

    assert list(caught.value.params) == [field]


def test_nesting_up_to_the_limit_a_byte_order_mark_and_repeated_names_are_fine() -> None:
    assert parse_object(nested(MAX_DEPTH))
    assert parse_object(b"\xef\xbb\xbf{}") == {}
    assert parse_object(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize("raw", [b'{"a": {"b": "x\\u0000"}}', b'{"a": {"b": ["\\ud800"]}}'])
def test_text_that_postgres_cannot_store_is_refused_only_where_it_is_stored(raw: bytes) -> None:
    assert parse_object(raw)
    with pytest.raises(BadBodyError):
        parse_text_object(raw)


def test_a_name_that_cannot_be_stored_is_refused_and_not_repeated() -> None:
    with pytest.raises(BadBodyError) as caught:
        parse_text_object(b'{"a": {"\\ud800": 1}}')

    assert list(caught.value.params) == ["a"]


@given(st.text(st.characters(codec=None)))
def test_storable_text_is_what_utf_8_can_write_without_nul(text: str) -> None:
    try:
        encodes = b"\0" not in text.encode()
    except UnicodeEncodeError:
        encodes = False

    assert is_storable(text) == encodes
