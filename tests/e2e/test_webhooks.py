"""Endpoints, their log, replays and dead messages from the command line, on the whole system."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import aio_pika
import pytest

from cli import books
from shared.ids import uuid7
from shared.topology import dead
from support import facts
from support.dispatching import Received, Receiver, receiving
from support.seed.verify import verify_trustlens_webhook
from support.servers import without_trustlens

TRUSTLENS = Path(sys.executable).with_name("trustlens")
SECRET = "an endpoint's secret, longer than 32 characters"
UUID_FORM = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def environment(road: Mapping[str, str]) -> dict[str, str]:
    return without_trustlens() | dict(road) | {"COLUMNS": "80", "PATH": os.environ["PATH"]}


async def started(road: Mapping[str, str], *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        TRUSTLENS,
        *words,
        env=environment(road) | {"PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def trustlens(road: Mapping[str, str], *words: str, code: int = 0) -> str:
    """All that the command printed; it must end with this code."""
    process = await started(road, *words)
    printed, _ = await process.communicate()
    assert process.returncode == code, printed.decode()
    return printed.decode()


async def said(road: Mapping[str, str], *words: str) -> str:
    """All that the command printed, however it ended."""
    printed, _ = await (await started(road, *words)).communicate()
    return printed.decode()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def accepts(received: Received, secret: str) -> bool:
    """What the seed's receiver says."""
    headers = received.headers
    return bool(
        verify_trustlens_webhook(
            received.body, headers["X-TrustLens-Signature"], headers["X-TrustLens-Timestamp"], secret
        )
    )


def id_in(printed: str) -> str:
    found = re.search(UUID_FORM, printed)
    assert found, printed
    return found.group()


async def added(road: Mapping[str, str], receiver: Receiver, path: str) -> str:
    """The id of an endpoint whose test was taken."""
    words = ("--url", receiver.url + path, "--secret", SECRET, "--events", "")
    printed = await trustlens(road, "webhooks", "add", *words)
    assert SECRET not in printed
    await receiver.next()
    return id_in(printed)


async def settled(road: Mapping[str, str]) -> books.Books:
    return await books.settled(road["TRUSTLENS_DATABASE_URL"], road["TRUSTLENS_AMQP_URL"], within=60)


async def test_four_steps_set_an_endpoint_up_and_its_log_shows_the_test(
    road: Mapping[str, str], receiver: Receiver
) -> None:
    words = ("--url", receiver.url + "/crm", "--secret", "", "--events", "")
    printed = await trustlens(road, "webhooks", "add", *words)
    test = await receiver.next()

    shown = re.search(r"shown only now: (\S+)", printed)
    assert shown, printed
    assert accepts(test, shown.group(1))
    assert "score_updated, customer_blocked, checkout_blocked, high_risk_order" in printed
    assert "The receiver answered HTTP 200" in printed
    assert "It said: thanks" in printed
    log = await trustlens(road, "webhooks", "log", id_in(printed))
    assert [line.split()[2:] for line in log.splitlines()] == [[str(test.delivery), "test", "delivered"]]
    assert max(map(len, log.splitlines())) <= 80
    told = await trustlens(road, "deliveries", "show", str(test.delivery))
    assert "test@example.com" in told
    assert shown.group(1) not in await trustlens(road, "webhooks", "list")


