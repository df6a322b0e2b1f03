"""An OpenTelemetry collector that keeps what it is sent: OTLP over HTTP, as protobuf."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: frozenset[str]
    """Ids of the traces."""
    told: Mapping[str, Any]
    failed: bool


@dataclass
class Collector:
    url: str = ""
    spans: list[Span] = field(default_factory=list)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        async with self._came:
            self.spans += _spans(sent)
            self._came.notify_all()
        return web.Response(content_type="application/x-protobuf")

    def trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]

    async def until(self, true: Callable[[], bool]) -> None:
        async with self._came:
            await self._came.wait_for(true)


def _spans(sent: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_service in sent.resource_spans:
        service = str(_told(of_service.resource.attributes)["service.name"])
        for scope in of_service.scope_spans:
            for span in scope.spans:
                yield Span(
                    service,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    frozenset(link.trace_id.hex() for link in span.links),
                    _told(span.attributes),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                )


def _told(attributes: Any) -> dict[str, Any]:
    return {given.key: getattr(given.value, given.value.WhichOneof("value")) for given in attributes}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", collector.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()
