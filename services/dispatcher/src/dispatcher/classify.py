"""What an answer means for its delivery."""

from dataclasses import dataclass
from typing import Literal

Phase = Literal["dns", "connect", "tls", "write", "first_byte", "body"]
"""Where a request failed."""

GONE = 410


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request came to. With a `phase` it failed there, whatever the status; else it has a status."""

    duration_ms: int
    status_code: int | None = None
    phase: Phase | None = None
    error: str | None = None
    """In words, for the delivery log."""
    address: str | None = None
    body: bytes = b""
    """The first bytes of it."""

    @property
    def complaint(self) -> str | None:
        """What was wrong with it, in words; None if nothing was."""
        delivered = self.phase is None and self.status_code is not None and 200 <= self.status_code <= 299
        return None if delivered else self.error or f"answered {self.status_code}"


@dataclass(frozen=True, slots=True)
class Delivered:
    pass


@dataclass(frozen=True, slots=True)
class Retry:
    pass


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


Verdict = Delivered | Retry | GiveUp


def classify(answer: Answer) -> Verdict:
    """Every transport failure and every status but 2xx counts as a failure; 410 is the last."""
    match answer:
        case Answer(complaint=None):
            return Delivered()
        case Answer(phase=None, status_code=status) if status == GONE:
            return GiveUp("gone")
        case _:
            return Retry()