def typed(road: Mapping[str, str], *answers: str) -> tuple[int, str]:
    """`webhooks add` on a terminal, where each prompt gets the next answer: its exit code, and what was to be seen."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [TRUSTLENS, "webhooks", "add"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(road)
    ) as process:
        os.close(theirs)
        seen, left = "", list(answers)
        while chunk := _read(ours):
            seen += chunk
            if left and seen.endswith(": "):
                os.write(ours, f"{left.pop(0)}\n".encode())
    os.close(ours)
    return process.returncode, seen


def _read(terminal: int) -> str:
    """What was written since; "" when nobody is there to write any more."""
    try:
        return os.read(terminal, 4096).decode()
    except OSError:
        return ""


async def test_on_a_terminal_every_step_is_asked_for_and_the_secret_is_not_shown(
    road: Mapping[str, str], receiver: Receiver
) -> None:
    code, seen = await asyncio.to_thread(typed, road, receiver.url + "/typed", SECRET, "")
    assert code == 0, seen
    assert "Events, comma-separated [score_updated,customer_blocked,checkout_blocked,high_risk_order]: " in seen
    assert SECRET not in seen
    assert accepts(await receiver.next(), SECRET)


async def test_on_a_terminal_a_url_that_cannot_be_called_is_asked_for_again_at_once(
    road: Mapping[str, str], receiver: Receiver
) -> None:
    code, seen = await asyncio.to_thread(typed, road, "nonsense", receiver.url + "/typed", SECRET, "")
    assert code == 0, seen
    assert seen.index("the URL must begin with https://") < seen.index("Signing secret")


async def test_on_a_terminal_a_generated_secret_is_handed_over_before_the_test(
    road: Mapping[str, str], receiver: Receiver
) -> None:
    code, seen = await asyncio.to_thread(typed, road, receiver.url + "/typed", "", "customer_blocked", "")
    assert code == 0, seen
    assert seen.index("shown only now") < seen.index("Give it to the receiver") < seen.index("HTTP 200")


async def test_a_test_that_is_not_taken_says_what_to_do(road: Mapping[str, str], receiver: Receiver) -> None:
    receiver.statuses["/off"] = 401
    words = ("--url", receiver.url + "/off", "--secret", SECRET, "--events", "score_updated")
    printed = await trustlens(road, "webhooks", "add", *words, code=1)
    assert "has this secret" in printed
    endpoint = id_in(printed)
    assert f"trustlens webhooks test {endpoint}" in printed
    receiver.statuses["/off"] = 200
    await trustlens(road, "webhooks", "edit", endpoint, "--disable", "--reason", "moving house")
    told = await trustlens(road, "webhooks", "test", endpoint[:18])
    assert "HTTP 200" in told
    assert "The endpoint is off: moving house" in told

    refused = await trustlens(road, "webhooks", "add", "--url", "ftp://x", code=1)
    assert refused == "The API refused it: url must begin with https://.\n"


async def test_an_endpoint_is_changed_and_its_secret_rotated(road: Mapping[str, str], receiver: Receiver) -> None:
    endpoint = await added(road, receiver, "/old")
    words = ("--url", receiver.url + "/new", "--header", "X-Team=fraud", "--events", "customer_blocked")
    assert "/new" in await trustlens(road, "webhooks", "edit", endpoint, *words)
    rotated = await trustlens(road, "webhooks", "rotate", endpoint, "--secret", "")
    shown = re.search(r"shown only now: (\S+)", rotated)
    assert shown, rotated

    await trustlens(road, "webhooks", "test", endpoint)
    both = await receiver.next()
    assert (both.path, both.headers["X-Team"]) == ("/new", "fraud")
    assert accepts(both, SECRET)
    await trustlens(road, "webhooks", "rotate", endpoint, "--end")
    await trustlens(road, "webhooks", "test", endpoint)
    assert accepts(await receiver.next(), shown.group(1))
    told = await trustlens(road, "webhooks", "rotate", endpoint, "--end", code=1)
    assert told == "No rotation is under way: one secret alone signs already.\n"

    await trustlens(road, "webhooks", "delete", endpoint, "--yes")
    assert "There is no such webhook" in await trustlens(road, "webhooks", "rotate", endpoint, "--secret", "", code=1)


async def test_what_a_receiver_missed_is_replayed_to_it_under_the_same_ids(
    road: Mapping[str, str], receiver: Receiver
) -> None:
    endpoint = await added(road, receiver, "/crm")
    receiver.statuses["/crm"] = 503
    await trustlens(road, "personas")
    balance = await settled(road)
    assert balance.balanced, balance.lines
    missed = set()
    while not receiver.nothing_more():
        missed.add((await receiver.next()).delivery)
    assert missed

    receiver.statuses["/crm"] = 200
    now = datetime.now(UTC)
    span = ("--from", (now - timedelta(hours=1)).isoformat(), "--to", (now + timedelta(minutes=1)).isoformat())
    words = (*span, "--webhook", endpoint, "--rate", "500")
    counted = await trustlens(road, "replay-deliveries", *words, "--dry-run")
    assert counted == f"{len(missed)} deliveries would be made once more.\n"
    printed = await trustlens(road, "replay-deliveries", *words)
    assert f"replay is done: {len(missed)} deliveries." in printed

    came = {delivery.delivery: delivery for delivery in [await receiver.next() for _ in missed]}
    assert set(came) == missed
    assert all(accepts(delivery, SECRET) for delivery in came.values())
    balance = await settled(road)
    assert (balance.balanced, balance.unfinished) == (True, 0), balance.lines
    assert await trustlens(road, "replay-deliveries", *words, "--dry-run") == (
        "0 deliveries would be made once more.\n"
    )


async def test_attempts_are_followed_as_they_are_made(road: Mapping[str, str], receiver: Receiver) -> None:
    endpoint = await added(road, receiver, "/crm")
    following = await started(road, "deliveries", "tail", "--webhook", endpoint)
    as_json = await started(road, "deliveries", "tail", "--webhook", endpoint, "--json")
    assert following.stdout
    assert as_json.stdout
    try:
        first = (await following.stdout.readline()).decode()
        assert re.fullmatch(r"\d\d:\d\d:\d\d test +[0-9a-f-]{36} [0-9a-f]{12} +200 1/1 +\d+ delivered\n", first)
        receiver.statuses["/crm"] = 500
        await trustlens(road, "webhooks", "test", endpoint, code=1)
        assert " 500 1/1 " in (await following.stdout.readline()).decode()
        told = [json.loads(await as_json.stdout.readline())["status_code"] for _ in range(2)]
        assert told == [200, 500]
    finally:
        for process in (following, as_json):
            process.terminate()
            await process.wait()


@pytest.fixture
async def broker(road: Mapping[str, str]) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """To put messages where they do not belong; what is dead afterwards is taken away."""
    async with await aio_pika.connect(road["TRUSTLENS_AMQP_URL"]) as connection:
        channel = await connection.channel()
        yield channel
        await (await channel.get_queue(dead("scorer.facts"))).purge()


async def test_a_message_that_nobody_can_process_is_dead_and_a_good_one_goes_its_way(
    road: Mapping[str, str], broker: aio_pika.abc.AbstractChannel
) -> None:
    await broker.default_exchange.publish(aio_pika.Message(b"no fact", message_id=str(uuid7())), "scorer.facts")
    queue = await broker.get_queue(dead("scorer.facts"))  # of no store: whether a key sees it depends on their number
    async with asyncio.timeout(30):
        while not (buried := await queue.get(fail=False, no_ack=True)):
            pass
    assert (buried.body, buried.headers["x-trustlens-reason"]) == (b"no fact", "unparseable")

    good, email = str(uuid7()), "dead@facts.example"
    fact = facts.order(1, email, store_id=UUID(road["TRUSTLENS_STORE_ID"]))
    message = aio_pika.Message(
        fact.encode(),
        headers={"x-trustlens-reason": "rejected", "x-trustlens-message-id": good},
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    await broker.default_exchange.publish(message, dead("scorer.facts"))
    assert "1 sent back" in await trustlens(road, "dead", "redrive", good)
    assert good not in await trustlens(road, "dead", "list")
    assert (await trustlens(road, "dead", "redrive", good, code=1)).startswith(f"There is no dead message {good}")
    async with asyncio.timeout(30):
        while "50 Normal" not in (await said(road, "explain", email)):
            pass
