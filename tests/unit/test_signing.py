"""The signature against values that `openssl dgst -sha256 -hmac` printed, and against any changed byte."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from shared.signing import sign


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


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(0, 2**33), st.binary(min_size=1), st.data())
def test_any_changed_byte_breaks_it(secret: str, timestamp: int, body: bytes, data: st.DataObject) -> None:
    signature = sign(secret, timestamp, body)
    place = data.draw(st.integers(0, len(body) - 1))
    other = bytearray(body)
    other[place] ^= data.draw(st.integers(1, 255))
    assert not hmac.compare_digest(sign(secret, timestamp, bytes(other)), signature)
    assert sign(secret, timestamp + 1, body) != signature
    assert sign(secret + "x", timestamp, body) != signature
