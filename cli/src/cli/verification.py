"""Is this delivery really from TrustLens? Written from the published scheme alone.

It shares no code with the sender on purpose: a mistake that both sides made together would go unseen.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import StrEnum

MAX_AGE_SECONDS = 300
"""The recommended replay window, in both directions."""

# No sign, no point, no leading zero: the integer's digits are then exactly the signed ones. 15 digits outlast us.
_TIMESTAMP = re.compile(r"0|[1-9][0-9]{0,14}")
_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")


class Verdict(StrEnum):
    """What a receiver may think of a delivery, in the words it is told with."""

    VERIFIED = "verified"
    NO_SECRET = "no secret for this path"  # noqa: S105 - words for people
    SIGNATURE_MISSING = "no signature header"
    SIGNATURE_REPEATED = "more than one signature"
    SIGNATURE_MALFORMED = "malformed signature"
    TIMESTAMP_MISSING = "no timestamp header"
    TIMESTAMP_REPEATED = "more than one timestamp"
    TIMESTAMP_MALFORMED = "malformed timestamp"
    TOO_OLD = "timestamp too old"
    TOO_NEW = "timestamp in the future"
    WRONG = "wrong signature"


def verify(
    body: bytes, *, signatures: Sequence[str], timestamps: Sequence[str], secret: str | None, now: float
) -> Verdict:
    """Judge the raw body with all values of the two headers; anything odd is refused, nothing raises."""
    if not secret:
        return Verdict.NO_SECRET
    return _odd_headers(signatures, timestamps) or _judge(body, signatures[0], timestamps[0], secret, now)


def _odd_headers(signatures: Sequence[str], timestamps: Sequence[str]) -> Verdict | None:
    match signatures:
        case []:
            return Verdict.SIGNATURE_MISSING
        case [signature]:
            if not _SIGNATURE.fullmatch(signature):
                return Verdict.SIGNATURE_MALFORMED
        case _:
            return Verdict.SIGNATURE_REPEATED
    match timestamps:
        case []:
            return Verdict.TIMESTAMP_MISSING
        case [timestamp]:
            return None if _TIMESTAMP.fullmatch(timestamp) else Verdict.TIMESTAMP_MALFORMED
        case _:
            return Verdict.TIMESTAMP_REPEATED


def _judge(body: bytes, signature: str, timestamp: str, secret: str, now: float) -> Verdict:
    age = now - int(timestamp)
    if age > MAX_AGE_SECONDS:
        return Verdict.TOO_OLD
    if age < -MAX_AGE_SECONDS:
        return Verdict.TOO_NEW
    signed = timestamp.encode() + b"." + body
    expected = "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return Verdict.VERIFIED if hmac.compare_digest(expected, signature) else Verdict.WRONG
