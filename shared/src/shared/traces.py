"""Traces: one from a webhook that comes in to the deliveries that came of it. docs/tracing.md tells what is in them.

Off, which is the default, each of these is a look at a None, and nothing of OpenTelemetry is imported. A trace goes
on by a header, `traceparent` (W3C Trace Context): of HTTP, of AMQP, and so in rows of outboxes.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from shared.otlp import Tracing

Headers = Mapping[str, str]
"""By which a trace goes on; empty: by nothing."""
NONE: Headers = MappingProxyType({})
_SAMPLED = frozenset("13579bdf")
"""The last digit of a traceparent's flags that have bit 0: its caller keeps the trace."""
Kind = Literal["consumer", "producer", "internal"]


class Part(Protocol):
    """Of a batch: what came, with the headers that it came with."""

    @property
    def id(self) -> object: ...

    @property
    def headers(self) -> Mapping[str, Any]: ...


class Leg:
    """Of a trace: one request, ours or another's. This one leaves no trace."""

    headers: Headers = NONE
    """What those get who are asked within it."""

    def answered(
        self, status: int | None, error: str | None = None, told: Mapping[str, str | int] = MappingProxyType({})
    ) -> None:
        """Note the answer: its HTTP status, in a word why it is none that was wanted, and what else is to be told."""


_NO_BATCH = nullcontext()
_NO_LEG = nullcontext(Leg())
_tracing: "Tracing | None" = None


def start(service: str, endpoint: str) -> None:
    """Send this process' traces to an OTLP endpoint from now on: http(s)://host:port, without /v1/traces."""
    global _tracing  # noqa: PLW0603  # one of a process, as its log is
    from shared.otlp import Tracing  # measured: 0.05 s and 4 MB, which who has no traces shall not pay

    _tracing = Tracing(service, endpoint)


def stop() -> None:
    """What is not sent yet gets two seconds."""
    global _tracing  # noqa: PLW0603  # as above
    if _tracing:
        _tracing.close()
    _tracing = None


def on() -> bool:
    return _tracing is not None


def batch(name: str, parts: Sequence[Part], *, kind: Kind) -> AbstractContextManager[None]:
    """What is done with these together. Each of their traces shows it; that of a single one also what is in it."""
    return _tracing.batch(name, parts, kind) if _tracing else _NO_BATCH


def part(part_id: object) -> AbstractContextManager[None]:
    """Within a batch: what is done with this part of it alone."""
    return _tracing.part(part_id) if _tracing else _NO_BATCH


def carried(part_id: object) -> Headers:
    """Within a batch: by what the trace of this part of it goes on; of something else, that of the batch."""
    return _tracing.carried(part_id) if _tracing else NONE


def current() -> Headers:
    """By what the trace goes on that this is in."""
    return _tracing.current() if _tracing else NONE


def request(method: str, route: str, headers: Mapping[str, str]) -> AbstractContextManager[Leg]:
    """A request that we answer. It goes on with the caller's trace, if its headers name one."""
    return _tracing.request(method, route, headers) if _tracing else _NO_LEG


def attempt(name: str, before: Headers | None) -> AbstractContextManager[Leg]:
    """A request of ours, in the trace that `before` names."""
    return _tracing.attempt(name, before or NONE) if _tracing else _NO_LEG


def statement(logged: Any) -> None:
    """Note an SQL statement of the batch or request that this is in: an asyncpg.connection.LoggedQuery."""
    if _tracing:
        _tracing.statement(logged)


def ids(headers: Headers) -> Headers:
    """trace_id and span_id, for a log line; none where nobody keeps the trace."""
    match headers.get("traceparent", "").split("-"):
        case [_, trace_id, span_id, flags] if flags[-1:] in _SAMPLED:
            return {"trace_id": trace_id, "span_id": span_id}
        case _:
            return NONE
