"""E-mail: a rule's own words and a few facts, as text and as HTML, through the store's own mail server."""

import asyncio
import html
import json
import os
import re
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from uuid import UUID

import aiosmtplib
import idna
from aiosmtplib import errors

from dispatcher.classify import Answer, Phase
from dispatcher.destinations.means import Smtp
from dispatcher.destinations.webhook import Site
from dispatcher.send import ANSWER_KEPT, RefusedAddressError, addresses, connect
from shared.events import Automation
from shared.jsontext import dumps
from shared.targets import Reach

LONGEST_SUBJECT = 200
"""Characters."""
MASK = "***"
"""In place of addresses in what a mail server says."""
FAREWELL = 1.0
"""Seconds to say goodbye after the mail was accepted; it is sent whatever comes of that."""

_ADDRESS = re.compile(r"[^\s<>()\[\]:;,\"]*@[^\s<>()\[\]:;,\"]*")
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\S)")  # RFC 3463
_ACCEPTED = 250


def render(automation: Automation, site: Site, *, to: str, subject: str, text: str | None) -> bytes:
    """What `send` needs of a mail, as JSON: to, subject, text, html. Without `text` it says which rule fired."""
    own = (text or "").strip() or f"The rule “{automation.rule.name}” fired."
    facts = _facts(automation, site)
    body = {"to": to, "subject": _one_line(subject), "text": _plain(own, facts), "html": _html(own, facts)}
    return dumps(body).encode()


_Facts = list[tuple[str, str]]


def _facts(automation: Automation, site: Site) -> _Facts:
    customer = automation.customer
    order = [("Order", str(automation.order_id))] if automation.order_id is not None else []
    return [
        ("Customer", customer.email_hash),
        ("Segment", customer.segment),
        ("Trust score", f"{customer.trust_score} of 100"),
        *order,
        ("Rule", _one_line(automation.rule.name)),
        ("Store", _one_line(site.name) or site.url),
    ]


