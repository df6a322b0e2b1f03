"""Who goes next: one lane per target, first in, first out, at most `cap` of each in flight, targets in turn.

The cap adapts: halved by what shows that a target has too much (a time-out, 429), up by one with each success.
A lane holds at most twice its cap, from waiting until recorded: what does not fit stays in the database.
"""

from collections import defaultdict, deque
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")


class Lanes(Generic[T]):
    """A place is taken, used with `put`, and given back in the end; `next` starts an item, `landed` ends its flight."""

    def __init__(self, cap: int) -> None:
        self._most = cap
        self._caps: dict[UUID, int] = {}
        self._pinned: set[UUID] = set()
        self._held: defaultdict[UUID, int] = defaultdict(int)
        self._in_flight: defaultdict[UUID, int] = defaultdict(int)
        self._waiting: defaultdict[UUID, deque[T]] = defaultdict(deque)
        self._turns: deque[UUID] = deque()
        self._in_turn: set[UUID] = set()

    def cap(self, target: UUID) -> int:
        """How many of a target may be in flight."""
        return self._caps.get(target, self._most)

    def pin(self, target: UUID) -> None:
        """One at a time, for good."""
        self._pinned.add(target)
        self._caps[target] = 1

    def free(self, target: UUID) -> int:
        """How many places a target's lane has left."""
        return 2 * self.cap(target) - self._held.get(target, 0)

    def half_free(self, target: UUID) -> bool:
        """Whether it pays to look for more: there is room for as many as may be in flight."""
        return self.free(target) >= self.cap(target)

    def take(self, target: UUID) -> bool:
        """Take a place, if there is one."""
        if self.free(target) <= 0:
            return False
        self._held[target] += 1
        return True

    def give_back(self, target: UUID) -> None:
        """Give up a place that was taken."""
        self._held[target] -= 1
        if not self._held[target]:
            del self._held[target]
            self._waiting.pop(target, None)

    def put(self, target: UUID, item: T) -> None:
        """Queue an item in a place taken before."""
        self._waiting[target].append(item)
        self._line_up(target)

    def next(self) -> tuple[UUID, T] | None:
        """The item that may start now, counted as in flight; None while all must wait."""
        if not self._turns:
            return None
        target = self._turns.popleft()
        self._in_turn.discard(target)
        item = self._waiting[target].popleft()
        self._in_flight[target] += 1
        self._line_up(target)
        return target, item

    def landed(self, target: UUID) -> None:
        """An item is no longer in flight; it keeps its place until that is given back."""
        self._in_flight[target] -= 1
        if not self._in_flight[target]:
            del self._in_flight[target]
        self._line_up(target)

    def widen(self, target: UUID) -> None:
        """A success: one more at once, up to what every target begins with."""
        if target in self._caps and target not in self._pinned:
            self._caps[target] += 1
            if self._caps[target] >= self._most:
                del self._caps[target]
            self._line_up(target)

    def narrow(self, target: UUID) -> None:
        """A sign of too much: half as many at once, one at least."""
        self._caps[target] = max(self.cap(target) // 2, 1)
        if target in self._in_turn and not self._may_start(target):
            self._turns.remove(target)
            self._in_turn.discard(target)

    def clear(self) -> list[T]:
        """Take out everything that has not started, its places given back."""
        unstarted = [(target, item) for target, waiting in self._waiting.items() for item in waiting]
        for waiting in self._waiting.values():
            waiting.clear()
        self._turns.clear()
        self._in_turn.clear()
        for target, _ in unstarted:
            self.give_back(target)
        return [item for _, item in unstarted]

    def _line_up(self, target: UUID) -> None:
        """A target stands in line once, while something of it may start."""
        if target not in self._in_turn and self._may_start(target):
            self._turns.append(target)
            self._in_turn.add(target)

    def _may_start(self, target: UUID) -> bool:
        return bool(self._waiting.get(target)) and self._in_flight.get(target, 0) < self.cap(target)
