"""Receivers on real sockets, from the good one to the worst that a sender has to live with."""

import asyncio
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dispatcher.classify import Answer, Phase
from dispatcher.send import Sender

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(b"0" * 10_000_000)
CUT = 0.4
"""Seconds that the sender gives receivers who would take for ever."""


@asynccontextmanager
async def serving(
    serve: Serve,
    tls: ssl.SSLContext | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    window: int | None = None,
) -> AsyncIterator[str]:
    """A server of raw bytes; its URL. At the end whoever is still being served is sent away."""
    served: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(handle(reader, writer))
        served.add(task)
        task.add_done_callback(served.discard)

    server = await asyncio.start_server(begin, host, port, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://{host}:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)


async def request(reader: asyncio.StreamReader) -> bytes:
    """One request's headers and its two bytes of body."""
    return await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)


async def post(sender: Sender, url: str, *, timeout: float = 5, body: bytes = b"{}") -> Answer:  # noqa: ASYNC109  # as the sender has it
    return await sender.send(url, headers={"X-Test": "1"}, body=body, timeout=timeout)


def answering(raw: bytes) -> Serve:
    """Whatever is asked, this; then the connection is closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(raw)
        await writer.drain()

    return serve


def keeping_on(raw: bytes) -> Serve:
    """Whatever is asked, this, as often as it is asked on the same connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(raw)
            await writer.drain()

    return serve


good = keeping_on(OK)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def endless(start: bytes, more: bytes, *, pause: float = 0) -> Serve:
    """Begins, and goes on for as long as it is listened to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(start)
        while not reader.at_eof():
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(pause)

    return serve


def greeting(raw: bytes) -> Serve:
    """Speaks before it is spoken to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await request(reader)

    return serve


def resetting(raw: bytes | None) -> Serve:
    """Tears the connection down after so much of an answer; None: before it has read the request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if raw is not None:
            await request(reader)
            writer.write(raw)
            await writer.drain()
            await asyncio.sleep(0.05)  # for the bytes to be read: a reset would overtake them
        reset(writer)

    return serve


def reset(writer: asyncio.StreamWriter) -> None:
    """With a linger of zero seconds, closing is a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def after_hello(raw: bytes | None) -> Serve:
    """Waits for the first bytes of a TLS handshake and answers these; None: resets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if raw is None:
            reset(writer)
            return
        writer.write(raw)
        await writer.drain()

    return serve


async def dripping_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A ServerHello of 16 kB, one byte at a time."""
    await reader.read(1)
    writer.write(b"\x16\x03\x03\x40\x00")
    while not reader.at_eof():
        writer.write(b"\x02")
        await writer.drain()
        await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Bad:
    """A receiver, and what is to be said of it."""

    serve: Serve
    phase: Phase | None
    error: str | None
    status: int | None = None
    over_tls: bool = False
    """Whether it is called by https, though it has no certificate."""


LATE = f"no complete answer within {CUT:g} s"
NOT_HTTP = "the answer is not HTTP"
TOO_LONG = "a header of the answer is too long"
NO_ANSWER = "the connection was closed without an answer"
BROKE_OFF = "the answer broke off"
RESET = "the request broke off: Connection reset by peer"

