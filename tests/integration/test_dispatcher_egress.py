"""The sender against the worst receivers, on real sockets and by real TLS: refused or survived, and healthy after."""

import asyncio
import socket
import ssl
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from dispatcher.classify import Answer
from dispatcher.send import ANSWER_KEPT, ANSWER_READ, Sender, _Wire, open_session
from shared.targets import Reach
from support.bad_receivers import (
    BAD,
    BOMB,
    BROKE_OFF,
    CUT,
    HEAD,
    LATE,
    NO_ANSWER,
    OK,
    Bad,
    Serve,
    answering,
    endless,
    good,
    post,
    request,
    reset,
    serving,
    silent,
)
from support.certificates import DAY, Authority, asking_back, self_signed

LOCAL = Reach(allow_http=True, allowed=[ip_network("127.0.0.0/8"), ip_network("::1/128")])
ONE_OPEN = Reach(allow_http=True, allowed=[ip_network("127.0.0.2/32")])
"""127.0.0.2 stands for the internet, 127.0.0.1 for what is behind the wall."""
LARGE = b"x" * 20_000_000
"""More than the systems of both sides take in for a receiver that does not read."""
large = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # no body of ours is that large
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
"""The services run on uvloop, whose transports and TLS are its own."""


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with open_session(LOCAL) as session:
        yield Sender(session)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def on(loop: str, coroutine: Awaitable[Any]) -> Any:
    async def wait() -> Any:
        return await coroutine

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(wait())


async def bad_then_good(bad: Bad) -> tuple[Answer, Answer, int]:
    """Its answer, a good receiver's right after it on the same session, and how many connections are still held."""
    async with open_session(LOCAL) as session, serving(bad.serve) as url, serving(good) as fine:
        sender = Sender(session)
        answer = await post(sender, url.replace("http:", "https:") if bad.over_tls else url, timeout=CUT)
        after = await post(sender, fine)
        assert session.connector
        return answer, after, len(session.connector._acquired)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", BAD)
def test_a_receiver_that_misbehaves_is_named_in_time_and_the_next_is_served_at_once(name: str, loop: str) -> None:
    bad = BAD[name]
    answer, after, held = on(loop, bad_then_good(bad))
    assert (answer.phase, answer.error, answer.status_code) == (bad.phase, bad.error, bad.status)
    assert answer.duration_ms < (CUT + 1) * 1000
    assert len(answer.body) <= ANSWER_KEPT
    assert answer.address == "127.0.0.1"
    assert (after.status_code, after.phase) == (200, None)
    assert held == 0


def test_the_corpus_of_receivers_is_as_large_as_we_say() -> None:
    assert len(BAD) >= 50


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_floods_from_all_sides_take_little_memory_and_leave_no_socket_open() -> None:
    floods = [bad for name, bad in BAD.items() if name.startswith(("floods", "sends"))]
    sockets = _open_files()
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serving(bad.serve)) for bad in floods]
        sender = Sender(await stack.enter_async_context(open_session(LOCAL)))
        tracemalloc.start()
        try:
            answers = await asyncio.gather(*(post(sender, url, timeout=CUT * 5) for url in urls * 5))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(answers) == 5 * len(floods)
    assert peak / len(answers) < 16 * ANSWER_READ  # the flooding servers' own buffers included
    assert _open_files() <= sockets


async def test_nothing_is_decompressed(sender: Sender) -> None:
    async with serving(BAD["sends a gzip bomb"].serve) as url:
        assert (await post(sender, url)).body == BOMB[:ANSWER_KEPT]


async def given_up_on(tls: ssl.SSLContext | None, authorities: str | None) -> tuple[Answer, int]:
    """What is said of a receiver that takes no byte until it is given up, and how many it can have then."""
    given_up, gone, taken = asyncio.Event(), asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # every transport of a stream reads
        await given_up.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        try:
            while received := await reader.read(1 << 20):
                taken += len(received)
        finally:
            gone.set()

    async with serving(serve, tls) as url, open_session(LOCAL, authorities=authorities) as session:
        answer = await post(Sender(session), url, timeout=CUT, body=LARGE)
        given_up.set()
        await asyncio.wait_for(gone.wait(), 5)
    return answer, taken


