"""Slack, e-mail and orders against real servers: a raw one, a real SMTP server, and the fake store's process."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dispatcher.classify import Answer, Delivered, GiveUp, Retry, Verdict, classify
from dispatcher.destinations import email, slack, webhook, woocommerce
from dispatcher.destinations.means import Credentials, Security, Smtp
from dispatcher.destinations.woocommerce import Action
from dispatcher.send import Sender, open_session
from shared.signing import sign
from shared.targets import Reach
from support import fake_store, smtp
from support.fake_store import KEY, SECRET, FakeStore
from support.smtp import PASSWORD, USER, Mailbox
from unit.test_delivery_states import TARGET, delivery
from unit.test_webhook_bodies import AUTOMATION, SITE

LOCAL = Reach(allow_http=True, allowed=[ip_network("127.0.0.0/8"), ip_network("::1/128")])
CLOSED = Reach()
NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
ID = UUID("00000000-0000-5000-8000-00000000000a")
MAIL = email.render(AUTOMATION, SITE, to="owner@shop.example", subject="Look", text="Please look.")


def verdict(answer: Answer) -> Verdict:
    return classify(answer, now=NOW)


def server_at(port: int, security: Security = "none", *, user: str | None = None, password: str | None = None) -> Smtp:
    return Smtp("127.0.0.1", port, security, user, password, "Shop <alerts@shop.example>")


async def hand_over(
    server: Smtp,
    *,
    reach: Reach = LOCAL,
    timeout: float = 10,  # noqa: ASYNC109  # as `send` has it
    authorities: str | None = None,
) -> Answer:
    return await email.send(MAIL, smtp=server, reach=reach, message_id=ID, timeout=timeout, authorities=authorities)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1, by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def authorities(certificate: Path) -> str:
    return certificate.read_text("ascii").partition("-----END PRIVATE KEY-----\n")[2]


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with smtp.running() as mailbox:
        yield mailbox


@asynccontextmanager
async def saying(*lines: bytes) -> AsyncIterator[int]:
    """A server that says these, one per line that it hears after the first, then nothing; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, line in enumerate(lines):
            if number:
                await reader.readline()
            writer.write(line)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_mail_arrives_whole(mailbox: Mailbox) -> None:
    answer = await hand_over(server_at(mailbox.port))
    assert verdict(answer) == Delivered()
    assert (answer.status_code, answer.address, answer.body) == (250, "127.0.0.1", b"Queued")
    (mail,), (envelope,) = mailbox.mails, mailbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("alerts@shop.example", ["owner@shop.example"])
    assert (mail["Subject"], mail["Message-ID"]) == ("Look", f"<{ID}@shop.example>")
    assert mail.get_content_type() == "multipart/alternative"


async def test_a_repeated_mail_is_recognised_by_its_id(mailbox: Mailbox) -> None:
    for _ in range(2):
        await hand_over(server_at(mailbox.port))
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 1


async def test_starttls_encrypts_and_signs_in(tls: ssl.SSLContext, authorities: str) -> None:
    async with smtp.running(starttls=tls, signing_in=True) as mailbox:
        server = server_at(mailbox.port, "starttls", user=USER, password=PASSWORD)
        answer = await hand_over(server, authorities=authorities)
    assert verdict(answer) == Delivered()
    assert mailbox.encrypted == [True]


async def test_tls_from_the_first_byte(tls: ssl.SSLContext, authorities: str) -> None:
    async with smtp.running(tls=tls) as mailbox:
        answer = await hand_over(server_at(mailbox.port, "tls"), authorities=authorities)
    assert verdict(answer) == Delivered()
    assert mailbox.encrypted == [True]


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_an_unknown_certificate_is_refused_before_anything_is_told(
    tls: ssl.SSLContext, security: Security
) -> None:
    settings = (tls, None) if security == "tls" else (None, tls)
    async with smtp.running(tls=settings[0], starttls=settings[1]) as mailbox:
        answer = await hand_over(server_at(mailbox.port, security))
    assert (answer.phase, answer.error) == ("tls", "its certificate is not accepted: self-signed certificate")
    assert verdict(answer) == Retry()
    assert not mailbox.mails


