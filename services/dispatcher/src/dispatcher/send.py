"""One request: out to an address we may call, and back within its deadline, whatever the other side does."""

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from aiohttp import abc, hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace
from yarl import URL

from dispatcher.classify import Answer, Phase
from shared.egress import refused
from shared.targets import Reach

ANSWER_READ = 64 * 1024
"""Bytes of an answer that are read, so that its connection can be used again; what is longer is cut off."""
ANSWER_KEPT = 1024
"""Bytes of it that the delivery log shows."""
RETRY_AFTER_KEPT = 100
"""Characters of a Retry-After header; a date takes 29."""
INTERIM_ANSWERS = 16
"""1xx answers that are waited through before the answer itself: more are a way to keep us busy."""
RESOLVING_AT_ONCE = 128
"""Threads for looking up names: one whose server does not answer holds its thread for many seconds, and the event
loop's own few would soon be all held."""


_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""This process, or its machine, can open no more connections."""
_EXHAUSTED_PAUSE = 1.0
"""Seconds, in which others may end theirs. Without them all that is due would be leased in a moment, and in vain."""


class RefusedAddressError(OSError):
    """An address that we may not call."""


class _TooManyInterimError(HttpProcessingError):
    """More than INTERIM_ANSWERS, and no answer yet."""


@dataclass(slots=True)
class _Trail:
    """How far a request has come, and what of its answer has arrived."""

    asked: bytes | None
    """What the request's body is."""
    phase: Phase = "dns"
    address: str | None = None
    transport: asyncio.Transport | None = None
    reused: bool = False
    heard: bool = False
    """Whether a byte has come."""
    interim: int = 0
    status_code: int | None = None
    retry_after: str | None = None
    body: bytes = b""
    whole: bool = False
    """Whether the answer has been read to its end, so that its connection can be used again."""
    over: bool = False

    def begin(self) -> None:
        self.phase, self.reused, self.heard = "dns", False, False

    def end(self) -> None:
        """A connection whose answer is not whole goes at once.

        Closed politely it would wait, maybe for ever, for a receiver that reads nothing of what was written.
        """
        self.over = True
        if self.transport is not None and not (self.whole and _idle(self.transport)):
            self.transport.abort()

    def found_dead(self) -> bool:
        """Whether the connection had been closed while it idled, so that nobody has seen the request."""
        return self.reused and not self.heard and self.phase in {"write", "first_byte"}


_trail: ContextVar[_Trail] = ContextVar("_trail")


class _Deadline:
    """asyncio.timeout, without what only other uses need: measured, a third of its time.

    Raises:
        TimeoutError: what was within took longer, and nobody else cancelled it.
    """

    __slots__ = ("_handle", "_late", "_task")

    def __init__(self, seconds: float) -> None:
        self._late = False
        self._task = asyncio.current_task()
        self._handle = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._late = True
        if self._task:
            self._task.cancel()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._handle.cancel()
        if self._late and self._task and not self._task.uncancel() and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error


class Sender:
    """Sends requests over kept-alive connections. Close the session that it is made with."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        assert session.connector is not None  # noqa: S101  # until it is closed
        self._session, self._connector = session, session.connector

    async def send(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,  # noqa: ASYNC109  # the deadline's length is the endpoint's own
        method: str = "POST",
    ) -> Answer:
        """Ask once. A connection that was closed while it idled is not counted: that is tried on another one.

        Raises:
            OSError: we have no means left to ask, which is no failure of whom we would have asked.
        """
        trail = _Trail(asked=body)
        _trail.set(trail)
        started = time.monotonic()
        try:
            with _Deadline(timeout):
                await self._ask(method, url, headers, trail)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _EXHAUSTED:
                await asyncio.sleep(_EXHAUSTED_PAUSE)
                raise
            return _answer(trail, started, phase=_phase(error, trail), error=_words(error, trail, timeout))
        finally:
            trail.end()
        return _answer(trail, started)

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], trail: _Trail) -> None:
        if trail.asked is not None:
            headers = {**headers, "Content-Length": str(len(trail.asked))}
        while True:
            trail.begin()
            try:
                async with await self._begin(method, URL(url), headers) as response:
                    trail.phase, trail.status_code = "body", response.status
                    trail.retry_after = _retry_after(response)
                    return await _read(response, trail)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not trail.found_dead():
                    raise

    async def _begin(self, method: str, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The answer to a request as soon as its head is there.

        What the session would do for this, without all that it does for others: that takes as long again.
        """
        if url.scheme not in self._connector.allowed_protocol_schema_set:
            raise aiohttp.NonHttpUrlClientError(url)
        loop = asyncio.get_running_loop()
        request = _Request(method, url, headers=headers, loop=loop, session=self._session, response_class=_Response)
        try:
            connection = await self._connector.connect(request, [], self._session.timeout)
            try:
                _wire(connection).set_response_params(read_until_eof=True, auto_decompress=False)
                return await (await request.send(connection)).start(connection)
            except BaseException:
                connection.close()
                raise
        except aiohttp.ClientError:
            raise
        except OSError as error:
            raise aiohttp.ClientOSError(*error.args) from error


