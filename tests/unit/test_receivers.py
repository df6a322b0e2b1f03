"""The samples of docs/receivers agree on every vector, refuse whatever is odd, and are in the document as they are."""

import base64
import json
import re
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.verification import Verdict, verify
from local_stack.folder import CHECKOUT
from shared.signing import sign, standard_headers
from support.languages import NODE, PHP, present
from support.samples import SAMPLES, python_sample
from support.seed.verify import verify_trustlens_webhook as seed_verifies

VECTORS_FILE = CHECKOUT / "tests" / "vectors" / "signatures.json"
RECEIVED: list[dict[str, Any]] = json.loads(VECTORS_FILE.read_text())["received"]
DOCUMENT = (CHECKOUT / "docs" / "receivers.md").read_text()
SECRET = "a-made-up-secret-of-more-than-32-characters"
NOW = 1_749_131_460
BODY = b'{"event":"test"}'

ours = python_sample("verify").verify_trustlens_webhook
standard = python_sample("standard").verify_standard_webhook


def python_s() -> list[bool]:
    return [
        ours(
            base64.b64decode(it["body"]),
            it["signature"],
            it["timestamp"],
            it["secret"],
            it.get("max_age_seconds", 300),
            next_signature_header=it["next_signature"],
            now=it["now"],
        )
        for it in RECEIVED
    ]


def run(program: str, script: str) -> list[bool]:
    with VECTORS_FILE.open() as vectors:
        done = subprocess.run([program, VECTORS_FILE.parent / script], stdin=vectors, capture_output=True, check=True)
    return [line == b"true" for line in done.stdout.splitlines()]


def node_s() -> list[bool]:
    return run(str(present(NODE)), "run.mjs")


def php_s() -> list[bool]:
    return run(str(present(PHP)), "run.php")


@pytest.mark.parametrize("verdicts", [python_s, node_s, php_s])
def test_the_samples_of_every_language_agree_with_every_vector(verdicts: Callable[[], list[bool]]) -> None:
    expected = {it["name"]: it["genuine"] for it in RECEIVED}
    assert dict(zip(expected, verdicts(), strict=True)) == expected


def test_so_does_the_receiver_of_the_command_line() -> None:
    # It does not know of rotations, and its window is fixed.
    simple = [it for it in RECEIVED if it["next_signature"] is None and "max_age_seconds" not in it]
    assert len(simple) > 80

    def verdict(it: dict[str, Any]) -> bool:
        signatures, timestamps = ([] if it[name] is None else [it[name]] for name in ("signature", "timestamp"))
        body = base64.b64decode(it["body"])
        judged = verify(body, signatures=signatures, timestamps=timestamps, secret=it["secret"], now=it["now"])
        return judged is Verdict.VERIFIED

    assert {it["name"]: verdict(it) for it in simple} == {it["name"]: it["genuine"] for it in simple}


odd = st.one_of(
    st.none(),
    st.text(),
    st.text("0123456789_+-.eE \n\u0660\u0661", max_size=12),
    st.sampled_from([sign(SECRET, NOW, BODY), str(NOW), "sha256=" + "é" * 64, "\ud800", "NaN"]),
)


@given(body=st.sampled_from([BODY, b"", b"\xff"]), signature=odd, timestamp=odd, next_signature=odd)
def test_whatever_comes_nothing_raises_and_only_the_right_signature_passes(
    body: bytes, signature: str | None, timestamp: str | None, next_signature: str | None
) -> None:
    genuine = timestamp == str(NOW) and sign(SECRET, NOW, body) in {signature, next_signature}
    assert ours(body, signature, timestamp, SECRET, next_signature_header=next_signature, now=NOW) == genuine


@pytest.mark.parametrize("window", [float("nan"), -1.0, float("-inf")])
def test_a_window_that_is_none_refuses(window: float) -> None:
    assert not ours(BODY, sign(SECRET, NOW, BODY), str(NOW), SECRET, window, now=NOW)


def test_a_body_that_was_decoded_or_parsed_is_refused() -> None:
    for body in (BODY.decode(), json.loads(BODY), None):
        assert not ours(body, sign(SECRET, NOW, BODY), str(NOW), SECRET, now=NOW)


