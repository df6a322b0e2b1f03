"""What became of a fired rule's actions, in words: they live on as deliveries, and as commands to the scorer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from uuid import UUID

from shared.events import CUSTOMER_ACTIONS

KEPT = timedelta(days=7)
"""The shortest time that the dispatcher and the scorer can be set to remember what they did."""


@dataclass(frozen=True, slots=True)
class Made:
    """The delivery that an action became."""

    id: UUID
    status: str
    reason: str | None
    attempts: int
    last_status_code: int | None
    last_error: str | None
    duration_ms: int | None
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Answered:
    """What the scorer answered to an action's command."""

    problem: str | None = None
    """Why it was refused. None: it was done."""


@dataclass(frozen=True, slots=True)
class Result:
    """`status`: a delivery's, or done, failed, pending, unknown."""

    status: str
    detail: str


def result(action: str, became: Made | Answered | None, *, fired_at: datetime, now: datetime) -> Result:
    match became:
        case Made():
            return Result(became.status, _of_delivery(became, now))
        case Answered(problem=None):
            return Result("done", "done")
        case Answered(problem=problem):
            return Result("failed", f"failed: {problem}")
        case None if fired_at + KEPT < now:
            return Result("unknown", "no longer kept")
        case None:
            return Result("pending", f"waiting for the {'scorer' if action in CUSTOMER_ACTIONS else 'dispatcher'}")


def _of_delivery(made: Made, now: datetime) -> str:
    match made.status:
        case "delivered":
            return f"delivered {made.last_status_code} in {made.duration_ms} ms{_after(made)}{_because(made)}"
        case "retrying":
            return f"retrying, next {_wait(made, now)}{_because(made)}"
        case "pending":
            return "waiting to be sent"
        case "failed" | "exhausted":
            return f"failed{_after(made)}: {made.last_error or _why(made)}"
        case "suppressed":
            return f"not sent: {_why(made)}"
        case status:
            return f"{status}: {_why(made)}"


def _after(made: Made) -> str:
    return f" after {made.attempts} attempts" if made.attempts > 1 else ""


def _because(made: Made) -> str:
    """What was wrong with the last attempt, or what is to be said though nothing was: already on hold."""
    return f": {made.last_error}" if made.last_error else ""


def _wait(made: Made, now: datetime) -> str:
    left = ceil((made.due_at - now).total_seconds()) if made.due_at else 0
    return f"in {left} s" if left > 0 else "any moment"


_WHY: Mapping[str | None, str] = {
    "no_target": "its target is not there any more",
    "disabled": "its endpoint is switched off",
    "expired": "its endpoint was down for too long",
    "erased": "the customer was erased",
    None: "nobody said why",
}


def _why(made: Made) -> str:
    """The log's reason, in a sentence where it is only a name there."""
    return _WHY.get(made.reason, made.reason or "")


def problem(refusal: Mapping[str, object]) -> str:
    """A refusal as one sentence; one of bad fields says what is wrong with each."""
    match refusal.get("params"):
        case {**params} if params:
            return "; ".join(f"{name} {told}" for name, told in params.items())
        case _:
            return str(refusal.get("message", ""))