def _retry_after(response: aiohttp.ClientResponse) -> str | None:
    told = response.headers.get("Retry-After")
    return told[:RETRY_AFTER_KEPT] if told and told.isascii() else None


async def _read(response: aiohttp.ClientResponse, trail: _Trail) -> None:
    total = 0
    async for chunk in response.content.iter_any():
        trail.body += chunk[: ANSWER_KEPT - len(trail.body)]
        total += len(chunk)
        if total >= ANSWER_READ:
            response.close()
            return
    trail.whole = True


def _answer(trail: _Trail, started: float, *, phase: Phase | None = None, error: str | None = None) -> Answer:
    return Answer(
        duration_ms=round((time.monotonic() - started) * 1000),
        status_code=trail.status_code,
        phase=phase,
        error=error,
        address=trail.address,
        body=trail.body,
        retry_after=trail.retry_after,
    )


def open_session(
    reach: Reach, look_up: "LookUp | None" = None, *, authorities: str | None = None
) -> aiohttp.ClientSession:
    """A session that calls only what `reach` allows, follows nothing, remembers nothing and asks no proxy.

    `look_up`: names to addresses, as the system's own does; called in a thread. `authorities`: certificates in PEM
    that are trusted beside the system's own.
    """
    return aiohttp.ClientSession(
        connector=_Connector(reach, look_up or _look_up, _tls(authorities)),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # one deadline, set around the whole
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class _Connector(aiohttp.TCPConnector):
    """Connects to checked addresses only, by https unless http is allowed."""

    def __init__(self, reach: Reach, look_up: "LookUp", tls: ssl.SSLContext) -> None:
        super().__init__(
            limit=0,  # the lanes limit
            resolver=_CheckedResolver(reach, look_up),
            ttl_dns_cache=10,
            socket_factory=_checked_sockets(reach),
            ssl=tls,
        )
        self.allowed_protocol_schema_set = frozenset({"http", "https"} if reach.allow_http else {"https"})
        wire: Callable[[], ResponseHandler] = partial(_Wire, self._loop)
        self._factory = partial(wire)  # aiohttp has no public place for it

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's signature
    ) -> Connection:
        """Notes that there is a connection, and whether it had been used. Tracing tells the same, and costs more."""
        connection = await super().connect(req, traces, timeout)
        trail = _trail.get()
        trail.phase, trail.reused = "write", _wire(connection).used
        return connection


