"""A delivery's states, and what moves it from one to the next.

pending → delivered | failed (fire and log) | retrying → … → delivered | exhausted, and suppressed where it is not
sent at all. Nothing here knows of leases: they only decide who may make the next move.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, assert_never
from uuid import UUID

from dispatcher import schedule
from dispatcher.classify import Delivered, GiveUp, Retry, Verdict
from dispatcher.endpoints import Mode, Target

Status = Literal["pending", "delivered", "failed", "retrying", "exhausted", "suppressed", "parked", "cancelled"]


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
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """The next state of a delivery."""

    status: Status
    reason: str | None = None
    wait: timedelta | None = None
    """Until the next attempt; None: there will be none."""
    disables: bool = False
    """Whether its endpoint, too, is at its end."""


NO_TARGET = Step("suppressed", "no_target")


def max_attempts(mode: Mode, delays: Sequence[float]) -> int:
    """One attempt; where retries are promised, one more per delay."""
    return 1 + len(delays) if mode == "retry" else 1


def suppressed(delivery: Delivery, target: Target | None, *, now: datetime, expire_after: timedelta) -> Step | None:
    """Why a delivery is not to be sent; None: send it."""
    if target is None:
        return NO_TARGET
    if not target.enabled:
        return Step("suppressed", "disabled")
    if delivery.mode == "fire_and_log" and delivery.recorded_at + expire_after < now:
        return Step("suppressed", "expired")
    return None


def after(delivery: Delivery, verdict: Verdict, *, delays: Sequence[float], jitter: float) -> Step:
    """The state after one more attempt."""
    match verdict:
        case Delivered():
            return Step("delivered")
        case GiveUp(reason):
            disables = delivery.mode == "retry" and delivery.endpoint_id is not None
            return Step(_undelivered(delivery), reason, disables=disables)
        case Retry():
            attempt = delivery.attempts + 1
            wait = schedule.wait(attempt, max_attempts=delivery.max_attempts, delays=delays, jitter=jitter)
            return Step("retrying", wait=wait) if wait is not None else Step(_undelivered(delivery))
        case _:
            assert_never(verdict)


def _undelivered(delivery: Delivery) -> Status:
    return "exhausted" if delivery.mode == "retry" else "failed"