BAD = {
    # who takes for ever
    "never answers": Bad(silent, "first_byte", LATE),
    "drips its headers": Bad(endless(HEAD, b"X", pause=0.02), "first_byte", LATE),
    "drips empty lines": Bad(endless(b"", b"\r\n", pause=0.02), "first_byte", LATE),
    "drips its body": Bad(endless(HEAD + b"Content-Length: 99999\r\n\r\n", b".", pause=0.02), "body", LATE, 200),
    "drips its chunks": Bad(
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n", pause=0.02), "body", LATE, 200
    ),
    "never ends its body": Bad(endless(HEAD + b"\r\n", b"", pause=0.02), "body", LATE, 200),
    "says 429 and drips": Bad(
        endless(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n\r\n", b".", pause=0.02), "body", LATE, 429
    ),
    # who sends for ever
    "floods its body": Bad(endless(HEAD + b"\r\n", b"x" * 65536), None, None, 200),
    "floods its chunks": Bad(
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"2000\r\n" + b"x" * 0x2000 + b"\r\n"), None, None, 200
    ),
    "floods its headers": Bad(endless(HEAD, b"X: y\r\n" * 1000), "first_byte", NOT_HTTP),
    "floods one header": Bad(endless(HEAD + b"X: ", b"y" * 65536), "first_byte", TOO_LONG),
    "floods a header's name": Bad(endless(HEAD, b"y" * 65536), "first_byte", TOO_LONG),
    "floods its status line": Bad(endless(b"HTTP/1.1 200 ", b"y" * 65536), "first_byte", TOO_LONG),
    "floods 100 Continue": Bad(
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        "first_byte",
        "more than 16 interim answers (1xx) and no other",
    ),
    "floods 103 Early Hints": Bad(
        endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000),
        "first_byte",
        "more than 16 interim answers (1xx) and no other",
    ),
    "floods a chunk's extension": Bad(
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 65536), "body", LATE, 200
    ),
    "floods its trailers": Bad(
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000), "body", BROKE_OFF, 200
    ),
    "sends a gzip bomb": Bad(
        answering(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB), None, None, 200
    ),
    # who hangs up
    "hangs up": Bad(answering(b""), "first_byte", NO_ANSWER),
    "hangs up within its status line": Bad(answering(b"HTTP/1.1 20"), "first_byte", NO_ANSWER),
    "hangs up within its headers": Bad(answering(HEAD + b"X: y"), "first_byte", NO_ANSWER),
    "hangs up after an interim answer": Bad(answering(b"HTTP/1.1 100 Continue\r\n\r\n"), "first_byte", NO_ANSWER),
    "hangs up within its body": Bad(answering(HEAD + b"Content-Length: 10\r\n\r\nhalf"), "body", BROKE_OFF, 200),
    "hangs up within a chunk": Bad(
        answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"), "body", BROKE_OFF, 200
    ),
    "resets at once": Bad(resetting(None), "first_byte", RESET),
    "resets after the request": Bad(resetting(b""), "first_byte", RESET),
    "resets within its headers": Bad(resetting(HEAD), "first_byte", RESET),
    "resets within its body": Bad(resetting(HEAD + b"Content-Length: 9\r\n\r\nx"), "body", BROKE_OFF, 200),
    # who speaks something else
    "greets as SSH": Bad(greeting(b"SSH-2.0-OpenSSH_9.2\r\n"), "first_byte", NOT_HTTP),
    "greets as SMTP": Bad(greeting(b"220 mail.example ESMTP\r\n"), "first_byte", NOT_HTTP),
    "answers in TLS": Bad(answering(b"\x15\x03\x03\x00\x02\x02\x46"), "first_byte", NOT_HTTP),
    "answers in HTTP/0.9": Bad(answering(b"<html>hello</html>"), "first_byte", NOT_HTTP),
    "answers in HTTP/2": Bad(answering(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18), "first_byte", NOT_HTTP),
    "answers in HTTP/9": Bad(answering(b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"), "first_byte", NOT_HTTP),
    "has words for a status": Bad(answering(b"HTTP/1.1 fine OK\r\n\r\n"), "first_byte", NOT_HTTP),
    "has a status of four digits": Bad(answering(b"HTTP/1.1 2000 OK\r\n\r\n"), "first_byte", NOT_HTTP),
    "has a header without a colon": Bad(answering(HEAD + b"nonsense\r\n\r\n"), "first_byte", NOT_HTTP),
    "has a NUL in a header": Bad(answering(HEAD + b"X: a\x00b\r\n\r\n"), "first_byte", NOT_HTTP),
    "has a length in words": Bad(answering(HEAD + b"Content-Length: ten\r\n\r\n"), "first_byte", NOT_HTTP),
    "has a negative length": Bad(answering(HEAD + b"Content-Length: -1\r\n\r\n"), "first_byte", NOT_HTTP),
    "has a length of 30 digits": Bad(
        answering(HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n"), "first_byte", NOT_HTTP
    ),
    "has two lengths": Bad(
        answering(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "first_byte", NOT_HTTP
    ),
    "has a length and chunks": Bad(
        answering(HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "first_byte", NOT_HTTP
    ),
    "has a chunk of no size": Bad(
        answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n"), "body", BROKE_OFF, 200
    ),
    "has a chunk of too great a size": Bad(
        answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 20 + b"\r\n\r\n"), "body", BROKE_OFF, 200
    ),
    "switches protocols": Bad(
        answering(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nwhatever"), None, None, 101
    ),
    # who has no TLS worth the name
    "has no TLS": Bad(
        after_hello(b"HTTP/1.1 400 Bad\r\n\r\n"), "tls", "no TLS connection: wrong version number", over_tls=True
    ),
    "never shakes hands": Bad(silent, "tls", LATE, over_tls=True),
    "drips its handshake": Bad(dripping_handshake, "tls", LATE, over_tls=True),
    "resets within the handshake": Bad(
        after_hello(None), "tls", "no TLS connection: Connection reset by peer", over_tls=True
    ),
    "hangs up within the handshake": Bad(
        after_hello(b""), "tls", "no TLS connection: Connection reset by peer", over_tls=True
    ),
    "breaks off its handshake": Bad(
        after_hello(b"\x16\x03\x03\x40\x00\x02"), "tls", "no TLS connection: Connection reset by peer", over_tls=True
    ),
    "alerts": Bad(
        after_hello(b"\x15\x03\x03\x00\x02\x02\x28"),
        "tls",
        "no TLS connection: sslv3 alert handshake failure",
        over_tls=True,
    ),
}
