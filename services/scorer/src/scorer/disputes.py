"""Disputes: the winning version of each, whose order it is, and what its customer is to hear of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import get_args
from uuid import UUID

from scorer.facts import HISTORY_AGE, Happening, HappeningType, Result
from shared.events import Dispute, DisputeFact, DisputeStatus, EventData, OrderInfo, version_digest

_RANKS = {status: rank for rank, status in enumerate(get_args(DisputeStatus))}
CLOSED = frozenset({"won", "lost"})
_INQUIRY = "The bank asks; no money has moved."


@dataclass(frozen=True, slots=True)
class Case:
    """One dispute as it is known."""

    dispute: Dispute
    """Its order_id is the order it was joined to; None: not known yet."""
    opened_at: datetime
    modified_at: datetime
    digest: bytes
    filed_at: datetime | None = None
    """Since when it is more than an inquiry; None: it is none."""
    told: DisputeStatus | None = None
    """The status that the customer's events and timeline know."""

    @property
    def rank(self) -> tuple[datetime, int, bytes]:
        return (self.modified_at, _RANKS[self.dispute.status], self.digest)


@dataclass(frozen=True, slots=True)
class FoldedCase:
    before: Case | None
    after: Case
    results: tuple[tuple[UUID, Result], ...]


def fold(stored: Case | None, facts: Sequence[DisputeFact]) -> FoldedCase:
    """Apply versions of one dispute, in any order of arrival. The earliest of all says when it was opened, or filed."""
    current = stored
    results: list[tuple[UUID, Result]] = []
    for fact in sorted(facts, key=lambda fact: _case(fact).rank):
        current, result = _apply(current, _case(fact))
        results.append((fact.id, result))
    if current is None:
        raise ValueError("no dispute and no fact of one")
    return FoldedCase(stored, current, tuple(results))


def _case(fact: DisputeFact) -> Case:
    dispute = fact.data.model_copy(update={"payments": tuple(sorted(set(fact.data.payments)))})
    filed_at = None if fact.data.status == "warning" else fact.occurred_at
    return Case(dispute, fact.occurred_at, fact.occurred_at, version_digest(fact.data), filed_at)


def _apply(current: Case | None, given: Case) -> tuple[Case, Result]:
    if current is None:
        return given, "applied"
    if given.rank > current.rank:
        return _merged(newer=given, older=current), "applied"
    merged = _merged(newer=current, older=given)
    return merged, "unchanged" if given.digest == current.digest else "stale"


def _merged(*, newer: Case, older: Case) -> Case:
    """What an older version knew of order, payments and card stays true."""
    known = {
        "payments": tuple(sorted({*newer.dispute.payments, *older.dispute.payments})),
        "order_id": newer.dispute.order_id or older.dispute.order_id,
        "card_brand": newer.dispute.card_brand or older.dispute.card_brand,
    }
    return replace(
        newer,
        dispute=newer.dispute.model_copy(update=known),
        opened_at=min(newer.opened_at, older.opened_at),
        filed_at=min(filter(None, (newer.filed_at, older.filed_at)), default=None),
        told=newer.told or older.told,
    )


def joined(case: Case, paid: Mapping[str, int]) -> Case:
    """With its order, where it names none itself and one of its payments is known to belong to one."""
    if case.dispute.order_id is not None:
        return case
    found = [paid[payment] for payment in case.dispute.payments if payment in paid]
    return replace(case, dispute=case.dispute.model_copy(update={"order_id": min(found)})) if found else case


def lost_amounts(cases: Sequence[Case]) -> list[Decimal]:
    return [case.dispute.amount for case in cases if case.dispute.status == "lost"]


def told(
    case: Case, order: OrderInfo, fact_id: UUID, *, live: bool, now: datetime
) -> tuple[Case, tuple[Happening, ...]]:
    """What the owner of its order has not heard yet; the case as told.

    An inquiry is on the timeline only: no money has moved, and most end without a dispute. History leaves the
    dispute of the last day to the live facts that will come.
    """
    if case.dispute.status == case.told or (not live and case.opened_at > now - HISTORY_AGE):
        return case, ()
    inquiry = case.dispute.status == "warning"
    data = EventData(order=order, dispute=case.dispute)
    happenings = tuple(
        Happening(kind, at, fact_id, data, note=_INQUIRY if inquiry else None, published=live and not inquiry)
        for kind, at in _steps(case)
    )
    return replace(case, told=case.dispute.status), happenings


def _steps(case: Case) -> Iterable[tuple[HappeningType, datetime]]:
    """From what was told to what is so, and when. A dispute that follows an inquiry is filed anew."""
    status = case.dispute.status
    begun = case.told is not None and (case.told != "warning" or status == "warning")
    if not begun:
        yield "chargeback_filed", case.opened_at
    if status in CLOSED:
        yield "chargeback_closed", case.modified_at
    elif begun:
        yield "chargeback_updated", case.modified_at