async def test_a_certificate_for_another_host_is_refused(tls: ssl.SSLContext, authorities: str) -> None:
    async with smtp.running(starttls=tls) as mailbox:
        server = replace(server_at(mailbox.port, "starttls"), host="localhost")
        answer = await hand_over(server, authorities=authorities)
    assert answer.phase == "tls"
    assert answer.error
    assert answer.error.startswith("its certificate is not accepted: Hostname mismatch")


async def test_a_server_without_starttls_gets_no_mail(mailbox: Mailbox) -> None:
    answer = await hand_over(server_at(mailbox.port, "starttls"))
    assert (answer.phase, answer.error) == ("tls", "the mail server offers no STARTTLS")
    assert not mailbox.mails


async def test_a_wrong_password_is_not_tried_again(tls: ssl.SSLContext, authorities: str) -> None:
    async with smtp.running(starttls=tls, signing_in=True) as mailbox:
        server = server_at(mailbox.port, "starttls", user=USER, password="wrong")
        answer = await hand_over(server, authorities=authorities)
    assert verdict(answer) == GiveUp("the mail server refused the user and password: 535 5.7.8")
    assert answer.status_code == 535


async def test_a_password_does_not_travel_unencrypted(mailbox: Mailbox) -> None:
    allowed = Reach(allowed=LOCAL.allowed)
    answer = await hand_over(server_at(mailbox.port, user=USER, password=PASSWORD), reach=allowed)
    assert answer.final
    assert "unencrypted" in answer.final
    assert PASSWORD not in answer.final


async def test_a_server_that_knows_no_signing_in_is_said_to() -> None:
    async with saying(b"220 hello\r\n", b"250 mail.example\r\n") as port:
        answer = await hand_over(server_at(port, user=USER, password=PASSWORD))
    assert (answer.phase, answer.error) == ("write", "the mail server offers no way to sign in that we know")


@pytest.mark.parametrize(
    ("reply", "words", "final"),
    [
        ("450 4.2.1 <owner@shop.example> busy", "the mail server refused the recipient: 450 4.2.1", False),
        ("451 try later", "the mail server refused the recipient: 451", False),
        ("550 5.1.1 <owner@shop.example>: unknown", "the mail server refused the recipient: 550 5.1.1", True),
        ("554 no", "the mail server refused the recipient: 554", True),
    ],
)
async def test_a_refused_recipient_is_tried_again_unless_refused_for_good(
    mailbox: Mailbox, reply: str, words: str, final: bool
) -> None:
    mailbox.rcpt = reply
    answer = await hand_over(server_at(mailbox.port))
    assert verdict(answer) == (GiveUp(words) if final else Retry())
    assert (answer.status_code, answer.complaint, answer.phase) == (int(reply[:3]), words, None)
    assert b"owner@" not in answer.body
    assert not answer.is_down


async def test_a_refused_message_names_what_was_refused(mailbox: Mailbox) -> None:
    mailbox.data = "552 5.3.4 too big"
    answer = await hand_over(server_at(mailbox.port))
    assert verdict(answer) == GiveUp("the mail server refused the message: 552 5.3.4")
    assert answer.body == b"5.3.4 too big"


async def test_a_server_that_is_closing_is_asked_again() -> None:
    async with saying(b"421 4.3.2 shutting down\r\n") as port:
        answer = await hand_over(server_at(port))
    assert verdict(answer) == Retry()
    assert answer.complaint == "the mail server refused the conversation: 421 4.3.2"


@pytest.mark.parametrize(
    ("lines", "phase"),
    [((), "first_byte"), ((b"220 hello\r\n",), "write"), ((b"220 hello\r\n", b"250 ok\r\n", b"250 ok\r\n"), "write")],
)
async def test_a_server_that_hangs_ends_at_the_deadline(lines: tuple[bytes, ...], phase: str) -> None:
    async with saying(*lines) as port:
        answer = await hand_over(server_at(port), timeout=1)
    assert (answer.phase, answer.error) == (phase, "no complete answer within 1 s")
    assert answer.duration_ms < 2000


