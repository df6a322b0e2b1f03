"""What happened to an order, whichever way round its facts arrive, and what each newer one tells.

A store sends the state of an order, not its history. So each version is ranked, the highest wins, and what
happened follows from comparing what was known before with what is known after.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, assert_never
from uuid import UUID

from shared.events import (
    Coupon,
    EventData,
    Order,
    OrderDeletedFact,
    OrderFact,
    OrderInfo,
    Refund,
    RefundFact,
    ReportedRefund,
    version_digest,
)

NOT_PLACED = frozenset({"checkout-draft", "trash"})
"""The shopper has not ordered yet (the block checkout's draft), or nobody can see the order any more."""
HISTORY_AGE = timedelta(hours=24)
"""History announces nothing, and takes it that older orders were announced by whatever was there before."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No shop of this kind is older: a date before it is a mistake."""
CLOCK_SKEW = timedelta(hours=24)
"""So far may a store's clock, or its idea of its time zone, be ahead before it is worth a note."""
SAME_AMOUNT = Decimal("0.01")
"""Amounts that differ by no more are the same: shops round each line."""

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

HappeningType = Literal[
    "order_placed",
    "order_status_changed",
    "order_completed",
    "order_cancelled",
    "order_refunded",
    "coupon_applied",
    "chargeback_filed",
    "chargeback_updated",
    "chargeback_closed",
    "checkout_blocked",
    "note_added",
]
"""Those that are also an EventType are published; the others stand on the timeline only."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that became known of a customer."""

    type: HappeningType
    occurred_at: datetime
    fact_id: UUID
    data: EventData = field(default_factory=EventData)
    note: str | None = None
    """Of a note_added, or of what needs a word more than its data."""
    published: bool = True
    """False: the timeline alone tells it."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an order."""

    info: OrderInfo
    email_hash: str | None
    created_at: datetime
    modified_at: datetime
    digest: bytes
    refunds: Mapping[int, Refund] = field(default_factory=dict)
    """Those it lists, by id."""
    coupons: tuple[Coupon, ...] = ()
    fingerprints: tuple[str, ...] = ()

    @property
    def rank(self) -> Rank:
        """Later wins; in the same second more refunds, then the later status, then the greater digest."""
        status = _STATUS_RANKS.get(self.info.status, _CUSTOM_STATUS_RANK)
        return (self.modified_at, len(self.refunds), status, self.digest)


@dataclass(frozen=True, slots=True)
class OrderState:
    """All that is known of one order. Nothing yet, and still no order where only a refund or a deletion is known."""

    version: Version | None = None
    announced: bool = False
    """order_placed has been told, or history made it superfluous."""
    deleted_at: datetime | None = None
    """Versions up to here are in the trash."""
    reported: Mapping[int, tuple[datetime, ReportedRefund]] = field(default_factory=dict)
    """Refunds told by themselves: id → (when, refund), the latest report."""

    @property
    def deleted(self) -> bool:
        return self.version is not None and self.deleted_at is not None and self.deleted_at >= self.version.modified_at

    @property
    def status(self) -> str | None:
        if self.version is None:
            return None
        return "trash" if self.deleted else self.version.info.status

    @property
    def placed(self) -> bool:
        return self.status is not None and self.status not in NOT_PLACED

    @property
    def refunds(self) -> Mapping[int, Refund]:
        """Listed and reported; where both tell of one refund the order's own word counts."""
        listed = self.version.refunds if self.version else {}
        return {refund_id: refund for refund_id, (_, refund) in self.reported.items()} | dict(listed)

    def info(self) -> OrderInfo:
        """The order as events show it: in the trash, if it is there."""
        assert self.version is not None  # noqa: S101  # callers ask only for what was told of an order
        return self.version.info.model_copy(update={"status": self.status})


@dataclass(frozen=True, slots=True)
class Incoming:
    """One version of an order that a fact brought."""

    fact_id: UUID
    order: Order
    version: Version


OrderStep = Incoming | OrderDeletedFact | RefundFact
"""What changes an order."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch did to one order."""

    before: OrderState
    after: OrderState
    winner: Incoming | None
    """The version that is stored now, if the batch brought it."""
    happenings: tuple[Happening, ...]
    results: tuple[tuple[UUID, Result], ...]

    @property
    def changed(self) -> bool:
        return self.after != self.before

    @property
    def owner(self) -> str | None:
        return self.after.version.email_hash if self.after.version else None

    @property
    def former_owner(self) -> str | None:
        """Whose order it was, when it is somebody else's now."""
        was = self.before.version.email_hash if self.before.version else None
        return was if was != self.owner else None

    @property
    def fact_id(self) -> UUID:
        """The last fact that had a part in it."""
        return self.results[-1][0]


def incoming(fact: OrderFact, email_hash: str | None) -> Incoming:
    order = fact.data
    version = Version(
        info=order.info(),
        email_hash=email_hash,
        created_at=order.created_at,
        modified_at=order.modified_at,
        digest=version_digest(order),
        refunds={refund.id: refund for refund in order.refunds},
        coupons=order.coupons,
        fingerprints=order.fingerprints,
    )
    return Incoming(fact.id, order, version)


def fold(stored: OrderState, steps: Sequence[OrderStep], *, live: bool, now: datetime) -> Folded:
    """Apply facts of one order, in any order of arrival, with or without repetitions.

    Not `live` is history: it tells the timeline of orders older than a day, and publishes nothing.
    """
    state, winner = stored, None
    happenings: list[Happening] = []
    results: list[tuple[UUID, Result]] = []
    for step in sorted(steps, key=_when):
        fact_id = step.fact_id if isinstance(step, Incoming) else step.id
        applied, result = _apply(state, step)
        after = replace(applied, announced=_announced(applied, live=live, now=now))
        told = _told(state, after, fact_id, now)
        happenings += told if live else _quietly(told, after)
        results.append((fact_id, result))
        if isinstance(step, Incoming) and result == "applied":
            winner = step
        state = after
    return Folded(stored, state, winner, tuple(happenings), tuple(results))


def _when(step: OrderStep) -> tuple[datetime, int, int, bytes]:
    match step:
        case Incoming():
            return step.version.rank
        case RefundFact() | OrderDeletedFact():
            return (step.occurred_at, 10_000, 0, step.id.bytes)  # after the versions of the same second
        case _:
            assert_never(step)


def _apply(state: OrderState, step: OrderStep) -> tuple[OrderState, Result]:
    match step:
        case Incoming():
            return _apply_version(state, step.version)
        case OrderDeletedFact():
            if state.deleted_at is not None and step.occurred_at <= state.deleted_at:
                return state, "unchanged" if step.occurred_at == state.deleted_at else "stale"
            return replace(state, deleted_at=step.occurred_at), "applied"
        case RefundFact():
            return _apply_refund(state, step)
        case _:
            assert_never(step)


def _apply_version(state: OrderState, version: Version) -> tuple[OrderState, Result]:
    if state.version is None or version.rank > state.version.rank:
        return replace(state, version=version), "applied"
    return state, "unchanged" if version.digest == state.version.digest else "stale"


def _apply_refund(state: OrderState, step: RefundFact) -> tuple[OrderState, Result]:
    known = state.reported.get(step.data.id)
    if known and report_rank(step.occurred_at, step.data) <= report_rank(*known):
        return state, "unchanged" if step.data == known[1] else "stale"
    reported = {**state.reported, step.data.id: (step.occurred_at, step.data)}
    return replace(state, reported=reported), "applied"


def report_rank(at: datetime, refund: Refund) -> tuple[datetime, Decimal, bool, str]:
    """Later wins. In the same second no reason wins: what an erasure emptied, no report fills again."""
    return (at, refund.amount, not refund.reason, refund.reason)


def _announced(state: OrderState, *, live: bool, now: datetime) -> bool:
    """An order of nobody waits for its customer: whom should it be told of?"""
    if state.announced or state.version is None or state.version.email_hash is None or not state.placed:
        return state.announced
    return live or state.version.created_at < now - HISTORY_AGE


def _quietly(told: Iterable[Happening], after: OrderState) -> list[Happening]:
    """What history tells: nothing of an order that its first live fact will announce."""
    return [replace(happening, published=False) for happening in told] if after.announced else []


def _told(before: OrderState, after: OrderState, fact_id: UUID, now: datetime) -> list[Happening]:
    """What is known after and was not before."""
    if after.version is None:
        return []
    order, version = EventData(order=after.info()), after.version
    changed_at = after.deleted_at if after.deleted and after.deleted_at else version.modified_at
    told: list[Happening] = []
    if after.announced and not before.announced:
        told.append(Happening("order_placed", version.created_at, fact_id, order))
        told += [
            Happening("coupon_applied", version.created_at, fact_id, order, note=coupon.code)
            for coupon in version.coupons
        ]
    if before.status is not None and before.status != after.status:
        changed = EventData(order=order.order, old_status=before.status)
        told.append(Happening("order_status_changed", changed_at, fact_id, changed))
    if before.status != after.status and after.status == "completed":
        told.append(Happening("order_completed", changed_at, fact_id, order))
    if before.status != after.status and after.status == "cancelled":
        told.append(Happening("order_cancelled", changed_at, fact_id, order))
    told += _refunds_told(before, after, fact_id, order)
    told += _odd(before, after, fact_id, now)
    return told


def _refunds_told(before: OrderState, after: OrderState, fact_id: UUID, order: EventData) -> Iterable[Happening]:
    known = before.refunds if before.version else {}
    for refund_id, refund in after.refunds.items():
        if refund_id not in known and after.version:
            at = after.reported[refund_id][0] if refund_id in after.reported else after.version.modified_at
            plain = Refund(id=refund.id, amount=refund.amount, reason=refund.reason)
            yield Happening("order_refunded", at, fact_id, EventData(order=order.order, refund=plain))


def _odd(before: OrderState, after: OrderState, fact_id: UUID, now: datetime) -> Iterable[Happening]:
    """Notes on what a store can hardly mean (it is kept all the same), and on where an order came from."""
    if after.version is None or before.version is after.version:
        return
    new, old, order = after.version, before.version, EventData(order=after.info())
    if old and old.info.currency != new.info.currency:
        told = f"The currency of order {new.info.number} changed from {old.info.currency} to {new.info.currency}."
        yield Happening("note_added", new.modified_at, fact_id, order, note=told)
    if old and old.email_hash and new.email_hash not in {old.email_hash, None}:
        told = f"Order {new.info.number} was another customer's until its e-mail changed."
        yield Happening("note_added", new.modified_at, fact_id, order, note=told)
    if not EARLIEST <= new.created_at <= now + CLOCK_SKEW and (old is None or old.created_at != new.created_at):
        until = " before then" if new.created_at > now else ""
        told = (
            f"Order {new.info.number} claims to be of {new.created_at:%Y-%m-%d}."
            f" It counts as an order, and in no window of time{until}."
        )
        yield Happening("note_added", now, fact_id, order, note=told)


@dataclass(frozen=True, slots=True)
class Settled:
    """An order's refunds as the modules count them: without those that a lost dispute caused."""

    count: int = 0
    full: int = 0
    """Those within 0.01 of the order's total."""
    value: Decimal = Decimal(0)
    """At most the order's total."""
    excess: Decimal = Decimal(0)
    """By how much more than the total was paid back: a mistake, or goodwill, of the store's."""


def settled(state: OrderState, lost_amounts: Sequence[Decimal]) -> Settled:
    """`lost_amounts`: of the order's lost disputes. One lost dispute explains one refund."""
    if state.version is None:
        return Settled()
    total = state.version.info.total
    returns = _returns(state.refunds.values(), list(lost_amounts))
    value = sum((refund.amount for refund in returns), Decimal(0))
    return Settled(
        count=len(returns),
        full=sum(abs(refund.amount - total) <= SAME_AMOUNT for refund in returns),
        value=min(value, total),
        excess=value - total if value - total > SAME_AMOUNT else Decimal(0),
    )


def _returns(refunds: Iterable[Refund], lost_amounts: list[Decimal]) -> list[Refund]:
    """The refunds that are the customer's returns."""
    returns = []
    for refund in sorted(refunds, key=lambda refund: refund.id):
        if says_dispute(refund.reason):
            continue
        cause = next((amount for amount in lost_amounts if abs(amount - refund.amount) <= SAME_AMOUNT), None)
        if cause is None:
            returns.append(refund)
        else:
            lost_amounts.remove(cause)
    return returns


DISPUTE_LOST = r"\A *dispute lost\.* *\Z"
"""The reason, in either case, with which WooPayments refunds the order of a lost dispute; Postgres reads it too."""
_DISPUTE_LOST = re.compile(DISPUTE_LOST, re.ASCII | re.IGNORECASE)


def says_dispute(reason: str) -> bool:
    return _DISPUTE_LOST.search(reason) is not None
