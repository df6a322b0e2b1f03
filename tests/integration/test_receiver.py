"""The local receiver over real HTTP: what it answers, remembers and writes down."""

import hashlib
import hmac
import json
import time

import aiohttp
import pytest

from cli.listen import COLUMNS, line
from cli.receiver import Receiver
from cli.verification import Verdict

SECRET = "a-made-up-secret-of-more-than-32-characters"
HASH = "a3f2" * 16


def payload(**fields) -> bytes:
    customer = {"email_hash": HASH, "email": "ada@mail.example", "trust_score": 34, "segment": "risk"}
    return json.dumps({"event": "score_updated", "customer": customer, **fields}).encode()


def headers(body: bytes, *, secret: str = SECRET, **changes: str) -> dict[str, str]:
    timestamp = str(int(time.time()))
    signature = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {
        "X-TrustLens-Event": "score_updated",
        "X-TrustLens-Timestamp": timestamp,
        "X-TrustLens-Signature": f"sha256={signature}",
        "X-TrustLens-Delivery": "0f8b6c2e-1111-5222-8333-944445555666",
        "X-TrustLens-Webhook-ID": "6b1d6c2e-1111-4222-8333-944445555666",
        "X-TrustLens-Sequence": "12",
    } | changes


async def post(receiver: Receiver, path: str, body: bytes | None = None, **changes: str) -> int:
    body = payload() if body is None else body
    async with (
        aiohttp.ClientSession() as session,
        session.post(receiver.url(path), data=body, headers=headers(body, **changes)) as response,
    ):
        return response.status


async def test_a_verified_delivery_is_remembered_with_what_it_says():
    async with Receiver(secret=SECRET) as receiver:
        assert await post(receiver, "/hooks/crm", payload(order={"id": 4821})) == 200
        [received] = await receiver.wait_for(1, within=5)
    assert received.verified
    assert (received.event, received.customer, received.sequence) == ("score_updated", HASH, 12)
    assert (received.score, received.segment, received.order_id) == (34, "risk", 4821)
    assert receiver.verified_ids() == {"0f8b6c2e-1111-5222-8333-944445555666"}


async def test_an_unverified_delivery_gets_401_and_is_remembered_with_the_reason():
    async with Receiver(secret=SECRET) as receiver:
        assert await post(receiver, "/hooks", secret="another") == 401
        [received] = receiver.received
    assert received.verdict is Verdict.WRONG
    assert receiver.verified_ids() == set()


async def test_each_path_has_its_secret_and_an_unknown_path_verifies_nothing():
    async with Receiver(secrets={"/a": "secret-a", "/b": "secret-b"}) as receiver:
        assert await post(receiver, "/a", secret="secret-a") == 200
        assert await post(receiver, "/b", secret="secret-b") == 200
        assert await post(receiver, "/b", secret="secret-a") == 401
        assert await post(receiver, "/c", secret="secret-a") == 401


@pytest.mark.parametrize(("path", "status"), [("/hooks/500", 500), ("/hooks/410", 410), ("/x?answer=429", 429)])
async def test_paths_answer_as_they_are_called(path, status):
    async with Receiver(secret=SECRET) as receiver:
        assert await post(receiver, path) == status


async def test_a_path_can_be_switched_while_it_runs():
    async with Receiver(secret=SECRET) as receiver, aiohttp.ClientSession() as session:
        async with session.put(receiver.url("/hooks/crm?answer=503")) as response:
            assert response.status == 200
        assert await post(receiver, "/hooks/crm") == 503
        async with session.put(receiver.url("/hooks/crm?answer=never")) as response:
            assert response.status == 400
        receiver.answers["/hooks/crm"] = 200
        assert await post(receiver, "/hooks/crm") == 200


async def test_a_hanging_path_takes_the_request_and_never_answers():
    async with Receiver(secret=SECRET) as receiver:
        body = payload()
        timeout = aiohttp.ClientTimeout(total=0.2)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            with pytest.raises(TimeoutError):
                await session.post(receiver.url("/hooks/hang"), data=body, headers=headers(body))
        assert receiver.received[0].verified


async def test_waiting_for_deliveries_that_never_come_ends_in_a_timeout():
    async with Receiver(secret=SECRET) as receiver:
        await post(receiver, "/hooks")
        with pytest.raises(TimeoutError):
            await receiver.wait_for(2, within=0.05)
        with pytest.raises(TimeoutError):
            await receiver.wait_for(1, within=0.05, where=lambda received: received.path == "/other")


async def test_the_ledger_has_a_line_per_request_and_no_email(tmp_path):
    ledger = tmp_path / "ledger.ndjson"
    async with Receiver(secret=SECRET, ledger=ledger) as receiver:
        await post(receiver, "/hooks", payload(order_id=7))
        await post(receiver, "/hooks", b"\xff no json")
        first, second = map(json.loads, ledger.read_text().splitlines())
    assert (first["customer"], first["order_id"], first["sequence"], first["verified"]) == (HASH, 7, 12, True)
    assert second["customer"] == ""
    assert "mail.example" not in ledger.read_text()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"customer": 7, "order": [], "order_id": true}', b"[" * 100_000, b'{"customer":{}}']
)
async def test_any_body_is_received_without_an_error(body):
    async with Receiver(secret=SECRET) as receiver:
        assert await post(receiver, "/hooks", body) == 200
        assert receiver.received[0].order_id is None


async def test_a_delivery_is_one_line_of_at_most_80_printable_columns():
    async with Receiver(secret=SECRET) as receiver:
        await post(receiver, "/hooks", payload(), **{"X-TrustLens-Event": "customer_allowlist_removed"})
        await post(receiver, "/hooks/500")
        wrong = {"X-TrustLens-Signature": "sha256=no", "X-TrustLens-Event": "\x9b31mred" * 20}
        await post(receiver, "/hooks", None, **wrong)
        verified, failed, refused = map(line, receiver.received)
    assert verified.split(maxsplit=1)[1] == f"customer_allowlist_removed {HASH[:12]} 34 risk      0f8b6c2e verified"
    assert failed.endswith("ok, 500")
    assert refused.endswith("NOT VERIFIED: malformed signature")
    assert all(len(text) <= COLUMNS and text.isprintable() for text in (verified, failed, refused))
