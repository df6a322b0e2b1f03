"""Logs: for people on a terminal, JSON otherwise. Event names are dotted, everything else is a key: docs/logging.md."""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from shared import traces
from shared.metrics import ERRORS

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
ATTEMPT = "delivery.attempt"


def configure(service: str, *, level: str = "info", form: str = "auto") -> None:
    """Set up structlog once per process. `form`: auto, console or json; auto asks whether stdout is a terminal."""
    console = form == "console" or (form == "auto" and sys.stdout.isatty())
    shared: list[structlog.typing.Processor] = [
        _Named(service),
        structlog.processors.add_log_level,
        _count_errors,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
        *([_traced] if traces.on() else []),
    ]
    structlog.configure(
        processors=[*shared, *_rendering(console=console)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    _configure_libraries(shared, console=console)


def _configure_libraries(shared: "list[structlog.typing.Processor]", *, console: bool) -> None:
    """What libraries log takes the same form, without tracebacks: they carry values, and the errors are told by us."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_traceback,
                *_rendering(console=console),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # A lost connection is told by broker.lost and broker.unreachable, once, not by every channel that it had; traces
    # that cannot be sent by traces.not_sent.
    for name in ("aiormq", "aio_pika", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _without_traceback(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.pop("exc_info", None)
    return event


def _rendering(*, console: bool) -> list[structlog.typing.Processor]:
    if console:
        return [Terminal(colours=sys.stdout.isatty())]
    return [_as_json]


def _count_errors(_: object, level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """By our own event's name; by the logger's where a library wrote it, in words of its own."""
    if level == "error":
        ERRORS.labels(event.get("logger") or event["event"]).inc()
    return event


def _traced(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """An attempt is told after its end, and says itself in which trace it was."""
    return event if "trace_id" in event else {**event, **traces.ids(traces.current())}


class _Named:
    """Says whose line it is."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = self._service
        return event


_encoded = json.JSONEncoder(default=repr).encode


def _as_json(_: object, __: str, event: structlog.typing.EventDict) -> str:
    """As structlog's own renderer, which makes an encoder for each line."""
    return _encoded(event)


def attempt_line(told: Mapping[str, Any]) -> str:
    """An attempt's line: event, delivery, endpoint, customer, status, attempt n/m, ms, what is next, why.

    With the time before it, everything but the reason is in 80 columns.
    """
    return (
        f"{told['event_type']:12.12} {told['delivery']:8.8} {told['endpoint']:8.8} {told['customer']:12.12}"
        f" {told['status']!s:>6.6} {told['attempt']:>3} {told['ms']:>5} {told['next']} {told['why'] or ''}"
    ).rstrip()


_LINES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {ATTEMPT: attempt_line}
"""Of events that have too many keys to be read one by one."""
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m"}
_PLAIN = "\x1b[0m"


class Terminal:
    """Renders for people, on a service's terminal and in `trustlens logs`: by an event's own line, else key by key."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = _COLOURS if colours else {}
        self._by_key = structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=24)

    def __call__(self, logger: Any, name: str, event: structlog.typing.EventDict) -> str:
        frames = event.pop("trace", "")
        line = _LINES.get(str(event["event"]))
        if line is None:
            return f"{self._by_key(logger, name, event)}\n{frames}".rstrip("\n")
        colour = self._colours.get(str(event.get("level")))
        text = f"{event['timestamp']} {line(event)}"
        return f"{colour}{text}{_PLAIN}" if colour else text