def _one_line(text: str) -> str:
    """Nothing in it ends a header or a line, also not once decoded: the library decodes the words of RFC 2047."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.replace("=?", "= ?").split())[:LONGEST_SUBJECT]


def _plain(own: str, facts: _Facts) -> str:
    return f"{own}\n\n" + "".join(f"{name}: {value}\n" for name, value in facts)


def _html(own: str, facts: _Facts) -> str:
    paragraph = "<br>\n".join(html.escape(line) for line in own.splitlines())
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>\n" for name, value in facts)
    return f"<!doctype html>\n<html><body>\n<p>{paragraph}</p>\n<table>\n{rows}</table>\n</body></html>\n"


async def send(
    body: bytes,
    *,
    smtp: Smtp,
    reach: Reach,
    message_id: UUID,
    timeout: float,  # noqa: ASYNC109  # as the store's owner set it
    authorities: str | None = None,
) -> Answer:
    """Hand the mail over once. `message_id` is the delivery's id: a mail that comes twice can be recognised by it.

    `authorities`: certificates in PEM that are trusted beside the system's own.

    The status is the server's reply code: 250, or what it refused with; 5xx is for good (RFC 5321 §4.2.1).
    """
    if problem := _unusable(smtp, reach):
        return Answer(duration_ms=0, final=problem)
    try:
        mail = message(body, smtp=smtp, message_id=message_id, now=datetime.now(UTC))
    except (ValueError, MessageError):
        return Answer(duration_ms=0, final="its sender or recipient is not an address that mail can go to")
    return await _Handover(smtp, reach, authorities).run(mail, timeout)


def _unusable(smtp: Smtp, reach: Reach) -> str | None:
    if smtp.security == "none" and smtp.password and not reach.allow_http:
        return "the password would travel unencrypted: set the mail server's security to tls or starttls"
    return None


def message(body: bytes, *, smtp: Smtp, message_id: UUID, now: datetime) -> EmailMessage:
    """The mail with its headers.

    Raises:
        ValueError, MessageError: sender or recipient is no address.
    """
    fields = json.loads(body)
    origin = _origin(smtp.sender)
    mail = EmailMessage()
    mail["From"] = origin
    mail["To"] = _address(fields["to"])
    mail["Subject"] = fields["subject"]
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{message_id}@{origin.domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers by machines
    mail.set_content(fields["text"])
    mail.add_alternative(fields["html"], subtype="html")
    return mail


def _origin(sender: str) -> Address:
    if not sender.isprintable():
        raise ValueError("not a sender")
    name, address = parseaddr(sender)
    return _address(address, name)


def _address(text: str, name: str = "") -> Address:
    if not text.isprintable() or " " in text or "=?" in text:
        raise ValueError("not an address")
    local, _, domain = text.rpartition("@")
    return Address(_one_line(name), addr_spec=f"{local}@{idna.encode(domain, uts46=True).decode()}")


class _Handover:
    """One conversation with a mail server, and how far it has come."""

    def __init__(self, smtp: Smtp, reach: Reach, authorities: str | None) -> None:
        self._smtp = smtp
        self._reach = reach
        self._authorities = authorities
        self._phase: Phase = "dns"
        self._address: str | None = None
        self._client: aiosmtplib.SMTP | None = None

    async def run(self, mail: EmailMessage, timeout: float) -> Answer:  # noqa: ASYNC109  # as `send` has it
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                said = await self._converse(await self._connected(mail), mail)
        except (errors.SMTPException, OSError, ValueError) as error:
            return self._failed(error, started, timeout)
        else:
            await self._leave()
            return self._answer(started, status_code=_ACCEPTED, body=_masked(said))
        finally:
            if self._client is not None:
                self._client.close()

    async def _connected(self, mail: EmailMessage) -> aiosmtplib.SMTP:
        """A client whose connection stands, TLS and all."""
        found = await addresses(self._smtp.host, self._smtp.port, self._reach)
        self._phase = "connect"
        tls = await asyncio.to_thread(_tls, self._authorities)
        opened = await connect(found)
        self._address = opened.getpeername()[0]
        self._client = client = aiosmtplib.SMTP(
            hostname=self._smtp.host,
            sock=opened,
            use_tls=self._smtp.security == "tls",
            start_tls=False,  # begun below, to know when it fails
            tls_context=tls,
            local_hostname=mail["From"].addresses[0].domain,
            timeout=None,  # one deadline, set around the whole
        )
        self._phase = "tls" if self._smtp.security == "tls" else "first_byte"
        await client.connect()
        if self._smtp.security == "starttls":
            self._phase = "tls"
            await client.starttls()
        return client

    async def _converse(self, client: aiosmtplib.SMTP, mail: EmailMessage) -> str:
        """What the server said when it accepted the mail."""
        self._phase = "write"
        if self._smtp.user is not None:
            await client.login(self._smtp.user, self._smtp.password or "")
        return (await client.send_message(mail))[1]

    async def _leave(self) -> None:
        """The mail is accepted, whatever comes of the goodbye."""
        with suppress(errors.SMTPException, OSError):
            if self._client is not None:
                await self._client.quit(timeout=FAREWELL)

    def _failed(self, error: Exception, started: float, timeout: float) -> Answer:
        match error:
            case errors.SMTPRecipientsRefused(recipients=[refusal, *_]):
                return self._refused(refusal, "the recipient", started)
            case errors.SMTPResponseException(code=code) if 400 <= code <= 599:
                return self._refused(error, _refused_part(error), started)
            case _:
                return self._answer(started, phase=self._phase, error=_words(error, self._phase, timeout))

    def _refused(self, error: errors.SMTPResponseException, part: str, started: float) -> Answer:
        enhanced = _ENHANCED.match(error.message)
        code = f"{error.code} {enhanced[0]}" if enhanced else f"{error.code}"
        words = f"the mail server refused {part}: {code}"
        return self._answer(
            started,
            status_code=error.code,
            error=words,
            body=_masked(error.message),
            final=words if error.code >= 500 else None,
        )

    def _answer(
        self,
        started: float,
        *,
        status_code: int | None = None,
        phase: Phase | None = None,
        error: str | None = None,
        body: bytes = b"",
        final: str | None = None,
    ) -> Answer:
        return Answer(
            duration_ms=round((time.monotonic() - started) * 1000),
            status_code=status_code,
            phase=phase,
            error=error,
            address=self._address,
            body=body,
            final=final,
        )


def _tls(authorities: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()  # verifies chain and host name
    if authorities:
        context.load_verify_locations(cadata=authorities)
    return context


def _masked(said: str) -> bytes:
    """A server's words without addresses, which it likes to repeat."""
    return _ADDRESS.sub(MASK, said).encode("utf-8", "replace")[:ANSWER_KEPT]


def _refused_part(error: errors.SMTPResponseException) -> str:
    match error:
        case errors.SMTPAuthenticationError():
            return "the user and password"
        case errors.SMTPSenderRefused():
            return "the sender"
        case errors.SMTPDataError():
            return "the message"
        case _:
            return "the conversation"


def _words(error: Exception, phase: Phase, timeout: float) -> str:
    """What went wrong, for the owner of the store; nothing that the server said."""
    cause = _cause(error)
    match cause:
        case TimeoutError():
            return f"no complete answer within {timeout:g} s"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {cause.verify_message}"
        case RefusedAddressError():
            return str(cause)
        case UnicodeError():
            return "its host is no host name"
        case errors.SMTPException():
            return _missing(cause, phase)
        case _:
            return f"no {'TLS ' if phase == 'tls' else ''}connection: {_system_words(cause)}"


def _missing(error: errors.SMTPException, phase: Phase) -> str:
    match error:
        case errors.SMTPServerDisconnected():
            return "the connection was closed without an answer"
        case errors.SMTPResponseException():
            return "the answer is not SMTP"
        case _:
            return f"the mail server offers no {'STARTTLS' if phase == 'tls' else 'way to sign in that we know'}"


def _cause(error: BaseException) -> BaseException:
    """What the library's own words for a failed connection stand for."""
    return error.__cause__ if isinstance(error, errors.SMTPConnectError) and error.__cause__ else error


def _system_words(error: BaseException) -> str:
    match error:
        case ssl.SSLError(reason=str(reason)):
            return reason.lower().replace("_", " ")
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError(strerror=str(text)):
            return text  # of a name that was not found
        case _:
            return type(error).__name__
