"""A signal: points with the reason a support agent can read aloud, and the ids that caused it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signal:
    module: str
    points: int
    reason: str
    """A sentence."""
    evidence: tuple[int | str, ...] = ()
    """Order ids (numbers), dispute ids, or the hashes of linked customers, the latest or worst first, at most 20."""
