"""The sample receivers as processes of their own, called by the dispatcher's own sender."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from dispatcher.send import Sender, open_session
from local_stack.folder import CHECKOUT
from shared.signing import sign
from shared.targets import Reach
from support.languages import NODE, PHP, present
from support.samples import SAMPLES

SECRET, NEXT_SECRET = "an endpoint's secret, longer than 32 characters", "the secret that comes after it, as long"
GOLDEN = CHECKOUT / "tests" / "unit" / "golden" / "webhooks"
LANGUAGES = ["python", "node", "php"]


def golden(name: str, **customer: object) -> bytes:
    payload = json.loads((GOLDEN / f"{name}.json").read_text())
    payload["customer"] |= customer
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def headers_of(
    body: bytes, *, delivery: str | None = None, sequence: int = 7, secret: str = SECRET, age: int = 0
) -> dict[str, str]:
    timestamp = int(time.time()) - age
    return {
        "Content-Type": "application/json",
        "X-TrustLens-Event": json.loads(body)["event"],
        "X-TrustLens-Timestamp": str(timestamp),
        "X-TrustLens-Signature": sign(secret, timestamp, body),
        "X-TrustLens-Delivery": delivery or str(uuid4()),
        "X-TrustLens-Webhook-ID": str(uuid4()),
        "X-TrustLens-Sequence": str(sequence),
    }


@dataclass
class Running:
    """A receiver that listens."""

    language: str
    folder: Path
    url: str
    process: asyncio.subprocess.Process
    sender: Sender
    earlier: list[str]
    """What its work printed before it listened."""

    async def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int | None, str]:
        answer = await self.sender.send(self.url, headers=headers, body=body, timeout=30)
        return answer.status_code, answer.body.decode().strip()

    async def worked_off(self) -> list[str]:
        """The next line that its work prints."""
        if self.language == "php":
            return await self._worked_off_by_cron()
        if self.earlier:
            return [self.earlier.pop(0)]
        assert self.process.stdout
        return [(await self.process.stdout.readline()).decode().strip()]

    async def _worked_off_by_cron(self) -> list[str]:
        worker = await asyncio.create_subprocess_exec(
            present(PHP),
            SAMPLES / "receiver.php",
            env=environment(self.folder),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await worker.communicate()
        assert worker.returncode == 0
        return output.decode().splitlines()

    def customer(self, email_hash: str) -> Any:
        return json.loads((self.folder / "customers" / f"{email_hash}.json").read_text())

    def inbox(self) -> dict[str, int]:
        """Deliveries and the bytes that are kept of each."""
        return {path.name: path.stat().st_size for path in (self.folder / "inbox").iterdir()}


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TRUSTLENS_WEBHOOK_SECRET": SECRET,
        "TRUSTLENS_FOLDER": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def command(language: str, folder: Path) -> Sequence[str | Path]:
    match language:
        case "python":
            return [sys.executable, SAMPLES / "receiver.py", folder, "0"]
        case "node":
            return [present(NODE), SAMPLES / "receiver.mjs", folder, "0"]
        case _:
            return [present(PHP), "-S", "127.0.0.1:0", SAMPLES / "receiver.php"]


async def listening(process: asyncio.subprocess.Process, language: str) -> tuple[str, list[str]]:
    """The URL, from what the process says when it listens, and the lines before that."""
    earlier: list[str] = []
    stream = process.stderr if language == "php" else process.stdout
    assert stream
    while line := (await stream.readline()).decode():
        if "http://" in line:
            return "http://" + line.split("http://")[1].split(")")[0].strip(), earlier
        earlier.append(line.strip())
    raise AssertionError("it ended before it listened")


@asynccontextmanager
async def running(language: str, folder: Path) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *command(language, folder),
        env=environment(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if language == "php" else None,
    )
    async with open_session(Reach(allow_http=True, allowed=[ip_network("127.0.0.0/8")])) as session:
        try:
            url, earlier = await listening(process, language)
            yield Running(language, folder, url, process, Sender(session), earlier)
        finally:
            process.kill()
            await process.communicate()


@pytest.fixture(params=LANGUAGES)
async def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(request.param, tmp_path) as receiver:
        yield receiver


async def test_a_delivery_is_kept_answered_worked_off_and_forgotten(receiver: Running) -> None:
    body = golden("score_updated")
    headers = headers_of(body)
    assert await receiver.post(body, headers) == (200, "kept")
    email_hash = json.loads(body)["customer"]["email_hash"]
    assert await receiver.worked_off() == [f"score_updated {email_hash[:12]}"]
    assert receiver.customer(email_hash) == {
        "sequence": 7,
        "trust_score": 34,
        "segment": "risk",
        "is_blocked": False,
        "is_allowlisted": False,
    }
    # The line is printed before the file is emptied: the next delivery's line comes after that.
    other = golden("score_updated", email_hash="cd" * 32)
    await receiver.post(other, headers_of(other))
    await receiver.worked_off()
    assert receiver.inbox()[headers["X-TrustLens-Delivery"]] == 0
    assert not any(b"jane@example.com" in path.read_bytes() for path in (receiver.folder / "customers").iterdir())


async def test_the_same_delivery_is_worked_off_once_however_often_it_comes(receiver: Running) -> None:
    body = golden("customer_blocked")
    delivery = str(uuid4())
    answers = await asyncio.gather(*(receiver.post(body, headers_of(body, delivery=delivery)) for _ in range(8)))
    assert sorted(words for _, words in answers) == ["kept", *["known"] * 7]
    assert len(await receiver.worked_off()) == 1
    # A retry has a timestamp and a signature of its own, and the same id.
    assert await receiver.post(body, headers_of(body, delivery=delivery)) == (200, "known")
    after = golden("customer_unblocked")
    await receiver.post(after, headers_of(after))
    assert [line.split()[0] for line in await receiver.worked_off()] == ["customer_unblocked"]


async def test_a_delivery_that_was_overtaken_undoes_nothing(receiver: Running) -> None:
    newer = golden("score_updated", segment="critical", is_blocked=True)
    older = golden("score_updated", segment="trusted", is_blocked=False)
    email_hash = json.loads(newer)["customer"]["email_hash"]
    for body, sequence in ((newer, 9), (older, 8)):
        await receiver.post(body, headers_of(body, sequence=sequence))
        await receiver.worked_off()
    assert receiver.customer(email_hash)["segment"] == "critical"
    assert receiver.customer(email_hash)["sequence"] == 9


async def test_a_test_delivery_leaves_no_customer(receiver: Running) -> None:
    body = golden("test")
    assert await receiver.post(body, headers_of(body, sequence=0)) == (200, "kept")
    assert [line.split()[0] for line in await receiver.worked_off()] == ["test"]
    assert list((receiver.folder / "customers").iterdir()) == []


async def test_every_event_is_taken(receiver: Running) -> None:
    for path in sorted(GOLDEN.iterdir()):
        body = golden(path.stem)
        assert await receiver.post(body, headers_of(body)) == (200, "kept"), path.stem


@pytest.mark.parametrize(
    "change",
    [
        {"X-TrustLens-Signature": None},
        {"X-TrustLens-Timestamp": None},
        {"X-TrustLens-Signature": "sha256=é"},
        {"X-TrustLens-Signature": "sha256=" + "0" * 64},
        {"X-TrustLens-Signature": "short"},
        {"X-TrustLens-Timestamp": "NaN"},
        {"X-TrustLens-Timestamp": "1_749_131_460"},
        {"X-TrustLens-Timestamp": "1749131460"},
    ],
    ids=str,
)
async def test_what_is_not_signed_is_refused_at_once_and_leaves_nothing(
    receiver: Running, change: dict[str, str | None]
) -> None:
    body = golden("score_updated")
    headers = {name: value for name, value in (headers_of(body) | change).items() if value is not None}
    assert await receiver.post(body, headers) == (401, "not signed by TrustLens")
    assert receiver.inbox() == {}


async def test_a_body_that_a_gateway_wrote_again_is_refused(receiver: Running) -> None:
    body = golden("score_updated")
    again = json.dumps(json.loads(body)).encode()
    assert (await receiver.post(again, headers_of(body)))[0] == 401


async def test_a_delivery_of_six_minutes_ago_is_refused(receiver: Running) -> None:
    body = golden("score_updated")
    assert (await receiver.post(body, headers_of(body, age=360)))[0] == 401


async def test_during_a_rotation_both_the_old_and_the_new_secret_verify(receiver: Running) -> None:
    body = golden("score_updated")
    # The receiver has SECRET: first as the old one, then as the new one.
    for old, new in ((SECRET, NEXT_SECRET), (NEXT_SECRET, SECRET)):
        headers = headers_of(body, secret=old)
        headers["X-TrustLens-Signature-Next"] = sign(new, int(headers["X-TrustLens-Timestamp"]), body)
        assert await receiver.post(body, headers) == (200, "kept")


@pytest.mark.parametrize(
    "change",
    [
        {"X-TrustLens-Delivery": "../../customers/" + "a" * 20},
        {"X-TrustLens-Delivery": ""},
        {"X-TrustLens-Sequence": "1e3"},
        {"X-TrustLens-Sequence": "-1"},
    ],
    ids=str,
)
async def test_headers_that_are_not_signed_are_not_trusted(receiver: Running, change: dict[str, str]) -> None:
    body = golden("score_updated")
    assert await receiver.post(body, headers_of(body) | change) == (400, "not an event")
    assert receiver.inbox() == {}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'"x"', b"null", b'{"event":"test","customer":{"email_hash":"../x"}}']
)
async def test_what_is_signed_but_no_event_is_refused(receiver: Running, body: bytes) -> None:
    timestamp = int(time.time())
    headers = headers_of(golden("test")) | {
        "X-TrustLens-Timestamp": str(timestamp),
        "X-TrustLens-Signature": sign(SECRET, timestamp, body),
    }
    assert await receiver.post(body, headers) == (400, "not an event")


async def test_a_body_beyond_all_measure_is_not_read_to_its_end(receiver: Running) -> None:
    body = b'{"event":"' + b"x" * 1_000_001 + b'"}'
    headers = headers_of(golden("test"))
    answer = await receiver.sender.send(receiver.url, headers=headers, body=body, timeout=30)
    # Who closes the connection while the rest is still on its way may be heard or not.
    assert answer.status_code == 413 or answer.phase in {"write", "first_byte"}
    assert receiver.inbox() == {}


async def test_a_get_is_not_answered_with_success(receiver: Running) -> None:
    async with aiohttp.ClientSession() as session, session.get(receiver.url) as answer:
        assert answer.status in {405, 501}


@pytest.mark.parametrize("language", ["python", "node"])
async def test_what_a_receiver_kept_and_did_not_work_off_is_worked_off_by_the_next(
    language: str, tmp_path: Path
) -> None:
    body = golden("score_updated")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / str(uuid4())).write_bytes(b"7\n" + body)
    (tmp_path / "inbox" / str(uuid4())).write_bytes(b"no delivery at all")
    (tmp_path / "inbox" / str(uuid4())).write_bytes(b"")
    async with running(language, tmp_path) as receiver:
        assert [line.split()[0] for line in await receiver.worked_off()] == ["score_updated"]
