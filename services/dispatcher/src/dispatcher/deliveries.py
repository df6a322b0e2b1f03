"""A delivery's states, and what moves it from one to the next.

pending → delivered | failed (fire and log) | retrying → … → delivered | exhausted. A promised one waits as parked
while its endpoint is down. suppressed: not sent at all, and why; cancelled: somebody did not want it any more.
Nothing here knows of leases: they only decide who may make the next move. docs/delivery.md has the drawing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, assert_never
from uuid import UUID

from dispatcher import schedule
from dispatcher.breaker import HEALTHY, Breaker
from dispatcher.classify import Delivered, GiveUp, Retry, Verdict
from dispatcher.endpoints import Mode, Target

Status = Literal["pending", "delivered", "failed", "retrying", "exhausted", "suppressed", "parked", "cancelled"]
UNFINISHED: frozenset[Status] = frozenset({"pending", "retrying", "parked"})


@dataclass(frozen=True, slots=True)
class Delivery:
    """What stays the same over all attempts, and how many there were."""

    recorded_at: datetime
    """Of the event: with the id it names the row."""
    id: UUID
    store_id: UUID
    target_id: UUID
    endpoint_id: UUID | None
    """None where the rule action has a target of its own."""
    rule_id: UUID | None
    """None for settings webhooks."""
    event: str
    source_id: UUID
    """The event or automation whose body it carries."""
    shape: str
    """Which of that source's bodies."""
    email_hash: str
    sequence: int
    mode: Mode
    max_attempts: int
    """Grows by one with each attempt that is not counted: made while the endpoint was down, or asked for when none
    was left."""
    attempts: int = 0
    asked: bool = False
    """Somebody wants it made once more: no age and no outage keeps it back."""
    parked_until: datetime | None = None
    """Since its endpoint was found down: from then on it is given up."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the installation promises."""

    delays: Sequence[float] = (60, 120, 240)
    """Seconds before each retry."""
    park_for: timedelta = timedelta(hours=72)
    """How long an outage may last before what waits for its end is given up."""


@dataclass(frozen=True, slots=True)
class Step:
    """The next state of a delivery."""

    status: Status
    reason: str | None = None
    wait: timedelta | None = None
    """No attempt before it is over; None: there will be none."""
    until: datetime | None = None
    """Of a parked one: when it is given up."""
    disables: bool = False
    """Whether its endpoint, too, is at its end."""
    uncounted: bool = False
    """The attempt was made while the endpoint was down: it spends none of those that were promised."""

    @property
    def cause(self) -> str:
        """The reason without its particulars: there are few of them."""
        return (self.reason or "").partition(":")[0]


DOWN = "the endpoint is down"
DELIVERED = Step("delivered")
NO_TARGET = Step("suppressed", "no_target")
DISABLED = Step("suppressed", "disabled")
DUPLICATE = Step("suppressed", "duplicate")
ERASED = Step("cancelled", "erased")


def max_attempts(mode: Mode, delays: Sequence[float]) -> int:
    """One attempt; where retries are promised, one more per delay."""
    return 1 + len(delays) if mode == "retry" else 1


def suppressed(delivery: Delivery, target: Target | None, *, now: datetime, expire_after: timedelta) -> Step | None:
    """Why a delivery is not to be sent; None: send it."""
    if target is None:
        return NO_TARGET
    if not target.enabled:
        return DISABLED
    if delivery.mode == "fire_and_log" and not delivery.asked and delivery.recorded_at + expire_after < now:
        return Step("suppressed", "expired")
    return None


def parked(
    delivery: Delivery, *, now: datetime, rules: Rules, wait: timedelta = timedelta(0), uncounted: bool = False
) -> Step:
    """Waiting for its endpoint to come back; given up where it has waited long enough.

    `wait`: what it has to wait for anyway, promised or told. The end of the outage does not shorten it.
    """
    until = delivery.parked_until or now + rules.park_for
    if until <= now:
        return Step("exhausted", "expired", uncounted=uncounted)
    return Step("parked", DOWN, wait=wait, until=until, uncounted=uncounted)


def after(
    delivery: Delivery,
    verdict: Verdict,
    *,
    rules: Rules,
    jitter: float,
    now: datetime,
    before: Breaker = HEALTHY,
    breaker: Breaker = HEALTHY,
) -> Step:
    """The state after one more attempt, with its target's breaker before and after it."""
    match verdict:
        case Delivered():
            return DELIVERED
        case GiveUp(reason, gone):
            disables = gone and delivery.mode == "retry" and delivery.endpoint_id is not None
            return Step(_undelivered(delivery), reason, disables=disables)
        case Retry():
            if delivery.mode == "fire_and_log":
                return Step("failed")
            if before.is_open and breaker.is_open:
                return parked(delivery, now=now, rules=rules, wait=verdict.floor, uncounted=True)
            left = delivery.max_attempts - delivery.attempts - 1
            wait = schedule.wait(left, delays=rules.delays, jitter=jitter, floor=verdict.floor)
            if wait is None:
                return Step("exhausted")
            return parked(delivery, now=now, rules=rules, wait=wait) if breaker.is_open else Step("retrying", wait=wait)
        case _:
            assert_never(verdict)


def _undelivered(delivery: Delivery) -> Status:
    return "exhausted" if delivery.mode == "retry" else "failed"
