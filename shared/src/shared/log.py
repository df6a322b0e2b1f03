"""Logs: for people on a terminal, JSON otherwise. Event names are dotted, everything else is a key."""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

Line = Callable[[Mapping[str, Any]], str]
"""How the keys of one event are written on a terminal, behind the time."""
Lines = Mapping[str, Line]
"""Of events that have too many keys to be read there one by one, by their names."""
NO_LINES: Lines = MappingProxyType({})


def configure(service: str, *, level: str = "info", form: str = "auto", lines: Lines = NO_LINES) -> None:
    """Set up structlog once per process. `form`: auto, console or json; auto asks whether stdout is a terminal."""
    console = form == "console" or (form == "auto" and sys.stdout.isatty())
    shared: list[structlog.typing.Processor] = [
        _Named(service),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    structlog.configure(
        processors=[*shared, *_rendering(console=console, lines=lines)],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
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
    # A lost connection is told by broker.lost and broker.unreachable, once, not by every channel that it had.
    for name in ("aiormq", "aio_pika"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _without_traceback(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.pop("exc_info", None)
    return event


def _rendering(*, console: bool, lines: Lines = NO_LINES) -> list[structlog.typing.Processor]:
    if console:
        return [Terminal(lines)]
    return [_as_json]


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


class Terminal:
    """Renders for people: by an event's own line, else key by key."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._by_key = structlog.dev.ConsoleRenderer(pad_event_to=24)

    def __call__(self, logger: Any, name: str, event: structlog.typing.EventDict) -> str:
        line = self._lines.get(str(event["event"]))
        return f"{event['timestamp']} {line(event)}" if line else self._by_key(logger, name, event)
