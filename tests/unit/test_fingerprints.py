"""Equal things have equal fingerprints, different things different ones, and nothing can be read back."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from api.ingest import fingerprints
from shared.identity import FINGERPRINT_KINDS, FingerprintKind, fingerprint_kind

KEY = b"k" * 32
words = st.text("abcxyz0123456789äöüéñ", min_size=1, max_size=12)
blanks = st.text(" \t\u00a0", max_size=3)


@given(words, words, words, st.lists(blanks, min_size=3, max_size=3), st.booleans())
def test_spacing_and_case_of_an_address_never_matter(
    line: str, city: str, postcode: str, gaps: list[str], upper: bool
) -> None:
    spaced = [gaps[0] + gaps[1].join(part) + gaps[2] for part in (line, city, postcode)]
    written = [part.upper() if upper else part for part in spaced]

    assert fingerprints.address(*written) == fingerprints.address(line, city, postcode)


@given(st.tuples(words, words, words), st.tuples(words, words, words))
def test_another_address_is_another(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assume(one != other)

    assert fingerprints.address(*one) != fingerprints.address(*other)


@pytest.mark.parametrize("parts", [("", "Berlin", "10115"), ("Ring 1", " ", "10115"), ("Ring 1", "Berlin", "")])
def test_an_address_that_lacks_a_part_is_none(parts: tuple[str, str, str]) -> None:
    assert fingerprints.address(*parts) is None


@pytest.mark.parametrize(
    ("raw", "country", "expected"),
    [
        ("0171 2345678", "DE", "491712345678"),
        ("+49 (171) 234-56-78", "DE", "491712345678"),
        ("0049 171 2345678", "de ", "491712345678"),
        ("+49 171 2345678", "", "491712345678"),
        ("+49 171 2345678", "US", "491712345678"),
        ("+39 06 698 12345", "IT", "390669812345"),
        ("(212) 555-0147", "US", "12125550147"),
        ("0171 2345678", "", "01712345678"),
        ("0171 2345678", "ZZ", "01712345678"),
        ("0171 2345678", "Germany", "01712345678"),
        ("\u0660\u0661\u0667\u0661 2345678", "", "01712345678"),
        ("12345", "DE", None),
        ("110", "DE", None),
        ("000000000", "DE", None),
        ("none", "DE", None),
        ("", "DE", None),
        ("0171 2345678" + " " * 50, "DE", None),
    ],
)
def test_a_phone_is_its_digits_with_the_country_where_that_is_known(
    raw: str, country: str, expected: str | None
) -> None:
    assert fingerprints.phone(raw, country) == expected


@given(st.text(), st.text(max_size=3))
def test_any_text_is_a_phone_of_digits_or_none(raw: str, country: str) -> None:
    found = fingerprints.phone(raw, country)

    assert found is None or (found.isdecimal() and found.isascii() and len(found) >= fingerprints.MIN_DIGITS)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("93.184.216.34", "93.184.216.34"),
        (" 93.184.216.34 ", "93.184.216.34"),
        ("::ffff:93.184.216.34", "93.184.216.34"),
        ("2606:2800:0220:0001:0248:1893:25C8:1946", "2606:2800:220:1:248:1893:25c8:1946"),
        ("10.0.0.1", None),
        ("127.0.0.1", None),
        ("169.254.169.254", None),
        ("192.0.2.1", None),
        ("224.0.1.1", None),
        ("::1", None),
        ("fe80::1%eth0", None),
        ("2606:2800:220:1::1%eth0", None),
        ("::ffff:10.0.0.1", None),
        ("unknown", None),
        ("", None),
        ("1", None),
    ],
)
def test_an_ip_is_written_in_one_way_and_a_private_one_is_none(raw: str, expected: str | None) -> None:
    assert fingerprints.ip(raw) == expected


def test_an_unassigned_kind_leaves_no_hash_and_hashes_rise_and_tell_their_kind() -> None:
    hashed = fingerprints.hashed(KEY, {"device": "d", "payment": None, "ip": "", "phone": "491712345678"})

    assert [fingerprint_kind(bytes.fromhex(one)) for one in hashed] == ["phone", "device"]
    assert hashed == tuple(sorted(hashed))


@given(st.sampled_from(FINGERPRINT_KINDS), words, words)
def test_a_hash_differs_by_value_kind_and_store_and_holds_nothing_of_the_value(
    kind: FingerprintKind, value: str, other: str
) -> None:
    assume(value != other)
    (hashed,) = fingerprints.hashed(KEY, {kind: value})

    assert len(hashed) == 32
    assert (hashed,) != fingerprints.hashed(KEY, {kind: other})
    assert (hashed,) != fingerprints.hashed(b"j" * 32, {kind: value})
    elsewhere = [fingerprints.hashed(KEY, {k: value}) for k in FINGERPRINT_KINDS if k != kind]
    assert all((hashed,) != others for others in elsewhere)
    assert len({found[0][2:] for found in elsewhere} | {hashed[2:]}) == len(FINGERPRINT_KINDS)
