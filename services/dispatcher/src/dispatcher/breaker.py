"""An endpoint's breaker: whether it is down, when it is probed, and how long it wants to be left alone."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from dispatcher.classify import Answer, slows

OPENS_AT = 5
"""Failures in a row, of at least two deliveries: so one delivery alone always gets its four attempts."""
PROBES = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 4, 8, 15))
"""Waits before probes; the last one repeats."""
PROBE_TIME = timedelta(minutes=1)
"""How long a probe under way keeps others from being started: longer than the longest timeout."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """As the database has it; an endpoint in good health has none."""

    failures: int = 0
    """In a row."""
    failing: tuple[UUID, ...] = ()
    """Deliveries that failed in that row: two at most are remembered."""
    opened_at: datetime | None = None
    probes: int = 0
    """Failed ones, since it opened."""
    probe_at: datetime | None = None
    """When the next one may start."""
    slow_until: datetime | None = None
    """The endpoint asked not to be called before."""

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    @property
    def next_probe_at(self) -> datetime | None:
        """No probe before; None: it is not down."""
        times = (self.probe_at, self.slow_until)
        return max(filter(None, times), default=None) if self.is_open else None

    def probe_due(self, now: datetime) -> bool:
        return self.probe_at is not None and self.probe_at <= now and not self.is_slow(now)

    def is_slow(self, now: datetime) -> bool:
        return self.slow_until is not None and self.slow_until > now


HEALTHY = Breaker()


def after(breaker: Breaker, delivery_id: UUID, answer: Answer, *, now: datetime, probe: bool = False) -> Breaker:
    """The breaker after one more answer. Any answer that is no outage closes it, be it 4xx.

    `probe`: it was sent to see whether the endpoint is back. What was in flight when it went down says nothing new.
    """
    wait = slows(answer, now=now)
    slow_until = breaker.slow_until if breaker.is_slow(now) else None
    if wait is not None:
        slow_until = max(now + wait, slow_until or now)
    if not answer.is_down:
        return Breaker(slow_until=slow_until) if slow_until else HEALTHY
    failing = breaker.failing if delivery_id in breaker.failing else (*breaker.failing, delivery_id)[-2:]
    failed = replace(breaker, failures=breaker.failures + 1, failing=failing, slow_until=slow_until)
    if breaker.is_open:
        probes = breaker.probes + probe
        return replace(failed, probes=probes, probe_at=now + _wait(probes) if probe else breaker.probe_at)
    if failed.failures >= OPENS_AT and len(failing) > 1:
        return replace(failed, opened_at=now, probes=0, probe_at=now + _wait(0))
    return failed


def probing(breaker: Breaker, *, now: datetime) -> Breaker:
    """With a probe under way."""
    return replace(breaker, probe_at=now + PROBE_TIME)


def _wait(probes: int) -> timedelta:
    return PROBES[min(probes, len(PROBES) - 1)]