@large
@pytest.mark.parametrize("loop", LOOPS)
def test_a_receiver_that_takes_no_byte_is_given_up_in_the_write_and_its_connection_is_gone(loop: str) -> None:
    answer, taken = on(loop, given_up_on(None, None))
    assert (answer.phase, answer.error) == ("write", LATE)
    assert taken < len(LARGE)


@large
@pytest.mark.parametrize("loop", LOOPS)
def test_behind_tls_its_connection_is_gone_too_and_what_openssl_took_counts_as_written(
    authority: Authority, loop: str
) -> None:
    answer, taken = on(loop, given_up_on(authority.issue(), authority.certificate))
    assert (answer.phase, answer.error) == ("first_byte", LATE)
    assert taken < len(LARGE)


async def test_a_lookup_that_takes_for_ever_is_given_up_in_dns() -> None:
    ended = threading.Event()

    def look_up(*_: object) -> list[Any]:
        ended.wait(30)
        return []

    async with open_session(LOCAL, look_up) as session:
        answer = await post(Sender(session), "http://receiver.example/", timeout=CUT)
        ended.set()
    assert (answer.phase, answer.error) == ("dns", LATE)


async def test_a_host_that_takes_no_connection_is_given_up_in_connect(sender: Sender) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        answer = await post(sender, f"http://127.0.0.1:{full.getsockname()[1]}/", timeout=CUT)
        for each in waiting:
            each.close()
    assert (answer.phase, answer.error, answer.address) == ("connect", LATE, "127.0.0.1")


# Answers that are odd and yet answers.


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (HEAD + b"Content-Length: 2\r\n\r\nok and more", 200, b"ok"),
        (OK + OK, 200, b""),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", 200, b"to the end"),
        (b"HTTP/1.1 200 d\xe9j\xe0\r\nX: \xff\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK, 200, b""),
        (HEAD + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n\xff\xff", 200, b"\xff\xff"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (HEAD + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2;a=b\r\nok\r\n0\r\nX: y\r\n\r\n", 200, b"ok"),
    ],
)
async def test_an_odd_answer_counts_as_its_status(sender: Sender, raw: bytes, status: int, body: bytes) -> None:
    async with serving(answering(raw)) as url:
        answer = await post(sender, url)
    assert (answer.status_code, answer.phase, answer.body) == (status, None, body)


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize(
    ("raw", "status", "phase"),
    [
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204, None),
        (HEAD + b"Content-Length: 2\r\n\r\nok and more", 200, None),
        (b"HTTP/1.1 500 Broken\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 500, "body"),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nhello", 204, None),
    ],
)
async def test_an_answer_counts_the_same_wherever_it_is_cut_on_its_way(
    sender: Sender, raw: bytes, status: int, phase: str | None, cut: int
) -> None:
    at = raw.index(b"\r\n\r\n") + cut

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(raw[:at])
        await writer.drain()
        await asyncio.sleep(0.05)  # for the first part to be read before the second comes
        writer.write(raw[at:])

    async with serving(serve) as url:
        answer = await post(sender, url)
    assert (answer.status_code, answer.phase) == (status, phase)


@large
@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_before_a_large_body_was_read_counts(loop: str) -> None:
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.Event().wait()

    async def scenario() -> tuple[Answer, Answer]:
        async with serving(hasty) as url, serving(good) as fine, open_session(LOCAL) as session:
            sender = Sender(session)
            return await post(sender, url, body=LARGE), await post(sender, fine)

    answer, after = on(loop, scenario())
    assert (answer.status_code, answer.phase, after.status_code) == (413, None, 200)


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (b"Retry-After: 120", "120"),
        (b"retry-after: Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:59:59 GMT"),
        (b"Retry-After: " + b"9" * 500, "9" * 100),
        (b"Retry-After: \xe9", None),
        (b"Retry-After:", None),
        (b"X: y", None),
    ],
)
async def test_the_raw_retry_after_is_kept(sender: Sender, header: bytes, kept: str | None) -> None:
    async with serving(answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n" + header + b"\r\n\r\n")) as url:
        answer = await post(sender, url)
    assert (answer.status_code, answer.retry_after) == (503, kept)


async def test_what_was_known_when_an_answer_broke_off_is_kept(sender: Sender) -> None:
    raw = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 99\r\n\r\nhalf"
    async with serving(answering(raw)) as url:
        answer = await post(sender, url)
    assert (answer.phase, answer.error) == ("body", BROKE_OFF)
    assert (answer.status_code, answer.retry_after, answer.body) == (429, "7", b"half")


PIECES = [
    b"HTTP/1.1 ",
    b"200",
    b" OK",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"Content-Length: 3",
    b"Content-Length: -3",
    b"Transfer-Encoding: chunked",
    b"Upgrade: x",
    b"Connection: upgrade",
    b"Connection: close",
    b"Retry-After: 5",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    OK,
    HEAD,
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"\x00",
    b"\xff\xfe",
    b":",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=12).map(b"".join))
