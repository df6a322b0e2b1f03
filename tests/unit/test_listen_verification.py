import hashlib
import hmac

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cli.verification import MAX_AGE_SECONDS, Verdict, verify

SECRET = "a-made-up-secret-of-more-than-32-characters"
NOW = 1_749_131_460.0


def signed(body: bytes, timestamp: str, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def judge(body: bytes, signature: str | None, timestamp: str | None, *, now: float = NOW) -> Verdict:
    return verify(
        body,
        signatures=[] if signature is None else [signature],
        timestamps=[] if timestamp is None else [timestamp],
        secret=SECRET,
        now=now,
    )


def test_a_signature_worked_out_with_openssl_verifies():
    # printf '1749131460.{"event":"test"}' | openssl dgst -sha256 -hmac whsec-for-the-vector
    signature = "sha256=c9c9deecc00835109d574005156c8651da3318fdcfc3185f7b4b266fe05191ed"
    verdict = verify(
        b'{"event":"test"}', signatures=[signature], timestamps=["1749131460"], secret="whsec-for-the-vector", now=NOW
    )
    assert verdict is Verdict.VERIFIED


@given(body=st.binary(), age=st.integers(-MAX_AGE_SECONDS, MAX_AGE_SECONDS))
def test_a_right_signature_within_five_minutes_verifies(body, age):
    timestamp = str(int(NOW) - age)
    assert judge(body, signed(body, timestamp), timestamp) is Verdict.VERIFIED


@given(body=st.binary(min_size=1), place=st.integers(0), change=st.integers(1, 255))
def test_any_changed_byte_of_the_body_breaks_it(body, place, change):
    timestamp = str(int(NOW))
    changed = bytearray(body)
    changed[place % len(body)] ^= change
    assert judge(bytes(changed), signed(body, timestamp), timestamp) is Verdict.WRONG


@given(body=st.binary(), place=st.integers(7, 70), digit=st.sampled_from("0123456789abcdef"))
def test_any_changed_digit_of_the_signature_breaks_it(body, place, digit):
    timestamp = str(int(NOW))
    signature = signed(body, timestamp)
    assume(signature[place] != digit)
    assert judge(body, signature[:place] + digit + signature[place + 1 :], timestamp) is Verdict.WRONG


@given(body=st.binary(), shift=st.integers(-MAX_AGE_SECONDS, MAX_AGE_SECONDS).filter(bool))
def test_the_timestamp_is_part_of_what_is_signed(body, shift):
    signature = signed(body, str(int(NOW)))
    assert judge(body, signature, str(int(NOW) + shift)) is Verdict.WRONG


@pytest.mark.parametrize(
    ("age", "verdict"),
    [(301, Verdict.TOO_OLD), (360, Verdict.TOO_OLD), (-301, Verdict.TOO_NEW), (300, Verdict.VERIFIED)],
)
def test_outside_five_minutes_even_a_right_signature_is_refused(age, verdict):
    timestamp = str(int(NOW) - age)
    assert judge(b"{}", signed(b"{}", timestamp), timestamp) is verdict


def test_missing_headers_are_refused():
    timestamp = str(int(NOW))
    assert judge(b"{}", None, timestamp) is Verdict.SIGNATURE_MISSING
    assert judge(b"{}", signed(b"{}", timestamp), None) is Verdict.TIMESTAMP_MISSING


def test_a_repeated_header_is_refused_even_if_one_of_the_values_is_right():
    timestamp = str(int(NOW))
    right = signed(b"{}", timestamp)
    repeated = verify(b"{}", signatures=[right, right], timestamps=[timestamp], secret=SECRET, now=NOW)
    assert repeated is Verdict.SIGNATURE_REPEATED
    twice = verify(b"{}", signatures=[right], timestamps=[timestamp, timestamp], secret=SECRET, now=NOW)
    assert twice is Verdict.TIMESTAMP_REPEATED


@pytest.mark.parametrize(
    "timestamp",
    ["", " ", "1.7e9", "1749131460.0", "+1749131460", "-1", "1_749_131_460", "01749131460", "١٧٤٩١٣١٤٦٠", "9" * 5000],
)
def test_only_plain_digits_are_a_timestamp(timestamp):
    assert judge(b"{}", signed(b"{}", timestamp), timestamp) is Verdict.TIMESTAMP_MALFORMED


@pytest.mark.parametrize("secret", [None, ""])
def test_without_a_secret_nothing_verifies(secret):
    timestamp = str(int(NOW))
    signature = signed(b"{}", timestamp, secret="")
    verdict = verify(b"{}", signatures=[signature], timestamps=[timestamp], secret=secret, now=NOW)
    assert verdict is Verdict.NO_SECRET


def test_upper_case_a_missing_prefix_and_a_second_signature_in_one_header_are_refused():
    timestamp = str(int(NOW))
    right = signed(b"{}", timestamp)
    for odd in (right.upper(), right.removeprefix("sha256="), f"{right},{right}", right + "\n", f" {right}"):
        assert judge(b"{}", odd, timestamp) is Verdict.SIGNATURE_MALFORMED


@given(
    body=st.binary(),
    signatures=st.lists(st.text(), max_size=3),
    timestamps=st.lists(st.text(), max_size=3),
    now=st.floats(),
)
def test_whatever_the_headers_hold_the_answer_is_a_refusal_and_never_an_error(body, signatures, timestamps, now):
    verdict = verify(body, signatures=signatures, timestamps=timestamps, secret=SECRET, now=now)
    assert verdict is not Verdict.VERIFIED


@given(timestamp=st.text(), now=st.floats())
def test_a_well_formed_signature_with_any_timestamp_never_raises(timestamp, now):
    assert judge(b"{}", "sha256=" + "0" * 64, timestamp, now=now) is not Verdict.VERIFIED
