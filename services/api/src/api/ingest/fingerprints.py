"""What two customers may have in common, normalised and hashed. Nothing of it can be read back from the hashes.

Each function gives the value in the one form in which equal things are equal, or None for what identifies nobody.
"""

import re
import unicodedata
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from phonenumbers import NumberParseException, PhoneNumberFormat, format_number, is_possible_number, parse

from shared.identity import FingerprintKind, fingerprint

MAX_PHONE = 50
"""Characters: digits, blanks and an extension; longer is a sentence."""
MIN_DIGITS = 7
"""The shortest subscriber numbers that people reach from everywhere."""
_LAST_4 = re.compile(r"[0-9]{4}")
_REGION = re.compile(r"[A-Z]{2}")


def hashed(key: bytes, values: Mapping[FingerprintKind, str | None]) -> tuple[str, ...]:
    """Distinct, rising, one for each kind that has a value."""
    return tuple(sorted({fingerprint(key, kind, value) for kind, value in values.items() if value}))


def address(line: str, city: str, postcode: str) -> str | None:
    """All three are needed: a town alone is shared by everybody who lives there."""
    parts = [_plain(line), _plain(city), _plain(postcode)]
    return "\n".join(parts) if all(parts) else None


def phone(raw: str, country: str) -> str | None:
    """The digits of its E.164 form where it has one in this country (ISO 3166, two letters), else those it has."""
    digits = "".join(str(int(c)) for c in raw if c.isdecimal())
    # One digit again and again is what people type into a field that insists.
    if len(raw) > MAX_PHONE or len(digits) < MIN_DIGITS or len(set(digits)) == 1:
        return None
    return _international(raw, country) or digits


def _international(raw: str, country: str) -> str | None:
    region = country.strip().upper()
    try:
        number = parse(raw, region if _REGION.fullmatch(region) else None)
    except NumberParseException:
        return None
    return format_number(number, PhoneNumberFormat.E164).removeprefix("+") if is_possible_number(number) else None


def ip(raw: str) -> str | None:
    """None also for private and reserved addresses: they are the shop's own proxies, or nobody's."""
    found = parsed_ip(raw)
    if found is None or not found.is_global or found.is_multicast:
        return None
    return str(found)


def parsed_ip(raw: str) -> IPv4Address | IPv6Address | None:
    """None if it is no address; one of IPv4 in IPv6's clothes is itself."""
    try:
        found = ip_address(raw.strip())
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        return found.ipv4_mapped or (None if found.scope_id else found)
    return found


def card(brand: str, last_4: str) -> str | None:
    name = _plain(brand)
    return f"{name} {last_4}" if name and _LAST_4.fullmatch(last_4) else None


def device(given: str) -> str | None:
    """Only a fingerprint that the store was given. One made of IP and browser would count the IP as two kinds."""
    return given.strip() or None


def _plain(text: str) -> str:
    """Without case, blanks, and differences that no reader sees."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