async def test_a_server_that_hangs_in_the_handshake_ends_at_the_deadline() -> None:
    async with saying() as port:
        answer = await hand_over(server_at(port, "tls"), timeout=0.3)
    assert (answer.phase, answer.error) == ("tls", "no complete answer within 0.3 s")


async def test_a_server_that_hangs_once_it_is_to_encrypt_ends_at_the_deadline() -> None:
    async with saying(b"220 hi\r\n", b"250-hi\r\n250 STARTTLS\r\n", b"220 go\r\n") as port:
        answer = await hand_over(server_at(port, "starttls"), timeout=0.3)
    assert (answer.phase, answer.error) == ("tls", "no complete answer within 0.3 s")


async def test_a_host_that_is_none_is_said_to_be_none(mailbox: Mailbox) -> None:
    answer = await hand_over(replace(server_at(mailbox.port), host="mail..example"))
    assert (answer.phase, answer.error) == ("dns", "its host is no host name")


async def test_a_mail_that_was_accepted_is_delivered_whatever_the_goodbye() -> None:
    accepted = (b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, line in enumerate(accepted):
            if number:
                await reader.readline()
            writer.write(line)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 queued\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        answer = await hand_over(server_at(server.sockets[0].getsockname()[1]))
    assert verdict(answer) == Delivered()


@pytest.mark.parametrize("line", [b"HTTP/1.1 400 Bad Request\r\n", b"\xff\xfe\r\n"])
async def test_what_is_no_mail_server_is_said_to_be_none(line: bytes) -> None:
    async with saying(line) as port:
        answer = await hand_over(server_at(port))
    assert (answer.phase, answer.error) == ("first_byte", "the answer is not SMTP")


async def test_nobody_listening_is_a_failure_to_connect() -> None:
    answer = await hand_over(server_at(1))
    assert (answer.phase, answer.error) == ("connect", "no connection: Connection refused")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "169.254.169.254", "::ffff:10.0.0.1"])
async def test_a_closed_address_is_not_called(mailbox: Mailbox, host: str) -> None:
    answer = await hand_over(replace(server_at(mailbox.port), host=host), reach=CLOSED)
    assert answer.error
    assert "is refused: " in answer.error
    assert verdict(answer) == Retry()
    assert not mailbox.mails


async def test_a_name_without_an_address_is_a_failure_of_dns() -> None:
    answer = await hand_over(replace(server_at(25), host="nowhere.invalid"))
    assert answer.phase == "dns"
    assert answer.error
    assert answer.error.startswith("no connection: ")


async def test_what_is_no_address_is_not_tried_again(mailbox: Mailbox) -> None:
    bad = email.render(AUTOMATION, SITE, to="a@b.example, c@d.example", subject="", text=None)
    answer = await email.send(bad, smtp=server_at(mailbox.port), reach=LOCAL, message_id=ID, timeout=5)
    assert verdict(answer) == GiveUp("its sender or recipient is not an address that mail can go to")


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with open_session(LOCAL) as session:
        yield Sender(session)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Delivered()),
        (
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n",
            Retry(timedelta(seconds=30)),
        ),
    ],
)
async def test_a_slack_message_is_posted_and_signed_like_any_other(
    sender: Sender, answer: bytes, expected: Verdict
) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    body = slack.render(AUTOMATION, SITE, include_email=False)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/services/T0/B0/x"
        now = datetime.now(UTC)
        came = await webhook.send(sender, body, delivery=delivery(), target=replace(TARGET, url=url), now=now)
    assert verdict(came) == expected
    assert b"POST /services/T0/B0/x" in heard[0]
    assert b"Content-Type: application/json" in heard[0]
    assert f"X-TrustLens-Signature: {sign('secret', int(now.timestamp()), body)}\r\n".encode() in heard[0]


