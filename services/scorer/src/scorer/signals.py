"""A signal: points with the reason a support agent can read aloud, and the ids that caused it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

MOST_EVIDENCE = 20


@dataclass(frozen=True, slots=True)
class Signal:
    module: str
    points: int
    """0: a note, which tells and does not count."""
    reason: str
    """A sentence."""
    evidence: tuple[int | str, ...] = ()
    """Order ids (numbers), dispute ids, or the hashes of linked customers, the latest or worst first, at most 20."""


def weighted(points: int, weight: float) -> int:
    """Points as they count, rounded toward zero. -20 times 1.15 is -23, though binary fractions make it -22.999."""
    return points if weight == 1 else int(round(points * weight, 9))


def capped(signals: Iterable[Signal], lowest: int, kind: str, weight: float) -> Iterable[Signal]:
    """Signals without praise until they add up to `lowest`: the one that passes it is cut, the rest is left out.

    What is said of the limit is said with the `weight` that is still to come.
    """
    left = lowest
    for signal in signals:
        if left == 0:
            return
        if signal.points < left:
            told = f"{signal.reason} All {kind} together cost at most {-weighted(lowest, weight)} points."
            yield replace(signal, points=left, reason=told)
            return
        yield signal
        left -= signal.points


def counted(number: int, noun: str) -> str:
    """`1 order`, `2 orders`."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def day(at: datetime) -> str:
    """`5 June 2026`, in UTC."""
    return f"{at.day} {MONTHS[at.month - 1]} {at.year}"


MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
"""Not strftime's, which follow the locale of the process."""
