"""Who goes next: one lane per target, first in, first out, at most `cap` of each in flight, targets in turn.

A lane holds at most twice its cap, from waiting until recorded: what does not fit stays in the database.
"""

from collections import defaultdict, deque
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")


class Lanes(Generic[T]):
    """A place is taken, used with `put`, and given back in the end; `next` starts an item, `landed` ends its flight."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._held: defaultdict[UUID, int] = defaultdict(int)
        self._in_flight: defaultdict[UUID, int] = defaultdict(int)
        self._waiting: defaultdict[UUID, deque[T]] = defaultdict(deque)
        self._turns: deque[UUID] = deque()

    def free(self, target: UUID) -> int:
        """How many places a target's lane has left."""
        return 2 * self._cap - self._held.get(target, 0)

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
        if len(self._waiting[target]) == 1 and self._in_flight.get(target, 0) < self._cap:
            self._turns.append(target)

    def next(self) -> tuple[UUID, T] | None:
        """The item that may start now, counted as in flight; None while all must wait."""
        if not self._turns:
            return None
        target = self._turns.popleft()
        item = self._waiting[target].popleft()
        self._in_flight[target] += 1
        if self._may_start(target):
            self._turns.append(target)
        return target, item

    def landed(self, target: UUID) -> None:
        """An item is no longer in flight; it keeps its place until that is given back."""
        was_full = self._in_flight[target] == self._cap
        self._in_flight[target] -= 1
        if not self._in_flight[target]:
            del self._in_flight[target]
        if was_full and self._waiting[target]:
            self._turns.append(target)

    def clear(self) -> list[T]:
        """Take out everything that has not started, its places given back."""
        unstarted = [(target, item) for target, waiting in self._waiting.items() for item in waiting]
        for waiting in self._waiting.values():
            waiting.clear()
        self._turns.clear()
        for target, _ in unstarted:
            self.give_back(target)
        return [item for _, item in unstarted]

    def _may_start(self, target: UUID) -> bool:
        return bool(self._waiting[target]) and self._in_flight[target] < self._cap