async def test_nothing_is_posted_while_no_key_opens_its_secret(sender: Sender) -> None:
    sealed = replace(TARGET, secret=None)
    came = await webhook.send(sender, b"{}", delivery=delivery(), target=sealed, now=datetime.now(UTC))
    assert came.complaint == "not sent: no key here opens its signing secret"
    assert came.address is None


@pytest.fixture(scope="module")
async def a_store() -> AsyncIterator[FakeStore]:
    async with fake_store.running() as store:
        yield store


@pytest.fixture
async def store(a_store: FakeStore) -> FakeStore:
    """With order 4821 just placed, and nothing wrong."""
    await a_store.quirks()
    await a_store.control("_orders", [{"id": 4821, "status": "processing"}])
    return a_store


async def change(
    sender: Sender,
    store: FakeStore,
    action: Action = "hold_order",
    *,
    order_id: int | None = 4821,
    secret: str = SECRET,
    reach: Reach = LOCAL,
    timeout: float = 10,  # noqa: ASYNC109  # as `send` has it
) -> Answer:
    automation = AUTOMATION.model_copy(update={"order_id": order_id})
    body = woocommerce.render(automation, action=action, reason="Too many returns")
    return await woocommerce.send(
        sender, body, store_url=store.url, credentials=Credentials(KEY, secret), reach=reach, timeout=timeout
    )


async def status(store: FakeStore) -> str:
    return str((await store.ask("GET", "orders/4821"))[1]["status"])


async def notes(store: FakeStore) -> list[str]:
    return [note["note"] for note in (await store.ask("GET", "orders/4821/notes"))[1]]


@pytest.mark.parametrize(("action", "becomes"), [("hold_order", "on-hold"), ("cancel_order", "cancelled")])
async def test_an_order_is_changed_and_its_note_says_why(
    sender: Sender, store: FakeStore, action: Action, becomes: str
) -> None:
    before = len(await notes(store))
    answer = await change(sender, store, action)
    assert verdict(answer) == Delivered()
    assert (answer.status_code, answer.error, answer.address) == (200, None, "127.0.0.1")
    assert await status(store) == becomes
    assert (await notes(store))[before:] == ["Too many returns"]


async def test_an_order_on_hold_is_left_as_it_is(sender: Sender, store: FakeStore) -> None:
    await change(sender, store)
    before = (await notes(store), len(await store.requests()))
    answer = await change(sender, store)
    assert (verdict(answer), answer.error) == (Delivered(), "already on hold")
    assert [method for method, _ in (await store.requests())[before[1] :]] == ["GET"]
    assert await notes(store) == before[0]


@pytest.mark.parametrize("action", ["hold_order", "cancel_order"])
@pytest.mark.parametrize(
    ("current", "words"),
    [
        ("cancelled", "the order is already cancelled"),
        ("refunded", "the order is already refunded"),
        ("completed", "the order is already completed"),
        ("failed", "the order is already failed"),
        ("trash", "the order is already in the trash"),
    ],
)
async def test_an_order_that_has_gone_past_it_is_left_and_the_log_says_so(
    sender: Sender, store: FakeStore, action: Action, current: str, words: str
) -> None:
    await store.control("_orders", [{"id": 4821, "status": current}])
    answer = await change(sender, store, action)
    assert (verdict(answer), answer.complaint) == (GiveUp(words), words)
    assert await status(store) == current


async def test_an_order_on_hold_can_be_cancelled_and_an_unknown_status_held(sender: Sender, store: FakeStore) -> None:
    for current, action in (("on-hold", "cancel_order"), ("wait-for-parts", "hold_order")):
        await store.control("_orders", [{"id": 4821, "status": current}])
        assert verdict(await change(sender, store, action)) == Delivered()  # type: ignore[arg-type]  # both are actions


