"""Who a customer is: an e-mail address, normalised, then hashed with the store's key."""

import hashlib
import hmac
from typing import Literal, get_args

import idna

MAX_EMAIL = 254
"""Longest address that fits an SMTP path (RFC 5321 §4.5.3.1.3)."""


def normalise_email(raw: str) -> str:
    """The address as it is hashed: stripped, lower case, the domain in IDNA form.

    Raises:
        ValueError: it is no address: no local part or no domain, blanks inside, or too long. Two @ are what some
            shops really have: still one person each.
    """
    address = raw.strip().lower()
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or any(c.isspace() or not c.isprintable() for c in address):
        raise ValueError("is not an e-mail address")
    normal = f"{local}@{_ascii_domain(domain)}"
    if len(normal) > MAX_EMAIL:
        raise ValueError(f"is longer than {MAX_EMAIL} characters")
    return normal


def _ascii_domain(domain: str) -> str:
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError("has a domain that is no domain name") from error


def email_hash(key: bytes, email: str) -> str:
    """Hex HMAC-SHA256 of a normalised address, 64 characters. The key is the store's and never changes."""
    return hmac.new(key, email.encode(), hashlib.sha256).hexdigest()


FingerprintKind = Literal["shipping_address", "billing_address", "phone", "ip", "payment", "device"]
FINGERPRINT_KINDS: tuple[FingerprintKind, ...] = get_args(FingerprintKind)
"""What two customers may have in common. The position, from 1, is a fingerprint's first byte: append only."""


def fingerprint(key: bytes, kind: FingerprintKind, value: str) -> str:
    """32 hex digits: one byte for the kind, then 15 of the keyed hash of what the caller normalised.

    As short as it can be: 120 bits keep a billion values apart, and millions of them are indexed.
    """
    code = FINGERPRINT_KINDS.index(kind) + 1
    digest = hmac.new(key, f"{kind}\0{value}".encode(), hashlib.sha256).digest()
    return (bytes([code]) + digest[:15]).hex()


def fingerprint_kind(hashed: bytes) -> FingerprintKind:
    """The kind of a fingerprint's 16 bytes."""
    return FINGERPRINT_KINDS[hashed[0] - 1]
