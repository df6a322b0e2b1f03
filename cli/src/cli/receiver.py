"""A webhook receiver for one machine: it verifies, remembers, and answers as told."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from aiohttp import web

from cli.verification import Verdict, verify

Answer = int | Literal["hang"]
"""An HTTP status, or: take the request and never answer it."""


def parse_answer(text: str) -> Answer | None:
    """`500` or `hang` as an Answer; None for anything else."""
    if text == "hang":
        return "hang"
    return int(text) if text.isascii() and text.isdigit() and 200 <= int(text) <= 599 else None


@dataclass(frozen=True, slots=True)
class Received:
    """One request, with what its body claims; the claims are worth something only if it is verified."""

    path: str
    verdict: Verdict
    answer: Answer
    received_at: float  # Unix seconds, taken when the last byte of the body had come
    event: str
    delivery_id: str
    webhook_id: str
    timestamp: str  # the header as it came
    signature: str  # the header as it came
    sequence: int | None
    customer: str  # the e-mail's hash
    email: str | None
    score: int | None
    segment: str
    order_id: int | None
    body: bytes = field(repr=False)

    @property
    def verified(self) -> bool:
        return self.verdict is Verdict.VERIFIED


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _claims(body: bytes) -> dict[str, Any]:
    try:
        return _object(json.loads(body))
    except (ValueError, RecursionError):
        return {}


def _sequence(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def describe(
    body: bytes, headers: Mapping[str, str], *, path: str, verdict: Verdict, answer: Answer, received_at: float
) -> Received:
    """What came, in one flat record; whatever is missing or of a wrong type stays empty."""
    claims = _claims(body)
    customer, order = _object(claims.get("customer")), _object(claims.get("order"))
    return Received(
        path=path,
        verdict=verdict,
        answer=answer,
        received_at=received_at,
        event=headers.get("X-TrustLens-Event", ""),
        delivery_id=headers.get("X-TrustLens-Delivery", ""),
        webhook_id=headers.get("X-TrustLens-Webhook-ID", ""),
        timestamp=headers.get("X-TrustLens-Timestamp", ""),
        signature=headers.get("X-TrustLens-Signature", ""),
        sequence=_sequence(headers.get("X-TrustLens-Sequence", "")),
        customer=_text(customer.get("email_hash")),
        email=_text(customer.get("email")) or None,
        score=_whole(customer.get("trust_score")),
        segment=_text(customer.get("segment")),
        order_id=_whole(order.get("id")) or _whole(claims.get("order_id")),
        body=body,
    )


_IN_LEDGER = ("delivery_id", "event", "customer", "sequence", "timestamp", "order_id", "path", "answer", "webhook_id")


def ledger_line(received: Received) -> str:
    """One JSON object: what happened and to whom, by hash; no e-mail address, no body."""
    fields = {name: value for name, value in asdict(received).items() if name in _IN_LEDGER}
    when = datetime.fromtimestamp(received.received_at, UTC).isoformat(timespec="microseconds")
    return json.dumps(fields | {"received_at": when, "verified": received.verified, "verdict": received.verdict})


def _ignore(_: Received) -> None:
    pass


class Receiver:
    """`async with Receiver(secret=…) as receiver:` listens on 127.0.0.1 until the block ends.

    Each path plays a part of its own: `/hooks/500` and `/hooks/hang` answer as they are called, so does
    `?answer=410`; `receiver.answers[path]`, or `PUT path?answer=503` from outside, changes a path while it runs.
    `secrets` maps paths to secrets; `secret` is for the others. What is not verified gets 401 where it
    would have got a 2xx.
    """

    def __init__(
        self,
        *,
        secret: str | None = None,
        secrets: Mapping[str, str] | None = None,
        answer: Answer = 200,
        host: str = "127.0.0.1",
        port: int = 0,
        remember: int | None = None,
        ledger: Path | None = None,
        on_received: Callable[[Received], None] = _ignore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.secrets = dict(secrets or {})
        self.answers: dict[str, Answer] = {}
        self.received: deque[Received] = deque(maxlen=remember)
        self.total = 0
        self._secret, self._answer = secret, answer
        self._host, self._port = host, port
        self._ledger_path = ledger
        self._ledger: TextIO | None = None
        self._on_received, self._clock = on_received, clock
        self._arrival, self._closing = asyncio.Condition(), asyncio.Event()
        self._runner = web.AppRunner(self._app(), handler_cancellation=True, access_log=None)

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/{path:.*}", self._receive)
        app.router.add_put("/{path:.*}", self._switch)
        return app

    async def __aenter__(self) -> Self:
        if self._ledger_path:
            # Line by line, so that a ledger is complete up to the moment its receiver was killed.
            self._ledger = self._ledger_path.open("a", buffering=1, encoding="utf-8")
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=1024)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        await self._runner.cleanup()
        if self._ledger:
            self._ledger.close()

    @property
    def port(self) -> int:
        return self._port

    def url(self, path: str = "/hooks") -> str:
        return f"http://{self._host}:{self._port}{path}"

    def verified_ids(self) -> set[str]:
        return {received.delivery_id for received in self.received if received.verified}

    async def wait_for(
        self, count: int, *, within: float, where: Callable[[Received], bool] | None = None
    ) -> list[Received]:
        """The requests so far (those that `where` accepts) once there are `count`; TimeoutError after `within` s."""
        async with asyncio.timeout(within), self._arrival:
            if where is None:
                await self._arrival.wait_for(lambda: self.total >= count)
                return list(self.received)
            await self._arrival.wait_for(lambda: sum(map(where, self.received)) >= count)
            return list(filter(where, self.received))

    def _answer_for(self, request: web.Request) -> Answer:
        asked = parse_answer(request.query.get("answer", "")) or parse_answer(request.path.rsplit("/", 1)[-1])
        return self.answers.get(request.path) or asked or self._answer

    def _verdict(self, request: web.Request, body: bytes, header: str, now: float) -> Verdict:
        return verify(
            body,
            signatures=request.headers.getall(header, []),
            timestamps=request.headers.getall("X-TrustLens-Timestamp", []),
            secret=self.secrets.get(request.path, self._secret),
            now=now,
        )

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        now = self._clock()
        verdict = self._verdict(request, body, "X-TrustLens-Signature", now)
        if verdict is Verdict.WRONG and "X-TrustLens-Signature-Next" in request.headers:
            verdict = self._verdict(request, body, "X-TrustLens-Signature-Next", now)  # we have the next secret already
        answer = self._answer_for(request)
        if verdict is not Verdict.VERIFIED and answer != "hang" and answer < 300:
            answer = 401
        received = describe(body, request.headers, path=request.path, verdict=verdict, answer=answer, received_at=now)
        await self._remember(received)
        if answer == "hang":
            await self._closing.wait()
            return web.Response(status=503)
        return web.Response(status=answer)

    async def _remember(self, received: Received) -> None:
        async with self._arrival:
            self.received.append(received)
            self.total += 1
            self._arrival.notify_all()
        if self._ledger:
            self._ledger.write(ledger_line(received) + "\n")
        self._on_received(received)

    async def _switch(self, request: web.Request) -> web.Response:
        answer = parse_answer(request.query.get("answer", ""))
        if answer is None:
            return web.Response(status=400, text="?answer=STATUS or ?answer=hang\n")
        self.answers[request.path] = answer
        return web.Response(text=f"{request.path} now answers {answer}\n")
