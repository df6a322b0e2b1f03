"""When the next attempt is due. Waits are counted by the database's clock, from the commit of the last attempt."""

from collections.abc import Sequence
from datetime import timedelta

JITTER = 0.1
"""Share of the wait that is added at most, so that what failed together does not return together."""


def wait(attempt: int, *, max_attempts: int, delays: Sequence[float], jitter: float) -> timedelta | None:
    """How long after attempt number `attempt` the next is due; None: there is none.

    `jitter` is from 0 to 1 and only lengthens the wait: nothing is ever sent earlier than promised.
    """
    if attempt >= max_attempts:
        return None
    promised = delays[min(attempt, len(delays)) - 1]
    return timedelta(seconds=promised * (1 + JITTER * jitter))
