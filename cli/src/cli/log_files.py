"""The lines of log files: the last ones, read from the end, and those that come while one looks."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self

BLOCK = 64 * 1024
"""Bytes that are read at once."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d{1,6})?( ?UTC|Z|[+-]\d\d:\d\d)?\b")
"""How a line of Postgres or RabbitMQ begins."""
_SERVERS = re.compile(r"(WARNING:|\[warning\])|(ERROR:|FATAL:|PANIC:|\[error\]|\[critical\])")
"""How they tell its level, if it is worse than info."""


@dataclass(frozen=True, slots=True)
class Line:
    """As it is in the file."""

    text: str
    told: Mapping[str, Any] | None
    """Its keys; None: it is not of the schema in docs/logging.md, but of a server, a library or Python itself."""
    at: datetime | None
    """None: it does not say."""
    level: str | None
    """None: as above."""


def parsed(text: str) -> Line:
    if told := _told(text):
        return Line(text, told, _time(str(told["timestamp"])), str(told["level"]))
    at = _time(text)
    return Line(text, None, at, _server_level(text) if at else None)


def _server_level(text: str) -> str:
    found = _SERVERS.search(text)
    return "info" if found is None else "warning" if found[1] else "error"


def _told(text: str) -> Mapping[str, Any] | None:
    try:
        told = json.loads(text)
    except ValueError:
        return None
    return told if isinstance(told, dict) and {"timestamp", "level", "service", "event"} <= told.keys() else None


def _time(text: str) -> datetime | None:
    """In UTC, where it names no zone."""
    found = _TIME.match(text)
    if not found:
        return None
    day, time, fraction, zone = found.groups("")
    try:
        at = datetime.fromisoformat(f"{day}T{time}{fraction}{zone if zone[:1] in {'+', '-'} else ''}")
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def timed(lines: Iterable[Line], before: Line | None) -> Iterator[Line]:
    for line in lines:
        before = line if line.at or not before else _continuing(line, before)
        yield before


def _continuing(line: Line, before: Line) -> Line:
    """What does not say when it was written, a traceback's frames say, belongs to the line before it.

    A server's has the level of that line, too, as RabbitMQ's banner after a notice; what Python writes after one of
    ours has none: it may be why the process ended.
    """
    return replace(line, at=before.at, level=None if before.told else before.level)


def backwards(file: BinaryIO, end: int, *, block: int = BLOCK) -> Iterator[Line]:
    """The whole lines before `end`, the last first; each with its time."""
    waiting: list[Line] = []
    for data in _lines_before(file, end, block):
        line = parsed(data.decode(errors="replace"))
        if line.at is None:
            waiting.append(line)
            continue
        yield from (_continuing(later, line) for later in waiting)
        waiting.clear()
        yield line
    yield from waiting


def _lines_before(file: BinaryIO, end: int, block: int) -> Iterator[bytes]:
    beginning = b""
    while end > 0:
        begin = max(end - block, 0)
        file.seek(begin)
        beginning, *lines = (file.read(end - begin) + beginning).split(b"\n")
        yield from (line for line in reversed(lines) if line)
        end = begin
    if beginning:
        yield beginning


class Followed:
    """A log file that grows, and may meanwhile be emptied, replaced by another, or taken away. Close it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._position = 0
        self._beginning = b""
        """Of a line whose end is not written yet."""
        self._last: Line | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def backwards(self) -> Iterator[Line]:
        """What it has now, the last line first. What comes later is new."""
        self._position = self._file.seek(0, os.SEEK_END)
        return backwards(self._file, self._position)

    def new_lines(self) -> list[Line]:
        """Those that were ended since it was asked last. None is left out when the file is replaced."""
        if self._emptied():
            self._position, self._beginning = 0, b""
        lines = self._rest()
        if self._replaced():
            self._file.close()
            self._file = self._path.open("rb")
            lines.append(self._beginning)
            self._position, self._beginning = 0, b""
            lines += self._rest()
        found = list(timed((parsed(line.decode(errors="replace")) for line in lines if line), self._last))
        self._last = found[-1] if found else self._last
        return found

    def _rest(self) -> list[bytes]:
        self._file.seek(self._position)
        data = self._file.read()
        self._position += len(data)
        *lines, self._beginning = (self._beginning + data).split(b"\n")
        return lines

    def _emptied(self) -> bool:
        return os.fstat(self._file.fileno()).st_size < self._position

    def _replaced(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        return not os.path.samestat(now, os.fstat(self._file.fileno()))
