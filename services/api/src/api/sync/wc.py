"""A store's REST API (wc/v3): asked by Basic auth, at a rate, again where that may help, at addresses we may call."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, assert_never
from uuid import UUID

import aiohttp
import structlog
import tenacity
from aiohttp.abc import AbstractResolver

from api.metrics import STORE_REQUESTS
from api.stores import RestAccess
from api.sync.settings import SyncSettings
from api.sync.verdict import Again, Heard, Never, Told, Verdict, judge
from shared.egress import refused
from shared.targets import Reach, unusable

log = structlog.get_logger()

API = "/wp-json/wc/v3"
USER_AGENT = "TrustLens"
MOST_BYTES = 16 * 1024 * 1024
"""Of an answer: a hundred orders of 160 kB."""
MOST_VALUES = 1_000_000
"""In an answer: a hundred orders of 160 kB have 700,000, and nothing else of 16 MiB is 500 MiB once it is read."""
LONGEST_BACKOFF = 60.0
CHUNK = 64 * 1024
FORGET_PACE = 10_000
"""Stores whose last request is remembered."""

Row = dict[str, Any]


class StoreError(Exception):
    """The store does not give what was asked for. The text is for its owner."""


class _AgainError(Exception):
    def __init__(self, again: Again) -> None:
        super().__init__(again.words)
        self.again = again


class RefusedAddressError(OSError):
    """An address that we may not call."""


class _TooLargeError(Exception):
    """The message says what a page is."""


@dataclass(frozen=True, slots=True)
class Shop:
    """A store that can be asked."""

    id: UUID
    access: RestAccess


@dataclass(frozen=True, slots=True)
class Answered:
    """What a store gave, and how many requests that took."""

    told: Told
    requests: int = 1

    @property
    def rows(self) -> list[Row]:
        """
        Raises:
            StoreError: it is no list of things with ids.
        """
        rows = self.told.value
        if not isinstance(rows, list) or not all(isinstance(row, dict) and _is_id(row.get("id")) for row in rows):
            raise StoreError("What the store answers is no list of WooCommerce's: does a plugin change its REST API?")
        return rows


def _is_id(given: object) -> bool:
    return type(given) is int and 0 < given < 2**63


class Pace:
    """Keeps requests to one store apart, whoever makes them in this process."""

    def __init__(self, rate: float) -> None:
        self._apart = 1 / rate
        self._next: dict[UUID, float] = {}

    async def wait(self, store_id: UUID) -> None:
        now = asyncio.get_running_loop().time()
        if len(self._next) > FORGET_PACE:
            self._next = {store: at for store, at in self._next.items() if at > now}
        at = max(self._next.get(store_id, now), now)
        self._next[store_id] = at + self._apart
        await asyncio.sleep(at - now)


Waiting = Callable[[UUID, str], Awaitable[None]]
"""Told of a store, and why it is asked again later."""


async def _nobody(_: UUID, __: str) -> None:
    pass


class Stores:
    """Asks them. Close the session that it is made with."""

    def __init__(self, session: aiohttp.ClientSession, settings: SyncSettings, waiting: Waiting = _nobody) -> None:
        self._session = session
        self._settings = settings
        self._waiting = waiting
        self._pace = Pace(settings.sync_rate)

    async def ask(
        self,
        shop: Shop,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Row | None = None,
        tries: int,
        done: Callable[[], Awaitable[Row | None]] | None = None,
    ) -> Answered:
        """`done`: asked before the request is repeated, for what may not be done twice: what came of it already.

        Raises:
            StoreError: asking again would not help, or did not.
        """
        url = shop.access.url.rstrip("/") + API + path
        if problem := unusable(url, self._settings.reach):
            raise StoreError(f"The store's URL {problem}.")
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_AgainError),
            wait=_wait(self._settings.first_wait_seconds),
            stop=tenacity.stop_after_attempt(tries),
            before_sleep=partial(self._tell, shop),
            reraise=True,
        )
        try:
            async for attempt in attempts:
                number = attempt.retry_state.attempt_number
                with attempt:
                    if done and number > 1 and (found := await done()):
                        return Answered(Told(found), number)
                    return Answered(await self._once(shop, method, url, params, body), number)
        except _AgainError as error:
            times = f" We asked {tries} times." if tries > 1 else ""
            raise StoreError(error.again.words + times) from None
        raise AssertionError("tenacity ends by a result or an error")

    async def _tell(self, shop: Shop, state: tenacity.RetryCallState) -> None:
        again = _again(state)
        log.info(
            "store.unanswered",
            store=str(shop.id),
            attempt=state.attempt_number,
            why=again.words,
            begins=again.begins or None,
            retry_in=round(state.upcoming_sleep, 1),
        )
        await self._waiting(shop.id, again.words)

    async def _once(
        self, shop: Shop, method: str, url: str, params: Mapping[str, str] | None, body: Row | None
    ) -> Told:
        await self._pace.wait(shop.id)
        verdict = await self._verdict(shop, method, url, params, body)
        match verdict:
            case Told():
                STORE_REQUESTS.labels("answered").inc()
                if verdict.noise:
                    log.warning("store.noise", store=str(shop.id), begins=verdict.noise)
                return verdict
            case Again():
                STORE_REQUESTS.labels("unanswered").inc()
                raise _AgainError(verdict)
            case Never():
                STORE_REQUESTS.labels("refused").inc()
                raise StoreError(verdict.words)
            case _:
                assert_never(verdict)

    async def _verdict(
        self, shop: Shop, method: str, url: str, params: Mapping[str, str] | None, body: Row | None
    ) -> Verdict:
        try:
            async with asyncio.timeout(self._settings.store_seconds):
                heard = await self._hear(shop, method, url, params, body)
        except TimeoutError:
            return Again(f"The store gave no complete answer within {self._settings.store_seconds:g} s.")
        except _TooLargeError as error:
            return Never(f"A page of the store's {error}.")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _unconnected(error)
        return judge(heard, datetime.now(UTC))

    async def _hear(
        self, shop: Shop, method: str, url: str, params: Mapping[str, str] | None, body: Row | None
    ) -> Heard:
        async with self._session.request(
            method,
            url,
            params=params,
            json=body,
            headers={"Authorization": aiohttp.encode_basic_auth(shop.access.key, shop.access.secret)},
            allow_redirects=False,
        ) as response:
            return Heard(response.status, await _read(response), response.headers)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > MOST_BYTES:
            raise _TooLargeError(f"is larger than {MOST_BYTES // 2**20} MiB")
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise _TooLargeError(f"holds more than {MOST_VALUES:,} values")
    return bytes(body)


def _unconnected(error: Exception) -> Verdict:
    match error:
        case aiohttp.ClientConnectorError(os_error=RefusedAddressError() as refusal):
            return Never(f"The store's URL cannot be called: {refusal}.")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return Never("The store's certificate is not accepted: it has expired, or is for another address.")
        case aiohttp.ClientConnectorDNSError():
            return Again("The name in the store's URL cannot be looked up.")
        case aiohttp.ClientConnectorError():
            return Again("The store cannot be reached.")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | ValueError():
            return Never("The store's URL cannot be called.")
        case _:
            return Again("The store's answer broke off.")


def _wait(first: float) -> Callable[[tenacity.RetryCallState], float]:
    """Growing and uneven, and at least as long as the store asks for."""
    growing = tenacity.wait_exponential_jitter(multiplier=first, max=LONGEST_BACKOFF, jitter=first)

    def wait(state: tenacity.RetryCallState) -> float:
        return max(growing(state), _again(state).after)

    return wait


def _again(state: tenacity.RetryCallState) -> Again:
    error = state.outcome.exception() if state.outcome else None
    return error.again if isinstance(error, _AgainError) else Again("")


def open_session(reach: Reach, resolver: AbstractResolver | None = None) -> aiohttp.ClientSession:
    """Calls only what `reach` allows, follows nothing, remembers nothing, and asks no proxy of the environment."""
    connector = aiohttp.TCPConnector(
        limit=0,
        ttl_dns_cache=10,
        resolver=resolver,
        socket_factory=_checked_sockets(reach),
        ssl=ssl.create_default_context(),
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # one deadline, set around the whole
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"},
        auto_decompress=False,
    )


def _checked_sockets(reach: Reach) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """Every connection begins here with the very address it goes to, be it looked up or written in the URL."""

    def open_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if reason := refused(str(address[0]), reach.allowed):
            # Without the address: only so are several that are refused alike raised as one error, by aiohappyeyeballs.
            raise RefusedAddressError(f"its address is refused: {reason}")
        return socket.socket(family=family, type=kind, proto=protocol)

    return open_socket