def test_whatever_comes_back_the_sender_answers(raw: bytes) -> None:
    async def scenario() -> Answer:
        async with serving(answering(raw)) as url, open_session(LOCAL) as session:
            return await post(Sender(session), url, timeout=1)

    answer = on("asyncio", scenario())
    assert (answer.phase is None) == (answer.error is None)
    assert answer.phase in {None, "first_byte", "body"}
    assert answer.error != LATE


# Redirects, proxies, and everything else that would take a request elsewhere.


@pytest.fixture
async def trap() -> AsyncIterator[tuple[str, list[str]]]:
    """A URL that nobody may call, and the callers."""
    callers: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername")[0])
        writer.write(OK)

    async with serving(serve) as url:
        yield url, callers


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(
    sender: Sender, trap: tuple[str, list[str]], status: int
) -> None:
    target, callers = trap
    raw = f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(raw.encode())) as url:
        answer = await post(sender, url)
    assert (answer.status_code, answer.complaint) == (status, f"answered {status}")
    assert callers == []


@pytest.mark.parametrize("location", ["http://169.254.169.254/", "file:///etc/passwd", "//10.0.0.1/", "\\\\x", ""])
async def test_where_a_redirect_leads_makes_no_difference(sender: Sender, location: str) -> None:
    raw = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(raw.encode())) as url:
        answer = await post(sender, url)
    assert (answer.status_code, answer.phase) == (302, None)


async def test_a_chain_of_redirects_ends_at_its_first(sender: Sender) -> None:
    asked = 0

    async def round_and_round(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            await request(reader)
            asked += 1
            writer.write(b"HTTP/1.1 307 Again\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    async with serving(round_and_round) as url:
        answer = await post(sender, url)
    assert (answer.status_code, asked) == (307, 1)


async def test_proxies_and_passwords_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, trap: tuple[str, list[str]], tmp_path: Path
) -> None:
    proxy, callers = trap
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "netrc").write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(OK)

    async with serving(serve) as url, open_session(LOCAL) as session:
        answer = await post(Sender(session), url)
        beyond = await post(Sender(session), url.replace("http:", "https:"), timeout=CUT)
    assert (answer.status_code, beyond.phase) == (200, "tls")
    assert callers == []
    assert b"authorization" not in seen[0].lower()


async def test_http_is_not_spoken_unless_it_is_allowed() -> None:
    only_https = Reach(allowed=LOCAL.allowed)
    async with serving(good) as url, open_session(only_https) as session:
        answer = await post(Sender(session), url)
    assert (answer.status_code, answer.error) == (None, "its URL must begin with https://")


# Names that lie.


def resolving(*answers: Sequence[str]) -> Callable[[str, int, int], list[tuple[Any, ...]]]:
    """A resolver that gives these answers in turn, the last for ever."""
    left = list(answers)

    def look_up(_: str, port: int, __: int) -> list[tuple[Any, ...]]:
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return look_up


async def test_a_name_that_turns_private_after_its_first_answer_is_refused(trap: tuple[str, list[str]]) -> None:
    target, callers = trap
    port = URL(target).port
    async with (
        serving(answering(OK), host="127.0.0.2", port=port or 0),
        open_session(ONE_OPEN, resolving(["127.0.0.2"], ["127.0.0.1"])) as session,
    ):
        sender = Sender(session)
        first = await post(sender, f"http://rebinding.example:{port}/")
        again = await post(sender, f"http://rebinding.example:{port}/")  # by what was looked up and checked
        session.connector.clear_dns_cache()  # type: ignore[union-attr]
        second = await post(sender, f"http://rebinding.example:{port}/")
    assert (first.status_code, first.address) == (200, "127.0.0.2")
    assert (again.status_code, again.address) == (200, "127.0.0.2")
    assert (second.phase, second.error) == ("dns", "its address 127.0.0.1 is refused: loopback")
    assert callers == []


