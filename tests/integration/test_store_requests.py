"""A store's REST API is asked within its deadline and at addresses we may call, whatever stands at its address."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from api.stores import RestAccess
from api.sync.settings import SyncSettings
from api.sync.wc import RefusedAddressError, Shop, StoreError, Stores, open_session
from shared.ids import uuid7
from shared.targets import Reach
from support.bad_receivers import BOMB, Serve, answering, endless, request, resetting, serving, silent
from support.certificates import self_signed


def settings(**changes: Any) -> SyncSettings:
    needed = {"database_url": "postgresql://nowhere", "amqp_url": "amqp://nowhere", "secret_keys": "k" * 43 + "="}
    quick = {"store_seconds": 0.5, "first_wait_seconds": 0.01, "sync_rate": 100}
    return SyncSettings(**needed | quick | {"allow_http": True, "allowed_targets": "127.0.0.0/8"} | changes)


@asynccontextmanager
async def asking(given: SyncSettings, resolver: AbstractResolver | None = None) -> AsyncIterator[Stores]:
    async with open_session(given.reach, resolver) as session:
        yield Stores(session, given)


def shop(url: str) -> Shop:
    return Shop(uuid7(), RestAccess(url, "ck_1", "cs_1"))


async def refusal(serve: Serve, *, tries: int = 1, **changes: Any) -> str:
    async with serving(serve) as url, asking(settings(**changes)) as stores:
        with pytest.raises(StoreError) as raised:
            await stores.ask(shop(url), "POST", "/orders", body={}, tries=tries)
    return str(raised.value)


@pytest.mark.parametrize(
    ("serve", "words"),
    [
        (silent, "no complete answer within 0.5 s"),
        (endless(b"HTTP/1.1 200 OK\r\n\r\n[", b" ", pause=0.05), "no complete answer within 0.5 s"),
        (resetting(None), "broke off"),
        (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "broke off"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{"), "broke off"),
        (
            answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(BOMB), BOMB)),
            "no JSON",
        ),
        (
            answering(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"),
            "leads elsewhere",
        ),
    ],
)
async def test_whatever_stands_there_is_told_in_words(serve: Serve, words: str) -> None:
    assert words in await refusal(serve)


async def test_of_an_answer_without_end_no_more_is_read_than_an_answer_may_have() -> None:
    page = endless(b"HTTP/1.1 200 OK\r\n\r\n[", b" " * 1024 * 1024)
    assert await refusal(page, store_seconds=30) == "A page of the store's is larger than 16 MiB."


async def test_an_answer_that_would_be_a_hundred_times_as_large_in_memory_is_not_read() -> None:
    page = b"[%s{}]" % (b'{"a":{}},' * 400_000)
    serve = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page))
    assert await refusal(serve, store_seconds=30) == "A page of the store's holds more than 1,000,000 values."


async def test_an_address_in_a_network_of_ours_is_not_called_even_where_only_the_connection_shows_it() -> None:
    async with open_session(Reach(allow_http=True)) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as raised:
            await session.get("http://127.0.0.1:9/")
    assert isinstance(raised.value.os_error, RefusedAddressError)


class Private(AbstractResolver):
    """Knows every name to be in our own network, by addresses of both kinds."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002  # as aiohttp calls it
    ) -> list[ResolveResult]:
        both = (("10.0.0.1", socket.AF_INET), ("fd00::1", socket.AF_INET6))
        return [ResolveResult(hostname=host, host=at, port=port, family=of, proto=0, flags=0) for at, of in both]

    async def close(self) -> None:
        pass


async def test_a_name_of_which_every_address_is_refused_is_told_so_and_tried_once() -> None:
    async with asking(settings(), Private()) as stores:
        with pytest.raises(StoreError, match="cannot be called: its address is refused: private"):
            await stores.ask(shop("http://shop.example"), "GET", "/orders", tries=3)


async def test_a_certificate_that_nobody_knows_is_refused() -> None:
    async with serving(answering(b""), self_signed()) as url, asking(settings(store_seconds=5)) as stores:
        with pytest.raises(StoreError, match="certificate is not accepted"):
            await stores.ask(shop(url), "POST", "/orders", body={}, tries=3)


async def test_requests_to_one_store_keep_their_distance_and_those_to_another_do_not_wait() -> None:
    loop, times = asyncio.get_running_loop(), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        times.append(loop.time())
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]")

    async with serving(serve) as url, asking(settings(sync_rate=5, store_seconds=5)) as stores:
        one = shop(url)
        await asyncio.gather(*(stores.ask(one, "POST", "/orders", body={}, tries=1) for _ in range(3)))
        assert times[2] - times[0] >= 0.39
        waiting = asyncio.gather(*(stores.ask(one, "POST", "/orders", body={}, tries=1) for _ in range(3)))
        await stores.ask(shop(url), "POST", "/orders", body={}, tries=1)
        assert not waiting.done()
        await waiting
