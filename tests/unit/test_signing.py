"""Signatures against openssl, the published Standard Webhooks library, and any changed byte."""

import base64
import hmac
import json
import subprocess
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from local_stack.folder import CHECKOUT
from shared.signing import is_standard_secret, sign, standard_headers
from support.languages import NODE, present
from support.seed.verify import verify_trustlens_webhook

VECTORS = json.loads((CHECKOUT / "tests" / "vectors" / "signatures.json").read_text())
OLD, NEW = "the-old-secret-of-more-than-32-characters", "the-new-secret-of-more-than-32-characters"
BODY = '{"event":"test","name":"Zoë €"}'.encode()

standard_secrets = st.binary(min_size=24, max_size=64).map(lambda key: f"whsec_{base64.b64encode(key).decode()}")
bodies = st.text(st.characters(codec="utf-8")).map(str.encode)  # the library takes nothing but UTF-8


def test_the_signature_is_that_of_openssl() -> None:
    # printf '1749131460.{"event":"test"}' | openssl dgst -sha256 -hmac whsec_0123456789abcdef0123456789abcdef
    assert sign("whsec_0123456789abcdef0123456789abcdef", 1749131460, b'{"event":"test"}') == (
        "sha256=0a3ffa6adbe026246d0405eaa0bdafb3675ac3f4229bc5f4fd4150df16f66394"
    )


def test_an_empty_body_is_signed_too() -> None:
    # printf '0.' | openssl dgst -sha256 -hmac k
    assert sign("k", 0, b"") == "sha256=6b4a4b8b3c40f1e8f53a3d36682e5f99f7ad2ac1df1c93dfe336f329167641e7"


def test_secret_and_body_are_signed_as_utf_8() -> None:
    # The secret is "secret€": openssl dgst -sha256 -mac HMAC -macopt hexkey:736563726574e282ac
    assert sign("secret€", 1749131460, '{"name":"Zoë €"}'.encode()) == (
        "sha256=81ca18653c5cd23af90bddb61fc06ab896c50d0cb1f64d116a0fdca3a80c6e83"
    )


@pytest.mark.parametrize("case", VECTORS["signed"], ids=lambda case: case["name"])
def test_the_signature_is_that_of_the_vectors(case: dict[str, Any]) -> None:
    assert sign(case["secret"], case["timestamp"], base64.b64decode(case["body"])) == case["signature"]


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(0, 2**33), st.binary(min_size=1), st.data())
def test_any_changed_byte_breaks_it(secret: str, timestamp: int, body: bytes, data: st.DataObject) -> None:
    signature = sign(secret, timestamp, body)
    place = data.draw(st.integers(0, len(body) - 1))
    other = bytearray(body)
    other[place] ^= data.draw(st.integers(1, 255))
    assert not hmac.compare_digest(sign(secret, timestamp, bytes(other)), signature)
    assert sign(secret, timestamp + 1, body) != signature
    assert sign(secret + "x", timestamp, body) != signature


def node_verifies(body: bytes, signature: str, timestamp: int, secret: str) -> bool:
    """What the seed's Node receiver says."""
    line = {"body": body.decode(), "signature": signature, "timestamp": str(timestamp), "secret": secret}
    script = str(CHECKOUT / "tests" / "support" / "seed" / "verify.js")
    done = subprocess.run([present(NODE), script], input=json.dumps(line), capture_output=True, text=True, check=True)
    return done.stdout == "true\n"


def python_verifies(body: bytes, signature: str, timestamp: int, secret: str) -> bool:
    """What the seed's Python receiver says."""
    return bool(verify_trustlens_webhook(body, signature, str(timestamp), secret))


