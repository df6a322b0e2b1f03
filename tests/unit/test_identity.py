"""Who a customer is: normalisation, and hashes against values that `openssl dgst -sha256 -mac HMAC` printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.identity import MAX_EMAIL, email_hash, normalise_email

KEY = bytes(range(32))  # -macopt hexkey:000102…1f


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        ("jane@example.com", "9487588974759d303d5d44401791a603ad85fda9276d43f7436077d709d9da10"),
        ("jane+shop@example.com", "2ba7b3939b6facc41fbc8fd3e40ecaabe9b6508db8fed868a49fc869b997958d"),
        ("zoë@example.com", "a1ca7b2fc914c3d3b46da23201d1c581bf491bb968889dc86e2bf46ad9982e99"),
        ("jane@xn--bcher-kva.example", "6a99b5c9d541340ff4ff8dcf609d0712f43bedb695afabdf7f838e79a912acc7"),
    ],
)
def test_the_hash_is_that_of_openssl(email: str, expected: str) -> None:
    assert email_hash(KEY, email) == expected


def test_another_store_s_key_gives_another_hash() -> None:
    # -macopt hexkey:ff
    assert email_hash(b"\xff", "jane@example.com") == "a90445c216bcdf694ed3c47df66e5a401ae2c229301e43ef98c57ebb650cfd1b"


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("jane@example.com", "jane@example.com"),
        ("  Jane.Doe@Example.COM\n", "jane.doe@example.com"),
        ("jane+shop@example.com", "jane+shop@example.com"),
        ("JANE@BÜCHER.example", "jane@xn--bcher-kva.example"),
        ("jane@xn--bcher-kva.example", "jane@xn--bcher-kva.example"),
        ("Zoë@example.com", "zoë@example.com"),
        ("jane@@example.com", "jane@@example.com"),
        ("jane@\uff45xample.com", "jane@example.com"),
    ],
)
def test_one_person_has_one_address(raw: str, normal: str) -> None:
    assert normalise_email(raw) == normal
    assert normalise_email(normal) == normal


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "jane",
        "@example.com",
        "jane@",
        "ja ne@example.com",
        "jane@exam\tple.com",
        "ja\0ne@example.com",
        "jane@bü..example",
        f"{'j' * MAX_EMAIL}@example.com",
    ],
)
def test_what_is_no_address_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match=r"is not an e-mail address|has a domain|is longer"):
        normalise_email(raw)


@given(st.text(max_size=40))
def test_whatever_comes_it_is_refused_or_normal_once_and_for_all(raw: str) -> None:
    try:
        normal = normalise_email(raw)
    except ValueError:
        return
    assert normalise_email(normal) == normal
    assert normalise_email(f" {normal} ") == normal
