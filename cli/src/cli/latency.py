"""How long an order takes to become a POST at the receiver.

A delivery's latency is the time it was received minus the time its cause was posted to the ingest URL (the start
of the try that was answered). The cause is:

- for high_risk_order, the first post of its order, since only a new order makes one;
- for another delivery with an order id, the last post of that order before the delivery came;
- for the rest (score_updated and the like), the customer's last post before it came.

"Last before" is the latest possible cause, so a customer who orders again while a delivery is under way makes that
one look quicker than it was. Deliveries without such a post have no latency.
"""

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence

from cli.receiver import Received


class PostTimes:
    """When which order of which customer was posted, in Unix seconds."""

    def __init__(self) -> None:
        self._by_order: defaultdict[int, list[float]] = defaultdict(list)
        self._by_email: defaultdict[str, list[float]] = defaultdict(list)

    def note(self, *, order_id: int, email: str, at: float) -> None:
        insort(self._by_order[order_id], at)
        insort(self._by_email[email.lower()], at)

    def latency(self, received: Received) -> float | None:
        """Seconds, by the definition above."""
        posted = self._cause(received)
        return None if posted is None else received.received_at - posted

    def _cause(self, received: Received) -> float | None:
        if received.order_id is None:
            return _last_before(self._by_email.get((received.email or "").lower(), ()), received.received_at)
        of_order = self._by_order.get(received.order_id, ())
        if received.event == "high_risk_order":
            return next(iter(of_order), None)
        return _last_before(of_order, received.received_at)


def _last_before(times: Sequence[float], moment: float) -> float | None:
    place = bisect_left(times, moment)
    return times[place - 1] if place else None


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The nearest-rank percentile: a value that occurred, never one in between; None of nothing."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1] if ordered else None
