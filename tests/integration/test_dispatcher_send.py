"""One request against receivers that misbehave: refused or survived, with the phase named."""

import asyncio
import resource
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from yarl import URL

from dispatcher.send import Sender, open_session
from shared.targets import Reach
from support.bad_receivers import answering, post, request, serving, silent

LOCAL = Reach(allow_http=True, allowed=[ip_network("127.0.0.0/8"), ip_network("::1/128")])


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with open_session(LOCAL) as session:
        yield Sender(session)


async def test_no_packing_is_asked_for_and_nothing_of_ours_is_told(sender: Sender) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with serving(serve) as url:
        await post(sender, url)
        await post(sender, url)
    assert all(b"Accept-Encoding: identity\r\n" in request for request in seen)
    assert not any(b"Cookie" in request for request in seen)


async def test_a_connection_that_was_closed_while_idle_costs_no_attempt(sender: Sender) -> None:
    connections = 0

    async def closes_at_the_second_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await request(reader)

    async with serving(closes_at_the_second_request) as url:
        answers = [await post(sender, url) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert connections == 3


async def test_a_task_whose_deadlines_passed_asks_again_and_can_still_be_cancelled(sender: Sender) -> None:
    asked = asyncio.Event()

    async def ask(url: str) -> None:
        phases = [(await post(sender, url, timeout=0.05)).phase for _ in range(2)]
        assert phases == ["first_byte", "first_byte"]
        asked.set()
        await post(sender, url, timeout=60)

    async with serving(silent) as url:
        asking = asyncio.create_task(ask(url))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_nobody_listening_is_a_failure_to_connect(sender: Sender) -> None:
    answer = await post(sender, "http://127.0.0.1:1/")
    assert (answer.phase, answer.error) == ("connect", "no connection: Connection refused")


async def test_that_we_can_open_no_connection_is_no_failure_of_the_endpoint(sender: Sender) -> None:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(silent) as url:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, most))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                await post(sender, url)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))


async def test_a_name_without_an_address_is_a_failure_of_dns(sender: Sender) -> None:
    answer = await post(sender, "http://nowhere.invalid/")
    assert answer.phase == "dns"
    assert answer.error
    assert answer.error.startswith("no connection: ")


@pytest.mark.parametrize(
    ("url", "phase", "error"),
    [
        ("http://10.0.0.1/", "connect", "its address 10.0.0.1 is refused: private"),
        ("http://[::ffff:10.0.0.1]/", "connect", "its address ::ffff:a00:1 is refused: IPv4-mapped"),
        ("http://169.254.169.254/latest/", "connect", "refused: link-local, cloud metadata"),
        ("http://2130706433/", "dns", "its URL cannot be called"),
        ("http://127.1/", "dns", "its URL cannot be called"),
    ],
)
async def test_a_closed_address_in_the_url_is_not_called(sender: Sender, url: str, phase: str, error: str) -> None:
    answer = await post(sender, url)
    assert answer.phase == phase
    assert answer.error
    assert answer.error.endswith(error)


async def test_a_name_that_resolves_to_a_closed_address_is_not_called() -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\n")) as url, open_session(Reach(allow_http=True)) as session:
        answer = await post(Sender(session), url.replace("127.0.0.1", "localhost"))
    assert answer.phase == "dns"
    assert answer.error
    assert answer.error.endswith("is refused: loopback")


async def test_names_that_nobody_answers_for_hold_up_no_other(looked_up: threading.Event) -> None:
    def look_up(host: str, port: int, _: int) -> list[tuple[Any, ...]]:
        if host.startswith("hung"):
            looked_up.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    empty = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    async with serving(empty) as url, open_session(LOCAL, look_up) as session:
        sender, port = Sender(session), URL(url).port
        hung = [
            asyncio.create_task(sender.send(f"http://hung{n}.example:{port}/", headers={}, body=b"{}", timeout=60))
            for n in range(40)
        ]
        healthy = await sender.send(f"http://healthy.example:{port}/", headers={}, body=b"{}", timeout=5)
        assert healthy.status_code == 200
        looked_up.set()
        assert {answer.phase for answer in await asyncio.gather(*hung)} == {"dns"}


@pytest.fixture
def looked_up() -> Iterator[threading.Event]:
    """Set at the end, so that no thread waits for ever."""
    event = threading.Event()
    yield event
    event.set()