class _TlsContext(ssl.SSLContext):
    """Notes when a handshake begins: until then the connection was being made."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        _trail.get().phase = "tls"
        return super().wrap_bio(*args, **kwargs)


def _tls(authorities: str | None) -> ssl.SSLContext:
    context = _TlsContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    if authorities:
        context.load_verify_locations(cadata=authorities)
    return context


class _CheckedResolver(abc.AbstractResolver):
    """Leaves out the addresses that may not be called: a name may have both kinds."""

    def __init__(self, reach: Reach, look_up: "LookUp") -> None:
        self._reach = reach
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(RESOLVING_AT_ONCE, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[abc.ResolveResult]:
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(self._threads, self._look_up, host, port, family)
        found = [_result(host, info) for info in infos]
        reasons = {result["host"]: refused(result["host"], self._reach.allowed) for result in found}
        allowed = [result for result in found if reasons[result["host"]] is None]
        if not allowed:
            address, reason = next(iter(reasons.items()), ("none", "no address"))
            raise RefusedAddressError(f"its address {address} is refused: {reason}")
        return allowed

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


_Info = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
LookUp = Callable[[str, int, int], Sequence[_Info]]


def _look_up(host: str, port: int, family: int) -> Sequence[_Info]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)


def _result(host: str, info: _Info) -> abc.ResolveResult:
    family, _, proto, _, address = info
    return {
        "hostname": host,
        "host": str(address[0]),
        "port": int(address[1]),
        "family": family,
        "proto": proto,
        "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    }


def _checked_sockets(reach: Reach) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """Every connection begins here with the very address it goes to, be it looked up or written in the URL."""

    def open_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        host = str(address[0])
        trail = _trail.get()
        trail.phase, trail.address = "connect", host
        if reason := refused(host, reach.allowed):
            raise RefusedAddressError(f"its address {host} is refused: {reason}")
        return socket.socket(family=family, type=kind, proto=protocol)

    return open_socket


async def addresses(host: str, port: int, reach: Reach) -> list[abc.ResolveResult]:
    """Where a host may be called, for what is not HTTP.

    Raises:
        OSError: nowhere.
    """
    resolver = _CheckedResolver(reach, _look_up)
    try:
        return await resolver.resolve(host, port, socket.AF_UNSPEC)
    finally:
        await resolver.close()


async def connect(found: Sequence[abc.ResolveResult]) -> socket.socket:
    """A connection to the first of these addresses that takes one. There must be one.

    Raises:
        OSError: none does; the reason of the last.
    """
    for address in found[:-1]:
        with suppress(OSError):
            return await _connected(address)
    return await _connected(found[-1])


async def _connected(address: abc.ResolveResult) -> socket.socket:
    opened = socket.socket(address["family"], socket.SOCK_STREAM)
    opened.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(opened, (address["host"], address["port"]))
    except BaseException:
        opened.close()
        raise
    return opened


_BLANK_LINE = b"\r\n\r\n"


class _Wire(ResponseHandler):
    """A connection that knows who listens to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.trail = _Trail(asked=None)
        self.used = False
        """Whether a request has gone out on it."""
        self._body: StreamReader | None = None
        self._before = b""
        """The last bytes that came, of which a blank line may be made."""

    @property
    def should_close(self) -> bool:
        """Also when it still has to take in what nobody waits for any more: the next request would wait behind it."""
        return self.transport is None or not _idle(self.transport) or super().should_close

    def data_received(self, data: bytes) -> None:
        """Bytes that come while nobody waits would be taken for the next request's answer: they end it.

        An answer's head is parsed apart: what is wrong behind it, as a body where none may be, then cannot take the
        status away.
        """
        if self.trail.over:
            self.abort()
            return
        self.trail.heard = True
        for piece in [data] if self.trail.phase == "body" else self._heads(data):
            super().data_received(piece)
        self._break_body()
        if self.trail.phase == "body" and self._buffer:  # another answer, behind the body of the one that was asked for
            self.abort()

    def _heads(self, data: bytes) -> Iterator[bytes]:
        """All of it, cut behind blank lines, however they were cut on their way."""
        seen, begin, behind = self._before + data, len(self._before), 0
        self._before = seen[1 - len(_BLANK_LINE) :]
        for _ in range(INTERIM_ANSWERS + 1):
            found = seen.find(_BLANK_LINE, behind)
            if found < 0:
                break
            behind = found + len(_BLANK_LINE)
            yield seen[begin:behind]
            begin = behind
        if begin < len(seen):
            yield seen[begin:]

    async def read(self) -> tuple[RawResponseMessage, StreamReader]:
        answer = await super().read()
        self.trail.interim += answer[0].code < 200
        if self.trail.interim > INTERIM_ANSWERS:
            raise _TooManyInterimError
        self._body = answer[1]
        self._break_body()
        return answer

    def _break_body(self) -> None:
        """The library tells nobody of a chunk that makes no sense: who reads the body would wait to the deadline."""
        if self._body is not None and not self._body.is_eof() and self.exception() is not None:
            self._body.set_exception(aiohttp.ClientPayloadError())

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.trail.phase == "first_byte":
            self.trail.phase = "write"

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.trail.phase == "write":
            self.trail.phase = "first_byte"


