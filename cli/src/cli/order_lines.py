"""Order files: one `{"topic", "order"}` object a line, plain, gzip or xz, read as a stream."""

import gzip
import json
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, cast

from cli.wc_order import ShopEvent

DAMAGED = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)
"""What reading a damaged archive raises."""


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A webhook to be: its line number (from 1), its topic, its order's id, and the JSON that will be posted."""

    number: int
    topic: str
    order_id: int
    body: bytes

    @classmethod
    def of(cls, number: int, event: ShopEvent) -> Self:
        return cls(number, event.topic, event.order["id"], json.dumps(event.order).encode())


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that holds no order, and why not."""

    number: int
    why: str


def parse(number: int, text: bytes) -> OrderLine | BadLine:
    """ASCII JSON in the body, as WordPress writes it: so even a lone surrogate can be posted."""
    try:
        value = json.loads(text)
    except ValueError as error:
        return BadLine(number, f"not JSON: {error}")
    match value:
        case {"topic": str(topic), "order": {"id": int(order_id)} as order}:
            return OrderLine(number, topic, order_id, json.dumps(order, separators=(",", ":")).encode())
        case _:
            return BadLine(number, 'not a {"topic", "order"} object with an order id')


def decompressed(file: BinaryIO) -> BinaryIO:
    """By its first bytes: gzip, xz, or as it is."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.open(file))
    return cast("BinaryIO", lzma.open(file)) if magic == b"\xfd7zXZ\x00" else file


class OrderFile:
    """Iterate once over the lines after `skip`; empty lines count but yield nothing.

    `read` and `size` are in bytes as stored, compressed or not: how far we are without counting lines first.
    A damaged archive ends with a BadLine that says so.
    """

    def __init__(self, path: Path, *, skip: int = 0) -> None:
        self.path, self.size, self._skip = path, path.stat().st_size, skip
        self.read = 0

    def __iter__(self) -> Iterator[OrderLine | BadLine]:
        number = 0
        try:
            with self.path.open("rb") as stored, decompressed(stored) as lines:
                for number, text in enumerate(lines, start=1):
                    self.read = stored.tell()
                    if number > self._skip and text.strip():
                        yield parse(number, text)
        except DAMAGED as error:
            yield BadLine(number + 1, f"damaged archive: {error}")
