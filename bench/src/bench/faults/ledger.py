"""What was posted and what came back, what arrived at the receiver, and what was done to the system meanwhile.

Kept outside the system, from what anybody outside can see.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.faults.orders import Version

ACCEPTED = frozenset({200, 202})


@dataclass(frozen=True, slots=True)
class Answer:
    """To one try."""

    at: float
    """Unix seconds."""
    status: int | None
    """None: there was none; whether it was stored, nobody knows."""
    input_id: str = ""
    """With 202."""


@dataclass(slots=True)
class Posted:
    """One webhook, with the answers to all its tries. It is tried until it is accepted."""

    version: Version
    digest: bytes
    """sha256 of its body."""
    answers: list[Answer] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"order {self.version.order_id} version {self.version.number}"

    @property
    def accepted(self) -> bool:
        return any(answer.status in ACCEPTED for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request at the receiver."""

    at: float
    """Unix seconds."""
    path: str
    delivery: str
    event: str
    customer: str
    """email_hash"""
    sequence: int | None
    order_id: int | None
    digest: bytes
    """sha256 of its body."""
    verified: bool
    status: int | None
    """Answered; None: never."""
    tells: Mapping[str, Any]
    """The customer, as the body has it."""

    @property
    def taken(self) -> bool:
        return self.verified and self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Window:
    """Something was broken from `begin` until `end`, in Unix seconds."""

    what: str
    begin: float
    end: float

    def touches(self, begin: float, end: float) -> bool:
        return self.begin <= end and begin <= self.end


@dataclass(frozen=True, slots=True)
class Drain:
    """A process that was asked to stop."""

    replica: str
    seconds: float
    code: int
    """Of its exit; negative: the signal that ended it."""


@dataclass(slots=True)
class Ledger:
    posted: list[Posted] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    drains: list[Drain] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """Processes that ended though nobody ended them, each with its exit code."""

    @property
    def answers(self) -> Counter[str]:
        """How often each status was answered."""
        return Counter(str(a.status or "none") for posted in self.posted for a in posted.answers)

    @property
    def outages(self) -> list[Window]:
        """Times in which deliveries could not be received."""
        return [window for window in self.windows if window.what.startswith("receiver")]


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def lines(ledger: Ledger) -> Iterable[str]:
    """One JSON object each, to look into afterwards."""
    for posted in ledger.posted:
        answers = [[answer.at, answer.status, answer.input_id] for answer in posted.answers]
        yield _line("posted", {"name": posted.name, "customer": posted.version.customer, "answers": answers})
    for arrival in ledger.arrivals:
        yield _line("arrival", asdict(arrival) | {"digest": arrival.digest.hex()})
    kept: Sequence[Window | Drain] = [*ledger.windows, *ledger.drains]
    for one in kept:
        yield _line(type(one).__name__.lower(), asdict(one))


def _line(kind: str, fields: Mapping[str, Any]) -> str:
    return json.dumps({"kind": kind, **fields})
