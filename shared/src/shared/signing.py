"""What proves that a delivery is ours: the v2 signature, and the Standard Webhooks one for endpoints that ask for it.

v2: HMAC-SHA256 over timestamp, a full stop and the raw body. Standard Webhooks (specification 1.0): the same over
message id, full stop, timestamp, full stop, raw body, in base64, by a key that is random bytes and not text.
"""

import base64
import binascii
import hashlib
import hmac

STANDARD_PREFIX = "whsec_"
STANDARD_KEY_BYTES = range(24, 65)
"""As the specification has it: 192 to 512 bits."""


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The value of X-TrustLens-Signature for a body sent at `timestamp` (Unix seconds).

    While a secret is rotated this is made with the old one, and X-TrustLens-Signature-Next the same way with the new:
    receivers compare the whole header, so each carries exactly one value.
    """
    digest = hmac.new(secret.encode(), str(timestamp).encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def is_standard_secret(secret: str) -> bool:
    """Whether every Standard Webhooks library reads the same key from it: `whsec_` and 24 to 64 bytes in base64.

    Base64 with its padding and nothing else: libraries differ in what they make of anything looser.
    """
    return _standard_key(secret) is not None


def standard_headers(
    secret: str, *, message_id: str, timestamp: int, body: bytes, next_secret: str | None = None
) -> dict[str, str]:
    """The three headers of Standard Webhooks for a body sent at `timestamp` (Unix seconds).

    `message_id` is the same at every attempt and has no full stop (the delivery's UUID). While a secret is rotated the
    header has the signatures of both, the old one's first: these receivers accept any that fits.

    Raises:
        ValueError: a secret is not a standard one.
    """
    secrets = [secret] if next_secret is None else [secret, next_secret]
    signed = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_standard_signature(secret, signed) for secret in secrets),
    }


def _standard_signature(secret: str, signed: bytes) -> str:
    key = _standard_key(secret)
    if key is None:
        raise ValueError("a Standard Webhooks secret is whsec_ and 24 to 64 bytes in base64")
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _standard_key(secret: str) -> bytes | None:
    encoded = secret.removeprefix(STANDARD_PREFIX)
    if encoded == secret:
        return None
    try:
        key = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    exact = base64.b64encode(key).decode() == encoded
    return key if exact and len(key) in STANDARD_KEY_BYTES else None