class _Request(aiohttp.ClientRequest):
    """Writes head and body at once, where the library makes a task and a payload of every body.

    It knows no proxies, compression, tracing or `Expect`: nobody asks for them.
    """

    DEFAULT_HEADERS = {hdrs.ACCEPT: "*/*", hdrs.ACCEPT_ENCODING: "identity"}  # noqa: RUF012  # as the library has it

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        writer = StreamWriter(_wire(conn), self.loop)
        await writer.write_headers(f"{self.method} {self.url.raw_path_qs} HTTP/1.1", self.headers)
        with suppress(aiohttp.ClientConnectionResetError):  # what was said before it was closed tells more
            await writer.write(_trail.get().asked or b"", drain=False)  # the answer may come before all is written
            writer.set_eof()
        return self.response_class(
            self.method,
            self.original_url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=self._traces,
            loop=self.loop,
            session=self._session,
            stream_writer=writer,
        )


class _Response(aiohttp.ClientResponse):
    """Notes whom it waits for."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        trail, wire = _trail.get(), connection.protocol
        wire.trail.transport = (
            None  # the one before may not have seen yet that its answer is whole: it ends nothing now
        )
        wire.trail, wire.used, trail.transport = trail, True, wire.transport
        trail.address = _peer(wire.transport) or trail.address
        trail.phase = "write" if wire.writing_paused else "first_byte"
        try:
            return await super().start(connection)
        except BaseException:
            self.close()
            raise


def _wire(connection: Connection) -> _Wire:
    assert isinstance(connection.protocol, _Wire)  # noqa: S101  # all are, by the connector's factory
    return connection.protocol


def _idle(transport: asyncio.Transport) -> bool:
    """Whether it is open and has written everything. Closed, asyncio's TLS cannot be asked for that."""
    return not transport.is_closing() and not transport.get_write_buffer_size()


def _peer(transport: asyncio.Transport | None) -> str | None:
    peer = transport.get_extra_info("peername") if transport else None
    return peer[0] if peer else None


def _phase(error: Exception, trail: _Trail) -> Phase:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case _ if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
            return "tls"
        case _:
            return trail.phase


def _words(error: Exception, trail: _Trail, timeout: float) -> str:
    """What went wrong, for the owner of the endpoint."""
    match error:
        case TimeoutError():
            return f"no complete answer within {timeout:g} s"
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not accepted: {_certificate_problem(error.certificate_error)}"
        case aiohttp.ClientConnectorError(os_error=RefusedAddressError() as reason):
            return str(reason)
        case aiohttp.ClientConnectorError():
            return f"no {'TLS ' if trail.phase == 'tls' else ''}connection: {system_words(error.os_error)}"
        case _:
            known = (words for kind, words in _WORDS for cause in _causes(error) if isinstance(cause, kind))
            return next(known, f"the request broke off: {system_words(error)}")


_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (_TooManyInterimError, f"more than {INTERIM_ANSWERS} interim answers (1xx) and no other"),
    (LineTooLong, "a header of the answer is too long"),
    (aiohttp.ServerDisconnectedError, "the connection was closed without an answer"),
    (aiohttp.ClientPayloadError, "the answer broke off"),
    (aiohttp.NonHttpUrlClientError, "its URL must begin with https://"),
    (aiohttp.InvalidURL, "its URL cannot be called"),
    (UnicodeError, "its host is no host name"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
    (HttpProcessingError, "the answer is not HTTP"),
)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came of."""
    while error is not None:
        yield error
        error = error.__cause__


_CERTIFICATE_PROBLEMS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "it was issued by an authority that is not known here",  # the chain ends in another's self-signed one
    20: "it was issued by an authority that is not known here",
    21: "it was issued by an authority that is not known here",  # and the chain has nothing else
    62: "it is for another host",
    64: "it is for another host",  # an address as host
}
"""By the X509_V_ERR numbers of OpenSSL (x509_vfy.h)."""


def _certificate_problem(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError(verify_code=int(code), verify_message=str(message)):
            return _CERTIFICATE_PROBLEMS.get(code, message)
        case _:
            return system_words(error)


def system_words(error: Exception) -> str:
    """The system's words, or the library's; never text that the other side sent."""
    match error:
        case ssl.SSLError(reason=str(reason)):
            return reason.lower().replace("_", " ")
        case socket.gaierror(strerror=str(text)):
            return text
        case OSError(errno=int(number)):
            return os.strerror(number)
        case OSError() if any(isinstance(cause, ConnectionError) for cause in _causes(error)):
            return os.strerror(errno.ECONNRESET)  # the event loops' own errors have no number
        case OSError(args=(str(text),)) if text.startswith("Multiple exceptions"):
            return "each of its addresses fails in its own way"
        case _:
            return type(error).__name__