@pytest.mark.parametrize("verifies", [python_verifies, node_verifies])
def test_during_a_rotation_the_seed_s_receivers_verify_each_header_with_its_own_secret(verifies: Any) -> None:
    now = int(time.time())
    signature, signature_next = sign(OLD, now, BODY), sign(NEW, now, BODY)
    assert verifies(BODY, signature, now, OLD)
    assert verifies(BODY, signature_next, now, NEW)
    assert not verifies(BODY, signature, now, NEW)
    assert not verifies(BODY, signature_next, now, OLD)


@given(secret=standard_secrets, body=bodies)
def test_the_published_library_verifies_our_standard_headers(secret: str, body: bytes) -> None:
    headers = standard_headers(secret, message_id="0197-msg", timestamp=int(time.time()), body=body)
    Webhook(secret).verify(body, headers, json_parse=False)


@given(secret=standard_secrets, body=bodies, timestamp=st.integers(0, 2**33))
def test_our_standard_signature_is_the_published_library_s(secret: str, body: bytes, timestamp: int) -> None:
    headers = standard_headers(secret, message_id="0197-msg", timestamp=timestamp, body=body)
    theirs = Webhook(secret).sign("0197-msg", datetime.fromtimestamp(timestamp, UTC), body.decode())
    assert headers["webhook-signature"] == theirs


def test_our_standard_signature_is_the_one_that_the_vectors_have() -> None:
    case = VECTORS["standard"]
    headers = standard_headers(
        case["secret"], message_id=case["id"], timestamp=case["timestamp"], body=base64.b64decode(case["body"])
    )
    assert headers == {
        "webhook-id": case["id"],
        "webhook-timestamp": str(case["timestamp"]),
        "webhook-signature": case["signature"],
    }


@given(old=standard_secrets, new=standard_secrets, body=bodies)
def test_during_a_rotation_the_published_library_verifies_with_either_secret(old: str, new: str, body: bytes) -> None:
    headers = standard_headers(old, message_id="0197-msg", timestamp=int(time.time()), body=body, next_secret=new)
    assert headers["webhook-signature"].count(" ") == 1
    Webhook(old).verify(body, headers, json_parse=False)
    Webhook(new).verify(body, headers, json_parse=False)


@given(secret=standard_secrets, other=standard_secrets, body=bodies, more=st.text("abc", min_size=1))
def test_the_published_library_refuses_another_secret_body_or_id(secret: str, other: str, body: bytes, more: str):
    assume(secret != other)
    headers = standard_headers(secret, message_id="0197-msg", timestamp=int(time.time()), body=body)
    for key, what, sent in (
        (other, body, headers),
        (secret, body + more.encode(), headers),
        (secret, body, headers | {"webhook-id": "0197-msg" + more}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(what, sent, json_parse=False)


@given(standard_secrets)
def test_what_the_published_library_reads_as_a_key_of_24_to_64_bytes_is_a_standard_secret(secret: str) -> None:
    assert is_standard_secret(secret)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        base64.b64encode(bytes(32)).decode(),  # no prefix
        "WHSEC_" + base64.b64encode(bytes(32)).decode(),
        "whsec_" + base64.b64encode(bytes(32)).decode().rstrip("="),  # Python's library would take it, others not
        "whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        "whsec_" + base64.b64encode(bytes(32)).decode() + "\n",
        "whsec_" + base64.b64encode(bytes(32)).decode() + "=",
        "whsec_" + base64.b64encode(bytes(25)).decode()[:-3] + "B==",  # bits that no byte has
        "whsec_not base64, but long enough for it",
        "whsec_" + "ä" * 32,
        OLD,
    ],
)
def test_anything_looser_is_no_standard_secret_and_signs_nothing(secret: str) -> None:
    assert not is_standard_secret(secret)
    with pytest.raises(ValueError, match="24 to 64 bytes in base64"):
        standard_headers(secret, message_id="m", timestamp=1, body=b"")
    good = "whsec_" + base64.b64encode(bytes(32)).decode()
    with pytest.raises(ValueError, match="24 to 64 bytes in base64"):
        standard_headers(good, message_id="m", timestamp=1, body=b"", next_secret=secret)