@pytest.mark.parametrize("addresses", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
async def test_of_mixed_addresses_only_the_open_one_is_called(
    trap: tuple[str, list[str]], addresses: list[str]
) -> None:
    target, callers = trap
    port = URL(target).port
    async with (
        serving(answering(OK), host="127.0.0.2", port=port or 0),
        open_session(ONE_OPEN, resolving(addresses)) as session,
    ):
        answers = [await post(Sender(session), f"http://mixed.example:{port}/") for _ in range(4)]
    assert [(answer.status_code, answer.address) for answer in answers] == [(200, "127.0.0.2")] * 4
    assert callers == []


async def test_when_the_open_one_of_mixed_addresses_is_down_the_closed_one_is_not_tried(
    trap: tuple[str, list[str]],
) -> None:
    target, callers = trap
    async with open_session(ONE_OPEN, resolving(["127.0.0.1", "127.0.0.2"])) as session:
        answer = await post(Sender(session), f"http://mixed.example:{URL(target).port}/")
    assert (answer.phase, answer.error) == ("connect", "no connection: Connection refused")
    assert answer.address == "127.0.0.2"
    assert callers == []


@pytest.mark.parametrize(
    ("name", "address", "reason"),
    [
        ("127.0.0.1.dns.example", "127.0.0.1", "loopback"),
        ("metadata.example", "169.254.169.254", "link-local, cloud metadata"),
        ("wire.example", "168.63.129.16", "cloud metadata"),
        ("intranet", "10.1.2.3", "private"),
        ("zero.example", "0.0.0.0", "this network"),  # noqa: S104  # called, not listened on
        ("0x7f000001", "127.0.0.1", "loopback"),
    ],
)
async def test_a_name_is_as_good_as_its_address(name: str, address: str, reason: str) -> None:
    async with open_session(Reach(), resolving([address])) as session:
        answer = await post(Sender(session), f"https://{name}/")
    assert (answer.phase, answer.error) == ("dns", f"its address {address} is refused: {reason}")


async def test_a_name_with_no_address_at_all_is_a_failure_of_dns() -> None:
    async with open_session(Reach(), resolving([])) as session:
        answer = await post(Sender(session), "https://empty.example/")
    assert (answer.phase, answer.error) == ("dns", "its address none is refused: no address")


async def test_a_name_that_cannot_be_looked_up_says_so(sender: Sender) -> None:
    answer = await post(sender, f"http://{'a' * 64}.example/")
    assert (answer.phase, answer.error) == ("dns", "its host is no host name")


# TLS.


@pytest.mark.parametrize("loop", LOOPS)
def test_a_good_certificate_for_the_name_is_accepted_and_the_name_is_what_the_receiver_sees(
    authority: Authority, loop: str
) -> None:
    seen: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(OK)

    async def scenario() -> Answer:
        tls = authority.issue("receiver.example")
        tls.sni_callback = lambda _, name, __: seen.append(name)
        looked_up = resolving(["127.0.0.1"])
        async with (
            serving(serve, tls) as url,
            open_session(LOCAL, looked_up, authorities=authority.certificate) as session,
        ):
            return await post(Sender(session), url.replace("127.0.0.1", "receiver.example"))

    answer = on(loop, scenario())
    assert (answer.status_code, answer.phase, answer.address) == (200, None, "127.0.0.1")
    assert seen[0] == "receiver.example"
    assert b"Host: receiver.example:" in seen[1]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (lambda known: known.issue(starts=-3 * DAY, ends=-2 * DAY), "it has expired"),
        (lambda known: known.issue(starts=DAY, ends=2 * DAY), "it is not valid yet"),
        (lambda known: known.issue("127.0.0.9"), "it is for another host"),
        (lambda known: known.issue("receiver.example"), "it is for another host"),
        (lambda _: self_signed(), "it is self-signed"),
        (lambda _: Authority().issue(), "it was issued by an authority that is not known here"),
        (lambda _: Authority().issue_with_root(), "it was issued by an authority that is not known here"),
    ],
    ids=["expired", "early", "another address", "another name", "self-signed", "unknown", "unknown with its root"],
)
def test_a_bad_certificate_is_refused_and_the_words_say_why(
    authority: Authority, shown: Callable[[Authority], Any], words: str, loop: str
) -> None:
    reached = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reached
        reached = bool(await reader.read(1))

    async def scenario() -> tuple[Answer, Answer]:
        async with (
            serving(serve, shown(authority)) as url,
            serving(good, authority.issue()) as fine,
            open_session(LOCAL, authorities=authority.certificate) as session,
        ):
            return await post(Sender(session), url), await post(Sender(session), fine)

    answer, after = on(loop, scenario())
    assert (answer.phase, answer.error) == ("tls", f"its certificate is not accepted: {words}")
    assert after.status_code == 200
    assert not reached


