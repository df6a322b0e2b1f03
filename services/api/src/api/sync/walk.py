"""Through a list of a store's, page by page, so that no row slips through and none is read twice.

Pages are asked for in the order of ids and begin a few rows before what is new. So a page shows that it follows the one
before: rows that were deleted meanwhile, or added, move all that come after them, and a page that is short, or that
something between us and the store repeats, is no reason to take it for the next one, or for the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

PER_PAGE = 100
"""The most that wc/v3 gives."""
OVERLAP = 10
"""Rows that a page is to have in common with what was read."""
PATIENCE = 20
"""Answers in a row that bring nothing, until a list is taken to contradict itself."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where to go on."""

    offset: int = 0
    """To ask for next."""
    tail: tuple[int, ...] = ()
    """The last ids that were read, rising: at most OVERLAP of them."""
    idle: int = 0
    """Answers in a row that brought nothing."""
    doubted: tuple[int, ...] = ()
    """The latest answer that brought nothing, as (offset, ids…): the same once more is true."""
    beyond: bool = False
    """Nothing that is shown to us follows the tail in the page before, though the store counts more."""

    @property
    def last(self) -> int:
        return self.tail[-1] if self.tail else 0


@dataclass(frozen=True, slots=True)
class Turn:
    """What one answer brought. Its zero value: nothing, and there is no more."""

    fresh: frozenset[int] = frozenset()
    """Ids that were not read before."""
    cursor: Cursor | None = None
    """None: that was all."""


def turn(cursor: Cursor, ids: Sequence[int], total: int | None = None) -> Turn:
    """`ids`: rising. `total`: how many rows there are, as the store counts them; None: it does not say."""
    fresh = [row for row in ids if row > cursor.last]
    if fresh and (cursor.offset == 0 or ids[0] <= cursor.last or cursor.beyond):
        return _taken(cursor, ids, fresh)
    if fresh:
        return _sought(cursor, cursor.offset - PER_PAGE)
    if _is_end_of_tail(ids, cursor) or (cursor.offset == 0 and not ids) or (cursor.beyond and not ids):
        return _nothing_behind(cursor, total)
    if cursor.doubted != (seen := (cursor.offset, *ids)):
        return Turn(cursor=Cursor(cursor.offset, cursor.tail, cursor.idle + 1, doubted=seen))
    return _sought(cursor, _after(cursor, ids))


def _taken(cursor: Cursor, ids: Sequence[int], fresh: Sequence[int]) -> Turn:
    tail = (*cursor.tail, *fresh)[-OVERLAP:]
    return Turn(frozenset(fresh), Cursor(max(cursor.offset + len(ids) - len(tail), 0), tail))


def _is_end_of_tail(ids: Sequence[int], cursor: Cursor) -> bool:
    return bool(ids) and tuple(ids) == cursor.tail[-len(ids) :]


def _nothing_behind(cursor: Cursor, total: int | None) -> Turn:
    """The end, unless the store counts more rows than the page could show: those here, this key may not read."""
    if total is None or total <= cursor.offset + PER_PAGE or cursor.idle >= PATIENCE:
        return Turn()
    offset = cursor.offset + PER_PAGE - OVERLAP
    return Turn(cursor=Cursor(offset, cursor.tail, cursor.idle + 1, beyond=True))


def _after(cursor: Cursor, ids: Sequence[int]) -> int:
    """Where to look instead of where nothing new was, twice: rows were deleted, or added, before us."""
    if not ids:
        return cursor.offset - PER_PAGE
    return cursor.offset + max(len(ids) - (1 if ids[-1] == cursor.last else OVERLAP), 1)


def _sought(cursor: Cursor, offset: int) -> Turn:
    return Turn(cursor=Cursor(max(offset, 0), cursor.tail, cursor.idle + 1))
