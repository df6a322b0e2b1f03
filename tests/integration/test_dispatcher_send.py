"""One request against receivers that misbehave: refused or survived, with the phase named."""

import asyncio
import gzip
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from dispatcher.classify import Answer
from dispatcher.send import ANSWER_KEPT, Sender, open_session
from shared.targets import Reach

LOCAL = Reach(allow_http=True, allowed=[ip_network("127.0.0.0/8"), ip_network("::1/128")])
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with open_session(LOCAL) as session:
        yield Sender(session)


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server of raw bytes; its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    finally:
        server.close()


async def request(reader: asyncio.StreamReader) -> bytes:
    """One request's headers and its two bytes of body."""
    return await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)


async def post(sender: Sender, url: str, *, timeout: float = 5) -> Answer:  # noqa: ASYNC109  # as the sender has it
    return await sender.send(url, headers={"X-Test": "1"}, body=b"{}", timeout=timeout)


def answering(raw: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(raw)
        await writer.drain()

    return serve


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not reader.at_eof():
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_a_receiver_that_never_answers_ends_at_the_deadline(sender: Sender) -> None:
    async with serving(silent) as url:
        answer = await post(sender, url, timeout=0.2)
    assert (answer.phase, answer.error) == ("first_byte", "no complete answer within 0.2 s")
    assert answer.address == "127.0.0.1"
    assert answer.duration_ms < 2000


async def test_a_body_that_drips_ends_at_the_same_deadline(sender: Sender) -> None:
    async with serving(dripping) as url:
        answer = await post(sender, url, timeout=0.3)
    assert (answer.phase, answer.error) == ("body", "no complete answer within 0.3 s")


async def test_an_endless_body_is_cut_off_and_its_status_counts(sender: Sender) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not reader.at_eof():
            writer.write(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
            await writer.drain()

    async with serving(endless) as url:
        answer = await post(sender, url)
    assert (answer.status_code, answer.phase) == (200, None)
    assert answer.body == b"x" * ANSWER_KEPT


async def test_a_packed_answer_is_kept_as_it_came(sender: Sender) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    async with serving(answering(head.encode() + bomb)) as url:
        answer = await post(sender, url)
    assert (answer.status_code, answer.body) == (200, bomb[:ANSWER_KEPT])


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


async def test_a_redirect_is_not_followed(sender: Sender) -> None:
    async with serving(answering(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")) as url:
        answer = await post(sender, url)
    assert (answer.status_code, answer.complaint) == (302, "answered 302")


@pytest.mark.parametrize(
    ("raw", "phase", "error"),
    [
        (b"", "first_byte", "the connection was closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "body", "the answer broke off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "first_byte", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n", "first_byte", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "first_byte", "a header of the answer is too long"),
    ],
)
async def test_what_is_not_a_whole_answer_names_its_phase(sender: Sender, raw: bytes, phase: str, error: str) -> None:
    async with serving(answering(raw)) as url:
        answer = await post(sender, url)
    assert (answer.phase, answer.error) == (phase, error)


async def test_an_answer_before_the_request_was_read_counts(sender: Sender) -> None:
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with serving(hasty) as url:
        answer = await sender.send(url, headers={}, body=b"x" * 100, timeout=5)
    assert answer.status_code == 413


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


async def test_nobody_listening_is_a_failure_to_connect(sender: Sender) -> None:
    answer = await post(sender, "http://127.0.0.1:1/")
    assert (answer.phase, answer.error) == ("connect", "no connection: Connection refused")


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


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return _server_context(tmp_path_factory.mktemp("tls"))


def _server_context(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_a_self_signed_certificate_is_refused_in_words(sender: Sender, self_signed: ssl.SSLContext) -> None:
    async with serving(silent, self_signed) as url:
        answer = await post(sender, url)
    assert (answer.phase, answer.error) == ("tls", "its certificate is not accepted: it is self-signed")


async def test_a_receiver_that_speaks_no_tls_is_a_failure_of_tls(sender: Sender) -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\n")) as url:
        answer = await post(sender, url.replace("http://", "https://"), timeout=1)
    assert answer.phase in {"tls", "connect"}
    assert answer.status_code is None


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