@pytest.mark.parametrize("loop", LOOPS)
def test_a_certificate_for_another_name_is_refused(authority: Authority, loop: str) -> None:
    async def scenario() -> Answer:
        async with (
            serving(good, authority.issue("other.example")) as url,
            open_session(LOCAL, resolving(["127.0.0.1"]), authorities=authority.certificate) as session,
        ):
            return await post(Sender(session), url.replace("127.0.0.1", "receiver.example"))

    answer = on(loop, scenario())
    assert (answer.phase, answer.error) == ("tls", "its certificate is not accepted: it is for another host")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_receiver_that_asks_for_our_certificate_is_a_failure_of_tls(authority: Authority, loop: str) -> None:
    async def scenario() -> Answer:
        async with (
            serving(good, asking_back(authority.issue(), authority)) as url,
            open_session(LOCAL, authorities=authority.certificate) as session,
        ):
            return await post(Sender(session), url)

    answer = on(loop, scenario())
    assert (answer.phase, answer.status_code) == ("tls", None), answer


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("serve", "phase", "error"),
    [
        (silent, "first_byte", LATE),
        (answering(b""), "first_byte", NO_ANSWER),
        (endless(HEAD + b"Content-Length: 99\r\n\r\n", b".", pause=0.02), "body", LATE),
        (endless(HEAD + b"\r\n", b"x" * 65536), None, None),
        (answering(HEAD + b"Content-Length: 10\r\n\r\nhalf"), "body", BROKE_OFF),
        (answering(HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"), None, None),
        (answering(HEAD + b"\r\nto the end"), None, None),
    ],
    ids=["silent", "hangs up", "drips", "floods", "breaks off", "closes", "ends with its connection"],
)
def test_behind_tls_the_phases_are_the_same(
    authority: Authority, serve: Serve, phase: str | None, error: str | None, loop: str
) -> None:
    async def scenario() -> Answer:
        async with (
            serving(serve, authority.issue()) as url,
            open_session(LOCAL, authorities=authority.certificate) as session,
        ):
            return await post(Sender(session), url, timeout=CUT)

    answer = on(loop, scenario())
    assert (answer.phase, answer.error) == (phase, error)
    assert answer.duration_ms < (CUT + 1) * 1000


# Connections that are used again.


def second_time(then: Callable[[asyncio.StreamWriter], None]) -> tuple[Serve, list[bytes]]:
    """Answers the first request of its first connection, does `then` at the second; later connections are good."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append(await request(reader))
            if len(asked) == 2:
                then(writer)
                return
            writer.write(OK)

    return serve, asked


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("then", [lambda _: None, reset], ids=["closed", "reset"])
def test_a_used_connection_that_died_unanswered_costs_no_attempt(
    then: Callable[[asyncio.StreamWriter], None], loop: str
) -> None:
    serve, asked = second_time(then)

    async def scenario() -> list[Answer]:
        async with serving(serve) as url, open_session(LOCAL) as session:
            return [await post(Sender(session), url) for _ in range(2)]

    assert [answer.status_code for answer in on(loop, scenario())] == [200, 200]
    assert len(asked) == 3


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "raw",
    [b"H", b"HTTP/1.1 200 OK\r\nX: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"Content-Length: 9\r\n\r\nx"],
)
def test_a_used_connection_that_had_begun_to_answer_is_not_tried_again(raw: bytes, loop: str) -> None:
    serve, asked = second_time(lambda writer: writer.write(raw))

    async def scenario() -> list[Answer]:
        async with serving(serve) as url, open_session(LOCAL) as session:
            return [await post(Sender(session), url) for _ in range(2)]

    first, second = on(loop, scenario())
    assert first.status_code == 200
    assert second.phase in {"first_byte", "body"}
    assert len(asked) == 2


async def test_a_new_connection_that_dies_unanswered_is_not_tried_again(sender: Sender) -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await request(reader)
        asked += 1

    async with serving(serve) as url:
        answer = await post(sender, url)
    assert (answer.phase, answer.error, asked) == ("first_byte", NO_ANSWER, 1)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_ones(loop: str) -> None:
    async def scenario() -> list[Answer]:
        first_is_read, unasked_is_sent, asked = asyncio.Event(), asyncio.Event(), 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            await request(reader)
            asked += 1
            if asked > 1:
                writer.write(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")
                return
            writer.write(OK)
            await first_is_read.wait()
            writer.write(OK)
            await reader.read()  # ends when the sender has seen it, and hangs up
            unasked_is_sent.set()

        async with serving(serve) as url, open_session(LOCAL) as session:
            first = await post(Sender(session), url)
            first_is_read.set()
            await asyncio.wait_for(unasked_is_sent.wait(), 5)
            return [first, await post(Sender(session), url)]

    assert [answer.status_code for answer in on(loop, scenario())] == [200, 500]


async def test_two_answers_in_one_are_not_used_for_two_requests(sender: Sender) -> None:
    answers = iter([OK + OK, b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(next(answers))
            await writer.drain()

    async with serving(serve) as url:
        assert [(await post(sender, url)).status_code for _ in range(2)] == [200, 500]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("unasked", [OK, OK + OK, HEAD + b"Content-Length: 9\r\n\r\nx", b"nonsense"])
def test_what_comes_behind_a_body_is_not_taken_for_the_next_answer(unasked: bytes, loop: str) -> None:
    answers = iter([b"ok" + unasked, b"no"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            body = next(answers)
            status = b"200 OK" if body != b"no" else b"500 Broken"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)  # for the head to be read before the body comes
            writer.write(body)

    async def scenario() -> list[Answer]:
        async with serving(serve) as url, open_session(LOCAL) as session:
            return [await post(Sender(session), url) for _ in range(2)]

    assert [(answer.status_code, answer.body) for answer in on(loop, scenario())] == [(200, b"ok"), (500, b"no")]


async def handed_over(size: int, *, cancelled: bool) -> tuple[Answer, int, int]:
    """What a second request gets that begins as the first one's connection is free, but the first does not know yet;
    how many requests the receiver had, on how many connections."""
    asked = connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked, connections
        connections += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            asked += 1
            await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % size)
            await writer.drain()
            await asyncio.sleep(0.05)  # for the head to be read before the body comes
            writer.write(b"x" * size)

    body_came = asyncio.Event()

    class Watched(_Wire):
        def data_received(self, data: bytes) -> None:
            if self.trail.phase == "body":
                body_came.set()
                if cancelled:
                    asyncio.get_running_loop().call_soon(first.cancel)
            super().data_received(data)

    async with serving(serve) as url, open_session(LOCAL) as session:
        session.connector._factory = partial(Watched, asyncio.get_running_loop())  # type: ignore[union-attr]

        async def begin_then() -> Answer:
            await body_came.wait()
            return await post(Sender(session), url, body=b"y" * 5_000_000)

        second = asyncio.create_task(begin_then())
        first = asyncio.create_task(post(Sender(session), url))
        await asyncio.wait({first})
        return await second, asked, connections


@large
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("cancelled", [False, True], ids=["ended", "cancelled"])
@pytest.mark.parametrize("size", [2, ANSWER_READ], ids=["short", "cut off"])
def test_a_request_leaves_the_connection_alone_that_the_next_one_has_taken(
    size: int, cancelled: bool, loop: str
) -> None:
    answer, asked, connections = on(loop, handed_over(size, cancelled=cancelled))
    assert (answer.status_code, answer.phase) == (200, None)
    assert (asked, connections) == (2, 1)


async def test_a_good_receiver_is_called_on_one_connection_again_and_again(sender: Sender) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await good(reader, writer)

    async with serving(serve) as url:
        assert {(await post(sender, url)).status_code for _ in range(20)} == {200}
    assert connections == 1
