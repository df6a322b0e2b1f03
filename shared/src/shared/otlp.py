"""The OpenTelemetry side of shared/traces.py: imported only where an OTLP endpoint is set.

Never a value: statements without their arguments, errors by their types, receivers by their ids.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from threading import Thread
from types import MappingProxyType
from typing import Any

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.traces import NONE, Headers, Kind, Leg, Part

log = structlog.get_logger()

CLOSE_SECONDS = 2.0
"""What is left for sending at the end: a collector that is away must not hold up a stop."""
MAX_LINKS = 2000
"""The most messages in one transaction; the SDK would drop all beyond 128."""
_KINDS = {"consumer": SpanKind.CONSUMER, "producer": SpanKind.PRODUCER, "internal": SpanKind.INTERNAL}
_TOGETHER = ""
"""Among the spans of a batch, instead of a part's id: that of all parts."""
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|TABLE)\s+(?:ONLY\s+)?([a-z_]+\.[a-z_]+)", re.IGNORECASE)
_COMMENT = re.compile(r"--.*")
_CHANGE = re.compile(r"\b(?:INSERT|UPDATE|DELETE)\b")
_w3c = TraceContextTextMapPropagator()


def _context(headers: Mapping[str, Any]) -> Context:
    """Of the trace that these name; an empty one begins a new trace."""
    named = {name: str(headers[name]) for name in ("traceparent", "tracestate") if name in headers}
    return _w3c.extract(named, Context())


def _origin(headers: Mapping[str, Any]) -> SpanContext:
    return get_current_span(_context(headers)).get_span_context()


def _headers(span: Span) -> Headers:
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, set_span_in_context(span, Context()))
    return carrier


def _named(query: str) -> tuple[str, str]:
    """Of an SQL statement: what it does, and to which of our tables first of all."""
    sql = _COMMENT.sub("", query)
    operation = sql.split(None, 1)[0].rstrip(";").upper()
    if operation == "WITH":
        operation = (_CHANGE.search(sql) or ["SELECT"])[0]
    table = _TABLE.search(sql)
    return operation, f"{operation} {table[1]}" if table else operation


class _Traced(Leg):
    def __init__(self, span: Span) -> None:
        self.headers = _headers(span)
        self._span = span

    def answered(
        self, status: int | None, error: str | None = None, told: Mapping[str, str | int] = MappingProxyType({})
    ) -> None:
        self._span.set_attributes(told)
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))


class _Exporter(OTLPSpanExporter):
    """The SDK's, which tries again what may succeed, for ten seconds; what is lost then is told in our own words."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is SpanExportResult.FAILURE:
            log.warning("traces.not_sent", spans=len(spans))
        return result


class Tracing:
    """The sampler, the headers and resource attributes of the sender are the SDK's own OTEL_* variables."""

    def __init__(self, service: str, endpoint: str) -> None:
        told = {
            "service.name": service,
            "service.namespace": "trustlens",
            "service.version": version("trustlens-shared"),
        }
        self._provider = TracerProvider(
            resource=Resource.create(told), span_limits=SpanLimits(max_links=MAX_LINKS), shutdown_on_exit=False
        )
        exporter = _Exporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("trustlens")
        self._parts: ContextVar[Mapping[str, Span]] = ContextVar("parts", default=MappingProxyType({}))

    def close(self) -> None:
        ending = Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(CLOSE_SECONDS)

    @contextmanager
    def batch(self, name: str, parts: Sequence[Part], kind: Kind) -> Iterator[None]:
        """A span for each part that has a trace. Of several parts another is the parent of what is done with them
        together, a trace of its own, linked with each, as the conventions for messaging have it.
        """
        spans = self._spans(name, parts, _KINDS[kind])
        whole = spans[_TOGETHER] if _TOGETHER in spans else next(iter(spans.values()))
        token = self._parts.set(spans)
        try:
            with self._within(whole):
                yield
        finally:
            self._parts.reset(token)
            for span in spans.values():
                if span is not whole:
                    span.end()

    def _spans(self, name: str, parts: Sequence[Part], kind: SpanKind) -> dict[str, Span]:
        """By the parts' ids."""
        if len(parts) == 1:
            (part,) = parts
            return {str(part.id): self._tracer.start_span(name, _context(part.headers), kind)}
        traced = {str(part.id): part for part in parts if _origin(part.headers).is_valid}
        together = self._tracer.start_span(
            f"{name} (batch)",
            Context(),
            kind,
            attributes={"messaging.batch.message_count": len(parts)},
            links=[Link(_origin(part.headers)) for part in traced.values()],
        )
        link = [Link(together.get_span_context())]
        each = {
            part_id: self._tracer.start_span(name, _context(part.headers), kind, links=link)
            for part_id, part in traced.items()
        }
        return {_TOGETHER: together, **each}

    @contextmanager
    def part(self, part_id: object) -> Iterator[None]:
        if span := self._parts.get().get(str(part_id)):
            with use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        else:
            yield

    def carried(self, part_id: object) -> Headers:
        span = self._parts.get().get(str(part_id))
        return _headers(span) if span else self.current()

    def current(self) -> Headers:
        span = get_current_span()
        return _headers(span) if span.is_recording() else NONE

    @contextmanager
    def request(self, method: str, route: str, headers: Mapping[str, str]) -> Iterator[Leg]:
        told = {"http.request.method": method, "http.route": route}
        span = self._tracer.start_span(f"{method} {route}", _context(headers), SpanKind.SERVER, attributes=told)
        with self._within(span):
            yield _Traced(span)

    @contextmanager
    def attempt(self, name: str, before: Headers) -> Iterator[Leg]:
        span = self._tracer.start_span(name, _context(before), SpanKind.CLIENT)
        with self._within(span):
            yield _Traced(span)

    @contextmanager
    def _within(self, span: Span) -> Iterator[None]:
        """What the SDK does by itself, but for the error's text: that may repeat a value."""
        try:
            with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
                yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise

    def statement(self, logged: Any) -> None:
        """A span of the time that it took. It is told a moment after its end: its parent may have ended meanwhile."""
        parent = get_current_span()
        end = time.time_ns()
        began = end - int(logged.elapsed * 1e9)
        if not parent.get_span_context().trace_flags.sampled or began > (getattr(parent, "end_time", None) or end):
            return
        operation, name = _named(logged.query)
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            start_time=began,
            attributes={
                "db.system.name": "postgresql",
                "db.operation.name": operation,
                "db.query.text": logged.query,
            },
        )
        if logged.exception:
            span.set_attribute("error.type", type(logged.exception).__name__)
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)
