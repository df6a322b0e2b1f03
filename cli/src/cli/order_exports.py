"""Files of old orders → events of POST /ingest/events. NDJSON of orders or of webhooks, or CSV; also .gz, .xz."""

import codecs
import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from cli import order_csv
from cli.order_csv import Header, HeaderError, Reading
from cli.order_lines import DAMAGED, BadLine, decompressed
from local_stack.errors import StackError

PACKED = {".gz", ".xz"}
PEEKED = 1000
"""Bytes in which a file shows what it is."""
CSV = {".csv", ".tsv", ".txt"}
TOPICS = frozenset({"order.created", "order.updated", "order.restored"})
"""Webhooks that hold an order."""


class FileError(StackError):
    """The file cannot be read as what it is taken for, so nothing of it is sent; the message says what helps."""


@dataclass(frozen=True, slots=True)
class Event:
    """One item of POST /ingest/events as JSON, and the line of the file that it is from."""

    number: int
    body: bytes


def event(number: int, order: Mapping[str, Any]) -> Event | BadLine:
    """Its id is made of what the order holds: the same again is known again, whatever file it stands in."""
    if not isinstance(order.get("id"), int):
        return BadLine(number, "id must be a whole number")
    if not (at := order.get("date_modified_gmt")):
        return BadLine(number, "date_modified_gmt is missing")
    try:
        content = json.dumps(order, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except ValueError:
        return BadLine(number, "holds a number that is none")
    digest = hashlib.sha256(content.encode()).hexdigest()[:32]
    head = json.dumps({"id": f"order-{order['id']}-{digest}", "type": "order", "occurred_at": at})
    return Event(number, f'{head[:-1]},"data":{content}}}'.encode())


def parse(number: int, text: bytes) -> Event | BadLine:
    """A line of NDJSON."""
    try:
        return _order_of(number, json.loads(text))
    except RecursionError:
        return BadLine(number, "is nested too deep")
    except ValueError:
        return BadLine(number, "is not JSON")


def _order_of(number: int, value: Any) -> Event | BadLine:
    match value:
        case {"topic": str(topic), "order": dict(order)} if topic in TOPICS:
            return event(number, order)
        case {"topic": str(topic)}:
            return BadLine(number, f"is of the topic {topic[:40]}, which holds no order")
        case {"id": _}:
            return event(number, value)
        case [*_]:
            return BadLine(number, "is a list: write each order on a line of its own")
        case _:
            return BadLine(number, "is no order of wc/v3, and no webhook of one")


def refuse_list(path: Path) -> None:
    """Of what is read as NDJSON.

    Raises:
        FileError: it is one JSON list, as many programs export.
    """
    with suppress(*DAMAGED), path.open("rb") as stored, decompressed(stored) as plain:
        if plain.read(PEEKED).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[":
            raise FileError(f"{path.name} is one JSON list: write each order on a line, as `jq -c '.[]'` does.")


@dataclass(frozen=True, slots=True)
class Sheet:
    """How a CSV file is written."""

    encoding: str
    delimiter: str
    header: Header
    first: int
    """Lines up to the header's end."""
    reading: Reading


def sheet(path: Path, *, encoding: str = "", zone: tzinfo = UTC) -> Sheet:
    """Looks through the whole file. `encoding`: empty for UTF-8, with or without a byte order mark.

    Raises:
        FileError: a column is missing or misspelt, a quotation mark never closed, or it is written in something else.
    """
    try:
        with _text(path, encoding or "utf-8-sig") as lines:
            found = _sheet(lines, encoding or "utf-8-sig", zone)
            for number, row in _rows(lines, found):
                if row is None:
                    raise FileError(f"A quotation mark in line {number} is never closed.")
    except UnicodeError:
        raise FileError(_misread(path, encoding)) from None
    except LookupError:
        raise FileError(f"There is no encoding {encoding}; one is windows-1252.") from None
    except (HeaderError, *DAMAGED) as error:
        raise FileError(f"{path.name}: {error}") from None
    return found


@contextmanager
def _text(path: Path, encoding: str) -> Iterator[TextIO]:
    with (
        path.open("rb") as stored,
        decompressed(stored) as plain,
        io.TextIOWrapper(plain, encoding, newline="") as text,
    ):
        yield text


def _sheet(lines: TextIO, encoding: str, zone: tzinfo) -> Sheet:
    """From the first line, or the second where Excel wrote `sep=;` before it."""
    line, before = lines.readline(), 0
    told = re.fullmatch(r"sep=(.)\s*", line, re.IGNORECASE)
    if told:
        line, before = lines.readline(), 1
    sign = told[1] if told else order_csv.delimiter(line)
    cells = next(csv.reader([line], delimiter=sign), [])
    return Sheet(encoding, sign, order_csv.header(cells), before + 1, Reading(comma=sign != ",", zone=zone))


def _misread(path: Path, encoding: str) -> str:
    if encoding:
        return f"{path.name} is not written in {encoding}."
    with path.open("rb") as stored, decompressed(stored) as plain:
        bad, line = next((number, line) for number, line in enumerate(plain, 1) if not _is_utf8(line))
    hint = "utf-16" if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "windows-1252"
    return (
        f"Line {bad} of {path.name} is not UTF-8: save it as CSV UTF-8, or say how it is written, "
        f"as in --encoding {hint}."
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _rows(lines: TextIO, sheet: Sheet) -> Iterator[tuple[int, list[str] | str | None]]:
    """By the line they begin in: cells, or what is wrong. None: a quotation mark is open to the end."""
    reader = csv.reader(lines, delimiter=sheet.delimiter, strict=True)
    while True:
        number = sheet.first + reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            open_ended = str(error).startswith(("unexpected end", "field larger"))
            yield number, None if open_ended else "has a quotation mark inside a cell: it must be doubled"


def _order(row: list[str] | str | None, number: int, sheet: Sheet) -> Event | BadLine | None:
    if not isinstance(row, list):
        return BadLine(number, row or "a quotation mark is never closed")
    columns = sheet.header.columns
    if not any(cell.strip() for cell in row):
        return None
    if len(row) < len(columns) or any(cell.strip() for cell in row[len(columns) :]):
        return BadLine(number, f"has {len(row)} cells, and the header {len(columns)}")
    try:
        cells = {name: cell for name, cell in zip(columns, row, strict=False) if name}
        return event(number, order_csv.order(cells, sheet.reading))
    except ValueError as error:
        return BadLine(number, str(error))


class ExportFile:
    """Iterate once over what follows line `skip`; empty lines yield nothing. `sheet`: None for NDJSON.

    `read` and `size` are in bytes as stored, compressed or not: how far we are without counting lines first.
    A damaged archive ends with a BadLine that says so.
    """

    def __init__(self, path: Path, sheet: Sheet | None, *, skip: int = 0) -> None:
        self.path, self.size, self.read = path, path.stat().st_size, 0
        self._sheet, self._skip = sheet, skip

    def field(self, path: str) -> str:
        """A field of wc/v3 as the file calls it."""
        return order_csv.column_of(path) if self._sheet else path

    def __iter__(self) -> Iterator[Event | BadLine]:
        number = 0
        try:
            with self.path.open("rb") as stored, decompressed(stored) as plain:
                for number, read in self._lines(plain):
                    self.read = stored.tell()
                    found = read() if number > self._skip else None
                    if found:
                        yield found
        except DAMAGED as error:
            yield BadLine(number + 1, f"damaged archive: {error}")

    def _lines(self, plain: BinaryIO) -> Iterator[tuple[int, Callable[[], Event | BadLine | None]]]:
        sheet = self._sheet
        if sheet is None:
            for number, line in enumerate(plain, start=1):
                yield number, partial(_parsed, number, line)
            return
        with io.TextIOWrapper(plain, sheet.encoding, newline="") as text:
            for _ in range(sheet.first):
                text.readline()
            for number, row in _rows(text, sheet):
                yield number, partial(_order, row, number, sheet)


def _parsed(number: int, line: bytes) -> Event | BadLine | None:
    return parse(number, line) if line.strip() else None


def is_csv(path: Path) -> bool:
    """By its name, whether packed or not."""
    names = [name for name in map(str.lower, path.suffixes) if name not in PACKED]
    return bool(names) and names[-1] in CSV
