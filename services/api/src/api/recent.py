"""What was read a moment ago, so that not every request reads it again."""

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MAX_ENTRIES = 10_000
"""Beyond it everything is forgotten and read again: a guard against made-up keys, not a tuning knob."""


class Recent(Generic[K, V]):
    """Values by key, none older than `max_age` seconds."""

    def __init__(
        self, read: Callable[[K], Awaitable[V]], *, max_age: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._max_age = max_age
        self._clock = clock
        self._found: dict[K, tuple[float, V]] = {}

    async def get(self, key: K) -> V:
        asked_at = self._clock()
        found = self._found.get(key)
        if found is not None and asked_at - found[0] < self._max_age:
            return found[1]
        value = await self._read(key)
        if len(self._found) >= MAX_ENTRIES:
            self._found.clear()
        self._found[key] = (asked_at, value)
        return value

    def forget(self, key: K) -> None:
        """It has changed: whoever asks next reads it."""
        self._found.pop(key, None)
