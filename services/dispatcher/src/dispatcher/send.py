"""One request: out to an address we may call, and back within its deadline, whatever the other side does."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import abc
from yarl import URL

from dispatcher.classify import Answer, Phase
from shared.egress import refused
from shared.targets import Reach

ANSWER_READ = 64 * 1024
"""Bytes of an answer that are read, so that its connection can be used again; what is longer is cut off."""
ANSWER_KEPT = 1024
"""Bytes of it that the delivery log shows."""


RESOLVING_AT_ONCE = 128
"""Threads for looking up names: one whose server does not answer holds its thread for many seconds, and the event
loop's own few would soon be all held."""


class RefusedAddressError(OSError):
    """An address that we may not call."""


@dataclass(slots=True)
class _Trail:
    """How far a request has come."""

    phase: Phase = "dns"
    address: str | None = None
    reused: bool = False


_trail: ContextVar[_Trail] = ContextVar("_trail")


class Sender:
    """Sends requests over kept-alive connections. Close the session that it is made with."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def send(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,  # noqa: ASYNC109  # the deadline's length is the endpoint's own
        method: str = "POST",
    ) -> Answer:
        """Ask once. A connection that was closed while it idled is not counted: that is tried on another one."""
        trail = _Trail()
        _trail.set(trail)
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                status, answer = await self._ask(method, url, headers, body, trail)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return Answer(
                duration_ms=_since(started),
                phase=_phase(error, trail),
                error=_words(error, timeout),
                address=trail.address,
            )
        return Answer(duration_ms=_since(started), status_code=status, address=trail.address, body=answer)

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, trail: _Trail
    ) -> tuple[int, bytes]:
        while True:
            trail.phase, trail.reused = "dns", False
            try:
                asking = self._session.request(method, URL(url), data=body, headers=headers, allow_redirects=False)
                async with asking as response:
                    trail.phase = "body"
                    return response.status, await _read(response)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not (trail.reused and trail.phase in {"write", "first_byte"}):
                    raise


async def _read(response: aiohttp.ClientResponse) -> bytes:
    kept, total = b"", 0
    async for chunk in response.content.iter_any():
        kept += chunk[: ANSWER_KEPT - len(kept)]
        total += len(chunk)
        if total >= ANSWER_READ:
            response.close()
            break
    return kept


def open_session(reach: Reach, look_up: "LookUp | None" = None) -> aiohttp.ClientSession:
    """A session that calls only what `reach` allows, follows nothing, remembers nothing and asks no proxy.

    `look_up`: names to addresses, as the system's own does; called in a thread.
    """
    connector = aiohttp.TCPConnector(
        limit=0,  # the lanes limit
        resolver=_CheckedResolver(reach, look_up or _look_up),
        ttl_dns_cache=10,
        socket_factory=_checked_sockets(reach),
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # one deadline, set around the whole
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept": "*/*", "Accept-Encoding": "identity"},
        response_class=_Response,
        trace_configs=[_tracing()],
    )


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


class _Response(aiohttp.ClientResponse):
    """Notes whom it waits for."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        trail = _trail.get()
        peer = connection.transport.get_extra_info("peername") if connection.transport else None
        trail.phase, trail.address = "first_byte", peer[0] if peer else trail.address
        return await super().start(connection)


def _tracing() -> aiohttp.TraceConfig:
    async def connected(*_: object) -> None:
        _trail.get().phase = "write"

    async def reused(*_: object) -> None:
        trail = _trail.get()
        trail.phase, trail.reused = "write", True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(connected)
    tracing.on_connection_reuseconn.append(reused)
    return tracing


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _phase(error: Exception, trail: _Trail) -> Phase:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientSSLError():
            return "tls"
        case _:
            return trail.phase


def _words(error: Exception, timeout: float) -> str:
    """What went wrong, for the owner of the endpoint."""
    match error:
        case TimeoutError():
            return f"no complete answer within {timeout:g} s"
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not accepted: {_certificate_problem(error.certificate_error)}"
        case aiohttp.ClientConnectorError(os_error=RefusedAddressError() as reason):
            return str(reason)
        case aiohttp.ClientConnectorSSLError():
            return f"no TLS connection: {system_words(error.os_error)}"
        case aiohttp.ClientConnectorError():
            return f"no connection: {system_words(error.os_error)}"
        case _:
            known = (words for kind, words in _WORDS if isinstance(error, kind))
            return next(known, f"the request broke off: {system_words(error)}")


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ServerDisconnectedError, "the connection was closed without an answer"),
    (aiohttp.ClientPayloadError, "the answer broke off"),
    (aiohttp.InvalidURL, "its URL cannot be called"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
)


def _certificate_problem(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else system_words(error)


def system_words(error: Exception) -> str:
    """The system's words, or the library's; never text that the other side sent."""
    match error:
        case ssl.SSLError(reason=str(reason)):
            return reason.lower().replace("_", " ")
        case socket.gaierror(strerror=str(text)):
            return text
        case OSError(errno=int(number)):
            return os.strerror(number)
        case _:
            return type(error).__name__
