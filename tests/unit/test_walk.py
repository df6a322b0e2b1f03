"""A store's list is read whole and once, whatever its pages are like and whatever changes while it is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sync.walk import OVERLAP, PATIENCE, PER_PAGE, Cursor, turn


@dataclass
class List:
    """A store's, with what is wrong with its answers, one entry for each."""

    rows: list[int]
    quirks: list[str] = field(default_factory=list)
    before: Sequence[int] | None = None
    hidden: frozenset[int] = frozenset()

    def page(self, offset: int) -> Sequence[int]:
        quirk = self.quirks.pop(0) if self.quirks else ""
        if quirk == "repeat" and self.before is not None:
            return self.before
        if quirk == "delete" and self.rows:
            del self.rows[: OVERLAP * 2]
        window = self.rows[offset : offset + PER_PAGE]
        shown = [row for row in window if row not in self.hidden]
        self.before = shown[: -len(quirk)] if quirk.startswith("s") and len(window) == PER_PAGE else shown
        return self.before


def read(store: List, *, counted: bool = True) -> tuple[list[int], int]:
    """All ids in the order in which they came, and how many answers that took."""
    cursor: Cursor | None = Cursor()
    came: list[int] = []
    answers = 0
    while cursor:
        done = turn(cursor, store.page(cursor.offset), len(store.rows) if counted else None)
        came += sorted(done.fresh)
        cursor = done.cursor
        answers += 1
        assert not cursor or cursor.idle <= PATIENCE
    return came, answers


@pytest.mark.parametrize(("rows", "answers"), [(0, 1), (1, 2), (99, 2), (100, 2), (101, 3), (190, 3), (1000, 12)])
def test_a_list_without_quirks_takes_hardly_more_answers_than_pages(rows: int, answers: int) -> None:
    assert read(List(list(range(1, rows + 1)))) == (list(range(1, rows + 1)), answers)


QUIRKS = st.lists(st.sampled_from(["", "", "repeat", "s" * 3, "s" * 80]), max_size=12)


@given(rows=st.sets(st.integers(1, 10_000), max_size=420), quirks=QUIRKS, counted=st.booleans())
def test_pages_that_come_twice_or_are_short_change_nothing(rows: set[int], quirks: list[str], counted: bool) -> None:
    assert read(List(sorted(rows), quirks), counted=counted)[0] == sorted(rows)


@given(
    rows=st.sets(st.integers(1, 10_000), min_size=1, max_size=600),
    quirks=st.lists(st.sampled_from(["", "delete", "sss"]), max_size=8),
)
def test_of_what_is_still_there_nothing_is_missed_when_rows_are_deleted_meanwhile(
    rows: set[int], quirks: list[str]
) -> None:
    store = List(sorted(rows), quirks)
    came, _ = read(store)
    assert set(store.rows) <= set(came) <= rows
    assert came == sorted(set(came))


@given(st.sets(st.integers(1, 700), max_size=300))
def test_rows_that_the_key_may_not_read_hide_no_others(hidden: set[int]) -> None:
    came, _ = read(List(list(range(1, 701)), hidden=frozenset(hidden)))
    assert came == [row for row in range(1, 701) if row not in hidden]


def test_a_whole_page_that_is_hidden_is_not_the_end() -> None:
    came, _ = read(List(list(range(1, 501)), hidden=frozenset(range(50, 380))))
    assert came == [*range(1, 50), *range(380, 501)]


def test_rows_added_before_what_was_read_are_not_taken_for_new_ones_and_hide_none() -> None:
    store = List(list(range(1000, 1250)))
    first = turn(Cursor(), store.page(0))
    assert first.cursor
    store.rows = sorted([*store.rows, *range(1, 60)])
    cursor: Cursor | None = first.cursor
    came = set(first.fresh)
    while cursor:
        done = turn(cursor, store.page(cursor.offset))
        came |= done.fresh
        cursor = done.cursor
    assert came == set(range(1000, 1250))


def test_a_list_that_gives_the_same_page_for_ever_is_told_by_its_idle_answers() -> None:
    cursor = turn(Cursor(), range(1, 101), 500).cursor
    for _ in range(PATIENCE + 1):
        assert cursor
        cursor = turn(cursor, range(1, 101), 500).cursor
    assert cursor
    assert cursor.idle > PATIENCE