async def test_a_wrong_key_is_not_tried_again(sender: Sender, store: FakeStore) -> None:
    answer = await change(sender, store, secret="cs_other")
    assert verdict(answer) == GiveUp("the store does not let our key read orders: 401")
    assert answer.status_code == 401


async def test_a_key_that_may_only_read_is_not_tried_again(sender: Sender, store: FakeStore) -> None:
    await store.quirks(read_only=True)
    answer = await change(sender, store)
    assert verdict(answer) == GiveUp("the store does not let our key change orders: 401")


async def test_an_order_that_is_not_there_is_not_tried_again(sender: Sender, store: FakeStore) -> None:
    assert verdict(await change(sender, store, order_id=1)) == GiveUp("the store has no such order")


async def test_a_store_without_the_api_is_not_tried_again(sender: Sender, store: FakeStore) -> None:
    elsewhere = replace(store, url=f"{store.url}/wp-json/elsewhere")
    assert verdict(await change(sender, elsewhere)) == GiveUp("the store has no WooCommerce REST API")


async def test_a_rule_that_fired_without_an_order_asks_no_store(sender: Sender, store: FakeStore) -> None:
    assert verdict(await change(sender, store, order_id=None)) == GiveUp("the rule fired without an order")


async def test_a_key_does_not_travel_unencrypted(sender: Sender, store: FakeStore) -> None:
    answer = await change(sender, store, reach=CLOSED)
    assert verdict(answer) == GiveUp("the store's URL must begin with https://")


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_web_page_in_place_of_json_is_tried_again(sender: Sender, store: FakeStore, method: str) -> None:
    await store.quirks(method=method, html=True)
    answer = await change(sender, store)
    assert (verdict(answer), answer.phase, answer.status_code) == (Retry(), "body", 200)
    assert answer.complaint == "the store's answer is not the order as JSON"
    assert answer.body.startswith(b"<!DOCTYPE html>")
    await store.quirks()
    assert await status(store) == "processing"


@pytest.mark.parametrize("code", [403, 404, 503])
async def test_a_firewalls_refusal_is_tried_again(sender: Sender, store: FakeStore, code: int) -> None:
    await store.quirks(html=True, status=code, retry_after=3)
    answer = await change(sender, store)
    assert verdict(answer) == Retry(timedelta(seconds=3))
    assert (answer.status_code, answer.complaint) == (code, f"answered {code}")


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_store_in_trouble_is_asked_again(sender: Sender, store: FakeStore, code: int) -> None:
    await store.quirks(status=code, times=1)
    assert verdict(await change(sender, store)) == Retry()
    assert verdict(await change(sender, store)) == Delivered()


async def test_php_noise_is_tried_again_and_kept_for_the_log(sender: Sender, store: FakeStore) -> None:
    await store.quirks(method="PUT", php_noise=True)
    answer = await change(sender, store)
    assert (verdict(answer), answer.phase) == (Retry(), "body")
    assert b"<b>Notice</b>" in answer.body
    again = await change(sender, store)
    assert (verdict(again), again.error) == (Delivered(), "already on hold")


async def test_a_change_whose_answer_was_lost_is_found_done(sender: Sender, store: FakeStore) -> None:
    await store.quirks(method="PUT", lost=True)
    assert verdict(await change(sender, store)) == Retry()
    await store.quirks()
    again = await change(sender, store)
    assert (verdict(again), again.error) == (Delivered(), "already on hold")


async def test_a_note_that_cannot_be_added_undoes_nothing(sender: Sender, store: FakeStore) -> None:
    await store.quirks(method="POST", status=500)
    answer = await change(sender, store)
    assert (verdict(answer), answer.error) == (Delivered(), "done, but the note could not be added")


async def test_all_requests_have_one_deadline(sender: Sender, store: FakeStore) -> None:
    await store.quirks(slow=0.3)
    answer = await change(sender, store, timeout=0.5)
    assert verdict(answer) == Retry()
    assert answer.error
    assert answer.error.startswith("no complete answer within ")
    assert answer.duration_ms < 2000