def test_without_a_clock_given_the_sample_takes_the_machine_s() -> None:
    now = int(time.time())
    assert ours(BODY, sign(SECRET, now, BODY), str(now), SECRET)
    assert not ours(BODY, sign(SECRET, now - 302, BODY), str(now - 302), SECRET)


def test_where_the_guide_s_python_function_raises_or_passes_the_sample_refuses() -> None:
    now = int(time.time())
    genuine = sign(SECRET, now, BODY)
    for signature, timestamp in ((None, str(now)), ("sha256=é", str(now)), (genuine, None), (genuine, "NaN")):
        with pytest.raises((TypeError, ValueError)):
            seed_verifies(BODY, signature, timestamp, SECRET)
        assert not ours(BODY, signature, timestamp, SECRET)
    for timestamp in (f"{now:_}", f" {now}", f"+{now}"):
        assert seed_verifies(BODY, genuine, timestamp, SECRET)
        assert not ours(BODY, genuine, timestamp, SECRET)


def seed_of_node(signature: str, timestamp: str) -> bool | None:
    """What it says; None if it throws."""
    line = {"body": BODY.decode(), "signature": signature, "timestamp": timestamp, "secret": SECRET}
    script = str(CHECKOUT / "tests" / "support" / "seed" / "verify.js")
    done = subprocess.run([present(NODE), script], input=json.dumps(line), capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def test_where_the_guide_s_node_function_throws_or_passes_the_sample_refuses() -> None:
    """The sample's part is in the vectors: other length, letters after the timestamp, NaN signed."""
    now = int(time.time())
    assert seed_of_node(sign(SECRET, now, BODY)[:-1], str(now)) is None
    assert seed_of_node(sign(SECRET, now, BODY), f"{now}abc") is True
    nan_signed = next(it for it in RECEIVED if it["name"] == "timestamp NaN")
    assert not nan_signed["genuine"]


standard_secrets = st.binary(min_size=24, max_size=64).map(lambda key: f"whsec_{base64.b64encode(key).decode()}")


@given(secret=standard_secrets, other=standard_secrets)
def test_the_standard_webhooks_sample_takes_either_signature_of_a_rotation(secret: str, other: str) -> None:
    headers = standard_headers(secret, message_id="m", timestamp=int(time.time()), body=BODY, next_secret=other)
    assert standard(BODY, headers, secret)
    assert standard(BODY, {name.title(): value for name, value in headers.items()}, other)
    assert not standard(BODY + b" ", headers, secret)


@pytest.mark.parametrize(
    "broken",
    [
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v1,a"},
        {"webhook-signature": ""},
        {"webhook-timestamp": "1.7e9"},
        {"webhook-timestamp": "NaN"},
        {"webhook-timestamp": "1"},
        {"webhook-id": ""},
    ],
)
def test_what_the_library_stumbles_over_is_refused(broken: dict[str, str]) -> None:
    secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    headers = standard_headers(secret, message_id="m", timestamp=int(time.time()), body=BODY)
    assert standard(BODY, headers, secret)
    assert not standard(BODY, headers | broken, secret)


def test_the_standard_webhooks_sample_refuses_a_fraction_that_the_library_reads() -> None:
    secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    now = int(time.time())
    headers = standard_headers(secret, message_id="m", timestamp=now, body=BODY)
    assert not standard(BODY, headers | {"webhook-timestamp": f"{now}.0"}, secret)


def blocks() -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_the_document_has_the_samples_as_they_are() -> None:
    files = {path.name: path.read_text() for path in SAMPLES.iterdir() if path.is_file()}
    shown = [code for language, code in blocks() if language in {"python", "js", "php"}]
    assert [code for code in shown if not any(code in text for text in files.values())] == []
    assert {name for name, text in files.items() if text in shown} >= {"verify.py", "verify.mjs", "verify.php"}


def test_the_document_names_every_sample() -> None:
    named = set(re.findall(r"\(receivers/([\w.]+)\)", DOCUMENT))
    assert named == {path.name for path in SAMPLES.iterdir() if path.is_file()}
