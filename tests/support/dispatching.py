"""A dispatcher in this process, a receiver that remembers, and messages to send it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from aiohttp import web

from dispatcher.__main__ import run
from dispatcher.settings import DispatcherSettings
from shared.broker import Broker, Outgoing
from shared.events import (
    ActionRef,
    Automation,
    Cause,
    Change,
    Event,
    EventData,
    EventType,
    OrderInfo,
    RuleRef,
    Snapshot,
    Wire,
)
from shared.ids import uuid7
from shared.topology import AUTOMATION, EVENTS

CUSTOMER = Snapshot(
    email_hash="ab" * 32,
    email="jane@example.com",
    email_domain="example.com",
    trust_score=34,
    segment="risk",
    total_orders=12,
    total_refunds=5,
    return_rate=Decimal("41.7"),
)
ORDER = OrderInfo(id=4821, number="4821", total=Decimal(249), currency="USD", status="processing")


def event(
    store_id: UUID,
    kind: EventType = "score_updated",
    *,
    at: datetime | None = None,
    sequence: int = 7,
    score: int = 34,
) -> Event:
    now = at or datetime.now(UTC)
    return Event(
        id=uuid7(),
        type=kind,
        store_id=store_id,
        occurred_at=now,
        recorded_at=now,
        customer=CUSTOMER.model_copy(update={"trust_score": score}),
        sequence=sequence,
        data=EventData(
            order=ORDER,
            change=Change(old_score=50, new_score=score, old_segment="normal", new_segment="risk"),
            reason="Too many refunds",
            email="jane@example.com",
        ),
        cause=Cause(kind="fact", id=uuid7()),
    )


def automation(store_id: UUID, target_id: UUID | None, *, action: str = "send_webhook") -> Automation:
    now = datetime.now(UTC)
    return Automation(
        id=uuid7(),
        store_id=store_id,
        occurred_at=now,
        recorded_at=now,
        event_id=uuid7(),
        customer=CUSTOMER,
        sequence=8,
        rule=RuleRef(id=uuid7(), version=1, name="Watch returns", trigger="segment_changed"),
        action=ActionRef(position=0, type=action, target_id=target_id),
        order_id=4821,
        cause=Cause(kind="rule", id=uuid7(), depth=1),
    )


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def delivery(self) -> UUID:
        return UUID(self.headers["X-TrustLens-Delivery"])


@dataclass
class Receiver:
    """Answers each path with its status (200 unless told), and hands out what arrived, in order."""

    url: str = ""
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    before_answer: Callable[[], Awaitable[object]] | None = None
    _arrived: "asyncio.Queue[Received]" = field(default_factory=asyncio.Queue)

    async def handle(self, request: web.Request) -> web.Response:
        self._arrived.put_nowait(Received(request.path, dict(request.headers), await request.read()))
        if self.before_answer:
            await self.before_answer()
        return web.Response(status=self.statuses.get(request.path, 200), text="thanks", headers=self.headers)

    async def next(self) -> Received:
        async with asyncio.timeout(20):
            return await self._arrived.get()

    def nothing_more(self) -> bool:
        return self._arrived.empty()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def dispatching(settings: DispatcherSettings) -> AsyncIterator[None]:
    """The service, until the block is left and everything begun is finished."""
    stop = asyncio.Event()
    service = asyncio.create_task(run(settings, stop), name="dispatcher")
    try:
        yield
    finally:
        stop.set()
        await service


def local_settings(**urls: str) -> DispatcherSettings:
    """For receivers on this machine, without the waits."""
    values = {
        "retry_delays": "0.05,0.05,0.05",
        "allow_http": True,
        "allowed_targets": "127.0.0.0/8",
        "poll_seconds": 0.02,
    }
    return DispatcherSettings.model_validate(values | urls)


async def publish(broker: Broker, *messages: Event | Automation) -> None:
    """Publish and be sure of it."""
    outgoing = [_outgoing(message) for message in messages]
    assert len(await broker.publish(outgoing)) == len(outgoing)


def _outgoing(message: Wire) -> Outgoing:
    match message:
        case Event(id=event_id, type=kind):
            return Outgoing(uuid7(), EVENTS, kind, message.encode(), {"event": str(event_id)})
        case Automation(action=action):
            return Outgoing(uuid7(), AUTOMATION, action.type, message.encode())
        case _:
            raise TypeError(message)


async def eventually(ask: Callable[[], Awaitable[Any]]) -> Any:
    """The first true answer. For states that nothing announces: a row's."""
    async with asyncio.timeout(20):
        while not (answer := await ask()):  # noqa: ASYNC110  # a row has no event to wait for
            await asyncio.sleep(0.02)
        return answer
