"""What an answer means for its delivery, and what it says of the endpoint behind it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

Phase = Literal["dns", "connect", "tls", "write", "first_byte", "body"]
"""Where a request failed."""

GONE = 410
SLOW = frozenset({429, 503})
"""Answers that ask for less: their Retry-After holds for the whole endpoint."""
LONGEST_TOLD = timedelta(hours=24)
"""A receiver that asks for more is asked again after a day."""
UNTOLD = timedelta(seconds=1)
"""How long an endpoint that asks for less without saying how much is left alone."""


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
    retry_after: str | None = None
    """The header as it came, at most 100 characters."""
    final: str | None = None
    """Why no other attempt can do better, in words: the order is cancelled already, the credentials are wrong."""

    @property
    def complaint(self) -> str | None:
        """What was wrong with it, in words; None if nothing was."""
        delivered = (
            self.phase is None
            and self.final is None
            and self.status_code is not None
            and 200 <= self.status_code <= 299
        )
        return None if delivered else self.final or self.error or f"answered {self.status_code}"

    @property
    def words(self) -> str | None:
        """For the delivery log: what was wrong, or what is to be said though nothing was (already on hold)."""
        return self.complaint or self.error

    @property
    def is_down(self) -> bool:
        """Whether it looks like an outage: no answer at all, or the other side's own trouble (5xx).

        Who refuses for good, as mail servers do with 5xx, is up.
        """
        troubled = self.status_code is not None and self.status_code >= 500
        return self.phase is not None or (troubled and self.final is None)


@dataclass(frozen=True, slots=True)
class Delivered:
    pass


@dataclass(frozen=True, slots=True)
class Retry:
    floor: timedelta = timedelta(0)
    """The receiver asked not to be called again before."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str
    gone: bool = False
    """The endpoint itself is at its end."""


Verdict = Delivered | Retry | GiveUp


def classify(answer: Answer, *, now: datetime, permanent: Collection[int] = ()) -> Verdict:
    """Every transport failure and every status but 2xx counts as a failure; 410 is the last.

    `permanent`: statuses that this endpoint's owner wants no retries after.
    """
    match answer:
        case Answer(complaint=None):
            return Delivered()
        case Answer(final=str(reason)):
            return GiveUp(reason)
        case Answer(phase=None, status_code=status) if status == GONE:
            return GiveUp("gone", gone=True)
        case Answer(phase=None, status_code=int(status)) if status in permanent:
            return GiveUp(f"permanent: {status}")
        case _:
            return Retry(told_wait(answer.retry_after, now) or timedelta(0))


def slows(answer: Answer, *, now: datetime) -> timedelta | None:
    """How long the whole endpoint is to be left alone; None: it did not ask for that."""
    if answer.phase is not None or answer.status_code not in SLOW:
        return None
    told = told_wait(answer.retry_after, now)
    return UNTOLD if told is None else told


def told_wait(retry_after: str | None, now: datetime) -> timedelta | None:
    """A Retry-After header, in seconds or as a date (RFC 9110 §10.2.3). None: there is none, or it says nothing."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=min(int(text[:12]), 10**9)), LONGEST_TOLD)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:  # the form of asctime, which is UTC (RFC 9110 §5.6.7)
        at = at.replace(tzinfo=UTC)
    return min(max(at - now, timedelta(0)), LONGEST_TOLD)
