"""A signal: points with the reason a support agent can read aloud, and the ids that caused it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signal:
    module: str
    points: int
    reason: str
    evidence: tuple[int, ...] = ()
    """Order ids, the latest first, at most 20."""
