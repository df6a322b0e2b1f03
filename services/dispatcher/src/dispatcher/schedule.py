"""When the next attempt is due. Waits are counted from when the answer of the last one was recorded."""

from collections.abc import Sequence
from datetime import timedelta

JITTER = 0.1
"""Share of the wait that is added at most, so that what failed together does not return together."""
RAMP_FIRST = 4
"""Deliveries in the first second after an outage; each second doubles what was let out before."""


def wait(left: int, *, delays: Sequence[float], jitter: float, floor: timedelta = timedelta(0)) -> timedelta | None:
    """How long after a failure with `left` attempts to go the next is due; None: there is none.

    `jitter` is from 0 to 1 and only lengthens the wait, `floor` is what the receiver asked for: nothing is ever sent
    earlier than promised or told.
    """
    if left <= 0:
        return None
    promised = delays[max(len(delays) - left, 0)]
    return max(timedelta(seconds=promised), floor) * (1 + JITTER * jitter)
