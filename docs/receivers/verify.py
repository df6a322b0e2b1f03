"""Is this delivery from TrustLens? Copy this file into your receiver; it needs nothing but Python 3.10."""

import hashlib
import hmac
import re
import time

MAX_AGE_SECONDS = 300
LARGEST_MAX_AGE_SECONDS = 900

_TIMESTAMP = re.compile(r"0|[1-9][0-9]{0,14}")  # digits alone: int() also takes "1_749", " 1749" and Arabic ones
_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")


def verify_trustlens_webhook(
    body_bytes: bytes,
    signature_header: str | None,
    timestamp_header: str | None,
    secret: str,
    max_age_seconds: float = MAX_AGE_SECONDS,
    *,
    next_signature_header: str | None = None,
    now: float | None = None,
) -> bool:
    """True if the raw body was signed with `secret` at most `max_age_seconds` ago (or ahead: clocks differ).

    Headers that are missing are None. Whatever is odd is False: it never raises, and there is no other way to True.
    """
    timestamp = timestamp_header or ""
    if not secret or not isinstance(body_bytes, bytes) or not _TIMESTAMP.fullmatch(timestamp):
        return False
    age = abs((time.time() if now is None else now) - int(timestamp))
    if not age <= min(max_age_seconds, LARGEST_MAX_AGE_SECONDS):  # "not <=" and not ">": NaN is refused
        return False
    signed = timestamp.encode() + b"." + body_bytes
    expected = "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    headers = (signature_header or "", next_signature_header or "")
    return any(hmac.compare_digest(expected, header) for header in headers if _SIGNATURE.fullmatch(header))
