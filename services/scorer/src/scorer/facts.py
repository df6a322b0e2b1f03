"""What happened: versions of orders, whichever way round they arrive, and what each newer one tells.

A store sends the state of an order, not its history. So each version is ranked, the highest wins, and what
happened follows from comparing it with the version before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal
from uuid import UUID

from shared.events import EventType, Fact, Order, OrderInfo, Refund

NOT_PLACED = frozenset({"checkout-draft", "trash"})
"""The shopper has not ordered yet (the block checkout's draft), or nobody can see the order any more."""

_STATUS_RANKS = {
    "checkout-draft": 0,
    "pending": 1,
    "failed": 2,
    "on-hold": 3,
    "processing": 4,
    "completed": 6,
    "cancelled": 7,
    "refunded": 8,
    "trash": 9,
}
_CUSTOM_STATUS_RANK = 5
"""Shops add steps between payment and completion."""

Rank = tuple[datetime, int, int, bytes]
Result = Literal["applied", "unchanged", "stale"]


@dataclass(frozen=True, slots=True)
class Stored:
    """The winning version of an order, as far as a newer one is compared with it."""

    email_hash: str | None
    status: str
    modified_at: datetime
    digest: bytes
    announced: bool
    refund_ids: frozenset[int]

    @property
    def rank(self) -> Rank:
        return _rank(self.modified_at, len(self.refund_ids), self.status, self.digest)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One version of an order that a fact brought."""

    fact_id: UUID
    store_id: UUID
    order: Order
    email_hash: str | None
    digest: bytes

    @property
    def rank(self) -> Rank:
        return _rank(self.order.modified_at, len(self.order.refunds), self.order.status, self.digest)

    def stored(self, *, announced: bool) -> Stored:
        return Stored(
            email_hash=self.email_hash,
            status=self.order.status,
            modified_at=self.order.modified_at,
            digest=self.digest,
            announced=announced,
            refund_ids=frozenset(refund.id for refund in self.order.refunds),
        )


@dataclass(frozen=True, slots=True)
class Happening:
    """What one version told that the one before had not."""

    type: EventType
    occurred_at: datetime
    fact_id: UUID
    order: OrderInfo
    old_status: str | None = None
    refund: Refund | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch did to one order. `winner` is None when no version beat the stored one."""

    winner: Incoming | None
    announced: bool
    happenings: tuple[Happening, ...]
    results: tuple[tuple[UUID, Result], ...]
    former_owner: str | None = None
    """Whose order it was, when the winner is somebody else's."""


def incoming(fact: Fact, email_hash: str | None) -> Incoming:
    digest = sha256(fact.data.encode()).digest()
    return Incoming(fact.id, fact.store_id, fact.data, email_hash, digest)


def fold(stored: Stored | None, versions: Sequence[Incoming]) -> Folded:
    """Apply versions of one order, in any order of arrival, with or without repetitions."""
    current, winner = stored, None
    happenings: list[Happening] = []
    results: list[tuple[UUID, Result]] = []
    for version in sorted(versions, key=lambda v: v.rank):
        result = _result(current, version)
        results.append((version.fact_id, result))
        if result == "applied":
            happenings += _told(current, version)
            current = version.stored(announced=_announced(current) or version.order.status not in NOT_PLACED)
            winner = version
    former = stored.email_hash if stored and winner and stored.email_hash != winner.email_hash else None
    return Folded(winner, _announced(current), tuple(happenings), tuple(results), former)


def _result(current: Stored | None, version: Incoming) -> Result:
    if current is None or version.rank > current.rank:
        return "applied"
    return "unchanged" if version.digest == current.digest else "stale"


def _announced(current: Stored | None) -> bool:
    return current is not None and current.announced


def _told(before: Stored | None, version: Incoming) -> Iterable[Happening]:
    order = version.order
    info = order.info()
    if not _announced(before) and order.status not in NOT_PLACED:
        yield Happening("order_placed", order.created_at, version.fact_id, info)
    if before and before.status != order.status:
        yield Happening("order_status_changed", order.modified_at, version.fact_id, info, old_status=before.status)
    if order.status == "cancelled" and (before is None or before.status != "cancelled"):
        yield Happening("order_cancelled", order.modified_at, version.fact_id, info)
    for refund in order.refunds:
        if before is None or refund.id not in before.refund_ids:
            yield Happening("order_refunded", order.modified_at, version.fact_id, info, refund=refund)


def _rank(modified_at: datetime, refunds: int, status: str, digest: bytes) -> Rank:
    """Later wins; in the same second more refunds, then the later status, then the greater digest."""
    return (modified_at, refunds, _STATUS_RANKS.get(status, _CUSTOM_STATUS_RANK), digest)
