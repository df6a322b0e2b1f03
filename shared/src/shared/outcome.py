"""What became of a message. Only the consumer turns an outcome into an ack or a dead letter."""

from dataclasses import dataclass
from typing import Literal

Reason = Literal["unparseable", "rejected", "poison"]


@dataclass(frozen=True, slots=True)
class Done:
    """Its effect is committed, or it had none to have."""


@dataclass(frozen=True, slots=True)
class Dead:
    """It can never be processed: a copy goes to the dead queue with the reason."""

    reason: Reason
    error: str


Outcome = Done | Dead
