"""What a store's answer means, in words that its owner understands."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sync.verdict import LONGEST_WAIT, Again, Heard, Never, Told, begins, judge, retry_after

NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
NOTICE = "<br />\n<b>Notice</b>: Undefined index [colour] in functions.php on line 7<br />\n"
PAGE = "<!DOCTYPE html><html><body>Checking your browser</body></html>"


def heard(status: int = 200, body: Any = None, **headers: str) -> Heard:
    text = body if isinstance(body, str) else json.dumps(body if body is not None else [])
    return Heard(status, text.encode(), {name.replace("_", "-"): value for name, value in headers.items()})


def error(status: int, code: str, message: str = "Sorry.") -> Heard:
    return heard(status, {"code": code, "message": message, "data": {"status": status}})


def test_a_list_comes_with_how_many_rows_there_are_and_the_store_s_clock() -> None:
    told = judge(heard(body=[{"id": 7}], X_WP_Total="250", Date=format_datetime(NOW)), NOW)
    assert told == Told([{"id": 7}], total=250, at=NOW)


@pytest.mark.parametrize("noise", [NOTICE, "\n\n", "\ufeff", "Deprecated: {x} in a.php\n", NOTICE * 3])
def test_what_php_writes_before_the_json_is_passed_over(noise: str) -> None:
    told = judge(heard(body=noise + '[{"id": 7, "billing": {"city": "Bath"}}]'), NOW)
    assert isinstance(told, Told)
    assert told.value == [{"id": 7, "billing": {"city": "Bath"}}]
    assert bool(told.noise) == bool(noise.strip("\n\ufeff"))


@given(st.integers(0, 74))
def test_a_body_that_is_cut_off_is_asked_for_again_wherever_it_was_cut(end: int) -> None:
    whole = json.dumps([{"id": 7, "billing": {"city": "Bath"}, "refunds": [{"id": 8}], "meta": []}])
    assert end < len(whole)
    assert isinstance(judge(heard(body=whole[:end]), NOW), Again)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (error(401, "woocommerce_rest_authentication_error", "Consumer key is invalid."), "Consumer key is invalid"),
        (error(403, "woocommerce_rest_cannot_view"), "refuses the key"),
        (error(404, "rest_no_route"), "no WooCommerce REST API"),
        (heard(404, PAGE), "no WooCommerce REST API"),
        (heard(301, PAGE, Location="https://www.shop.example/wp-json/?key=1"), "to https://www.shop.example: save"),
        (heard(302, ""), "leads elsewhere"),
        (error(400, "rest_invalid_param", "Invalid parameter(s): offset"), "offset"),
    ],
)
def test_what_no_second_try_would_mend_is_given_up_at_once(answer: Heard, words: str) -> None:
    verdict = judge(answer, NOW)
    assert isinstance(verdict, Never)
    assert words in verdict.words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (heard(200, PAGE), "a web page"),
        (heard(200, '[{"id": 7'), "no JSON"),
        (heard(200, ""), "no JSON"),
        (heard(200, "3"), "no JSON"),
        (heard(403, PAGE), "a firewall"),
        (heard(401, PAGE), "a firewall"),
        (heard(429, ""), "come slower"),
        (error(500, "internal_server_error"), "an error of its own (500)"),
        (heard(503, PAGE), "an error of its own (503)"),
    ],
)
def test_what_may_pass_is_asked_again(answer: Heard, words: str) -> None:
    verdict = judge(answer, NOW)
    assert isinstance(verdict, Again)
    assert words in verdict.words


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (format_datetime(NOW + timedelta(seconds=90)), 90),
        (format_datetime(NOW - timedelta(seconds=90)), 0),
        ("86400", LONGEST_WAIT),
        (format_datetime(NOW + timedelta(days=3)), LONGEST_WAIT),
        ("", 0),
        ("soon", 0),
        ("-1", 0),
    ],
)
def test_a_store_says_in_two_ways_how_long_to_wait_and_is_believed_within_limits(header: str, seconds: float) -> None:
    assert retry_after(header, NOW) == seconds
    verdict = judge(heard(503, "", Retry_After=header), NOW)
    assert isinstance(verdict, Again)
    assert verdict.after == seconds


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (PAGE, "Checking your browser"),
        (NOTICE, "Notice : Undefined index [colour] in functions.php on line 7"),
        ("<p>jane@example.com, order 4821</p>", "… order …"),
        ('[{"id": 7, "billing": {"first_name": "Jane"', ""),
        ("<script>var x = 1</script>Blocked", "Blocked"),
        ("", ""),
    ],
)
def test_of_an_answer_only_a_page_s_first_words_are_logged_and_nothing_personal(body: str, shown: str) -> None:
    assert begins(body.encode()) == shown


def test_what_a_store_says_is_repeated_without_keys_and_addresses() -> None:
    verdict = judge(error(401, "x", "Key ck_12ab of <b>jane@example.com</b> and user 4821 is locked."), NOW)
    assert isinstance(verdict, Never)
    assert verdict.words.startswith("The store refuses the key (401: Key … of … and user … is locked.): ")


@pytest.mark.parametrize(
    "answer",
    [
        error(401, "x", "<script " * 100_000),
        error(401, "x", "<" * 1_000_000),
        heard(200, "x" + "[" * 4_000_000),
        heard(200, "x" + "[" * 49 + '["abc",1],' * 200_000),
    ],
)
def test_an_answer_that_is_made_to_be_hard_to_read_is_read_at_once(answer: Heard) -> None:
    began = process_time()
    judge(answer, NOW)
    assert process_time() - began < 2  # or minutes, and nobody else is served


def test_a_place_that_no_text_can_hold_is_not_repeated() -> None:
    verdict = judge(heard(301, "", Location="https://a\udcff\0b.example/"), NOW)
    assert verdict == Never("The store's URL leads elsewhere, to https://ab.example: save the address it has now.")


@pytest.mark.parametrize("zone", ["-2300", "+99999999999999999999"])
def test_a_clock_beyond_all_calendars_is_none(zone: str) -> None:
    date = f"Fri, 31 Dec 9999 23:59:59 {zone}"
    assert judge(heard(Date=date), NOW) == Told([])
    assert retry_after(date, NOW) == 0


@given(
    st.integers(100, 599), st.binary(max_size=60), st.dictionaries(st.sampled_from(["Retry-After", "Date"]), st.text())
)
def test_whatever_comes_is_understood_as_something(status: int, body: bytes, headers: dict[str, str]) -> None:
    verdict = judge(Heard(status, body, headers), NOW)
    assert isinstance(verdict, Told | Again | Never)
