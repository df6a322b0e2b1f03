"""An order with its disputes: what a batch's facts amount to for the order's row and for its customer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from scorer import disputes, facts
from scorer.disputes import Case
from scorer.facts import Folded, Happening, Settled
from shared.events import EventData


@dataclass(frozen=True, slots=True)
class Known:
    """A dispute of an order: as it was stored, and as it is after the batch's facts."""

    before: Case | None
    after: Case
    fact_id: UUID | None = None
    """The last fact of the batch that told of it."""


@dataclass(frozen=True, slots=True)
class Concluded:
    folded: Folded
    settled: Settled
    cases: tuple[Known, ...]
    """Their `after` remembers what the customer is told with this batch."""
    happenings: tuple[Happening, ...]
    fact_id: UUID | None
    """The fact to blame; None: nothing changed."""
    card_brand: str
    """What it was paid with, as far as the batch's facts and payments say; "": they do not."""

    @property
    def changed(self) -> bool:
        return self.fact_id is not None


def conclude(folded: Folded, cases: Sequence[Known], card_brand: str = "", *, live: bool, now: datetime) -> Concluded:
    """Idempotent: facts that are known already conclude in nothing."""
    fact_id = _cause(folded, cases, live=live)
    lost = disputes.lost_amounts([case.after for case in cases])
    settled = facts.settled(folded.after, lost)
    if folded.after.version is None or fact_id is None:
        return Concluded(folded, settled, tuple(cases), (), fact_id if folded.after.version else None, card_brand)
    happenings = [*folded.happenings, *_excess(folded, cases, settled, fact_id, live=live)]
    told_cases = []
    for case in cases:
        after, told = _told(folded, case, fact_id, live=live, now=now)
        told_cases.append(replace(case, after=after))
        happenings += told
    return Concluded(folded, settled, tuple(told_cases), tuple(happenings), fact_id, card_brand)


def _cause(folded: Folded, cases: Sequence[Known], *, live: bool) -> UUID | None:
    """The last fact that changed something, or that is the first live one of a dispute which history kept to itself."""
    if folded.changed:
        return folded.fact_id
    of_order = folded.fact_id if folded.results else None  # a stale version may name the payment of a dispute
    news = [case.fact_id or of_order for case in cases if case.after != case.before or (live and _untold(folded, case))]
    return next((fact_id for fact_id in reversed(news) if fact_id), None)


def _untold(folded: Folded, case: Known) -> bool:
    return bool(case.fact_id and folded.owner and case.after.told != case.after.dispute.status)


def _told(
    folded: Folded, case: Known, fact_id: UUID, *, live: bool, now: datetime
) -> tuple[Case, tuple[Happening, ...]]:
    """A dispute of an order that is nobody's is told to nobody, until the order is somebody's."""
    if folded.owner is None:
        return case.after, ()
    return disputes.told(case.after, folded.after.info(), case.fact_id or fact_id, live=live, now=now)


def _excess(
    folded: Folded, cases: Sequence[Known], settled: Settled, fact_id: UUID, *, live: bool
) -> Sequence[Happening]:
    """A note where more was paid back than the order's total, as far as that is new."""
    version = folded.after.version
    lost = disputes.lost_amounts([case.before for case in cases if case.before])
    if version is None or settled.excess <= facts.settled(folded.before, lost).excess:
        return ()
    told = (
        f"Refunds of order {version.info.number} exceed its total by {settled.excess:.2f} {version.info.currency}."
        " Its total is what counts as paid back."
    )
    data = EventData(order=folded.after.info())
    return (Happening("note_added", version.modified_at, fact_id, data, note=told, published=live),)
