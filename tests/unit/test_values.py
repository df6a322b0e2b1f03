"""Values of requests: what is told of them is what is taken."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api.schemas import SiteUrl, Tag
from api.values import Time

TIME: TypeAdapter[datetime] = TypeAdapter(Time)
PATTERN = TIME.json_schema()["pattern"]
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def taken(adapter: TypeAdapter[Any], value: object) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


@given(st.datetimes(timezones=OFFSETS, min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)))  # noqa: DTZ001
def test_a_time_is_read_as_python_writes_it(at: datetime) -> None:
    assert TIME.validate_python(at.isoformat()) == at
    assert TIME.validate_python(at.isoformat(sep=" ").replace("+", " ")) == at
    assert TIME.validate_python(at.replace(tzinfo=None).isoformat()) == at.replace(tzinfo=UTC)


@given(st.dates())
def test_a_day_is_its_first_moment(day: date) -> None:
    assert TIME.validate_python(day.isoformat()) == datetime(day.year, day.month, day.day, tzinfo=UTC)


@given(st.from_regex(PATTERN, fullmatch=True))
def test_what_the_pattern_lets_through_is_a_time(text: str) -> None:
    try:
        TIME.validate_python(text)
    except ValidationError as error:
        assert "too far" in str(error)  # noqa: PT017  # only these may fail


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "0", "1780000000", "2026", "2026-02-29", "2026-02-30", "2100-02-29", "2026-13-01", "2026-00-10"),
        *("2026-01-01T", "2026-01-01T24:00", "2026-01-01T23:60", "2026-01-01T10", "2026-01-01t10:00", "20260101"),
        *(
            "2026-W01-1",
            "2026-01-01T10:00:00+15:00",
            "2026-01-01 10:00:00 00",
            "٢٠٢٦-01-01",
            "2026-01-01\n",
            "0000-01-01",
        ),
    ],
)
def test_what_is_no_time_is_refused_and_not_told_as_one(text: str) -> None:
    assert not taken(TIME, text)
    assert not re.search(PATTERN.removesuffix("$") + r"\Z", text)


TAG: TypeAdapter[str] = TypeAdapter(Tag)
TOLD = jsonschema_rs.Draft202012Validator(TAG.json_schema())
LETTERS = st.characters(max_codepoint=0x2FF) | st.sampled_from("\u200b\u202e\u2028\u3000\ufeff💳漢 \t\n")


@given(st.text(LETTERS, max_size=70))
def test_a_tag_is_taken_exactly_if_its_schema_takes_it(text: str) -> None:
    assert taken(TAG, text) == TOLD.is_valid(text)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        *(("wholesale", True), (" spaced ", True), ("a b", True), ("é💳漢", True), ("x" * 64, True), ("x" * 65, False)),
        *(
            (" " * 100 + "x", False),
            ("", False),
            (" ", False),
            ("a\nb", False),
            ("a\u200bb", False),
            ("a\u202eb", False),
        ),
    ],
)
def test_tags(text: str, *, is_one: bool) -> None:
    assert taken(TAG, text) == TOLD.is_valid(text) == is_one


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        *(("https://shop.example", True), ("https://shop.example/de", True), ("http://127.0.0.1:8080", True)),
        *(("https://müller.example", True), ("http://[::1]:80/", False), (" https://shop.example ", True)),
        *(("https://shop*", False), ("https://", False), ("ftp://shop.example", False), ("https://a:b@c", False)),
        *(("https://shop.example?x=1", False), ("https://shop.example#x", False), ("https://a b", False)),
    ],
)
def test_addresses_of_shops(url: str, *, is_one: bool) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(SiteUrl)
    assert taken(adapter, url) == jsonschema_rs.Draft202012Validator(adapter.json_schema()).is_valid(url) == is_one
