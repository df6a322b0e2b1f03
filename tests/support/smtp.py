"""A real SMTP server for tests: what it was sent, and what it shall answer."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER = "shop"
PASSWORD = "correct horse"


@dataclass(slots=True)
class Mailbox:
    """A server's answers, set by the test, and what it accepted."""

    port: int = 0
    rcpt: str = "250 OK"
    data: str = "250 Queued"
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    """Of each mail's connection."""

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's names and arguments
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # as above
        if self.data.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.mails.append(message_from_bytes(envelope.content, EmailMessage, policy=policy.default))
            self.envelopes.append(envelope)
            assert server.transport
            self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return self.data


def _authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


@asynccontextmanager
async def running(
    *, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None, signing_in: bool = False
) -> AsyncIterator[Mailbox]:
    """On a port of its own, until the block ends."""
    mailbox = Mailbox()
    serve = partial(
        SMTP,
        mailbox,
        hostname="mail.example",
        tls_context=starttls,
        require_starttls=starttls is not None,
        authenticator=_authenticate,
        auth_required=signing_in,
    )
    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0, ssl=tls)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
