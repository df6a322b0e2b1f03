"""When a scorer committed how many facts, batch by batch: what rates are read from."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Self

from bench import stack
from bench.stack import Track


@dataclass(frozen=True, slots=True)
class Commits:
    """One a batch, in the order of time."""

    at: Sequence[float]
    """Seconds."""
    facts: Sequence[int]
    """Committed so far, this batch among them."""

    @classmethod
    def of(cls, batches: Iterable[tuple[float, int]]) -> Self:
        """From (when, facts of the batch)."""
        at, counts = zip(*sorted(batches), strict=True)
        return cls(at, list(accumulate(counts)))

    def micros(self, after: int = 0, upto: int | None = None) -> float:
        """What a fact took between the commit that made it `after` facts and the one that made it `upto` (all).

        So the first batch of all, which waits for what a process does once, is never counted.
        """
        first, last = self._index(after), self._index(self.facts[-1] if upto is None else upto)
        return 1e6 * (self.at[last] - self.at[first]) / max(self.facts[last] - self.facts[first], 1)

    def steps(self, size: int) -> list[float]:
        """Seconds for each further `size` facts."""
        ends = [self._index(count) for count in range(size, self.facts[-1] + 1, size)]
        return [self.at[end] - self.at[begin] for begin, end in pairwise([0, *ends])]

    def _index(self, facts: int) -> int:
        return bisect_left(self.facts, facts)


async def read(track: Track) -> Commits:
    """Of all facts on this track, as their outcomes tell."""
    async with stack.connected(track) as pool:
        rows = await pool.fetch(
            "SELECT extract(epoch FROM at)::float8 AS at, count(*) AS facts FROM scorer.input_outcomes GROUP BY at"
        )
    return Commits.of((row["at"], row["facts"]) for row in rows)
