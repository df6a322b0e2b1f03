"""Before and after → events, timeline, history. Nothing else in TrustLens makes customer events.

An event shows the customer as it is after the change, with one exception: what happened in the store (an order,
a refund) shows the score and segment as they stood when it happened, since that is what "a new order by a Risk
customer" means. score_updated follows and shows the new ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from scorer import checkouts
from scorer.customer import Customer
from scorer.facts import Folded, Happening
from scorer.features import Features
from scorer.modules import chargebacks, coupons
from scorer.score import Score, points_by_module
from scorer.scoring import Scoring
from shared.erasure import forget_data
from shared.events import Cause, Change, Event, EventData, EventType, Snapshot
from shared.ids import derived_at, uuid7

HIGH_RISK = frozenset({"risk", "critical"})
PUBLISHED = frozenset(get_args(EventType))

Asked = Literal["fact", "command", "rule", "link", "moved", "sweep", "settings", "categories", "coupons", "history"]
"""Why a customer is recalculated; `rule`: a command of one; `moved`: an order of theirs is somebody else's now. History
publishes nothing; only facts and commands publish a score that did not move."""

_ALWAYS = frozenset({"fact", "command", "rule"})


@dataclass(frozen=True, slots=True)
class Rescored:
    """One customer's recalculation: what was, what is, and what happened in between."""

    before: Customer
    after: Customer
    """With the new score, segment and flags; its sequence is set by the events."""
    features: Features
    score: Score
    scoring: Scoring
    asked: Asked
    happenings: tuple[Happening, ...] = ()
    quiet_score: bool = False
    """What happened is no reason to tell of a score that did not move: an allowed checkout attempt."""
    reason: str | None = None
    """Given with a block, an unblock or an erasure."""
    actor: str | None = None
    """Who asked, for what a command did."""
    tagged: str | None = None
    noted: str | None = None
    erased: bool = False

    @property
    def moved(self) -> bool:
        before, after = self.before, self.after
        return (before.trust_score, before.segment) != (after.trust_score, after.segment)

    @property
    def newly_linked(self) -> bool:
        return self.after.linked_accounts_count > self.before.linked_accounts_count

    @property
    def touches_linked(self) -> bool:
        """Whether linked customers' scores may depend on what changed here."""
        before, after = self.before, self.after
        return (before.is_blocked, before.first_coupon_at) != (after.is_blocked, after.first_coupon_at) or (
            self._critical(before.own_score) != self._critical(after.own_score)
        )

    def _critical(self, own_score: int | None) -> bool:
        return own_score is not None and own_score < self.scoring.segments.risk


def rescored(
    before: Customer,
    features: Features,
    score: Score,
    scoring: Scoring,
    *,
    asked: Asked,
    happenings: Sequence[Happening] = (),
    quiet_score: bool = False,
) -> Rescored:
    """A recalculation that changes nothing but what follows from the facts."""
    _, testing_at = checkouts.testing_detected(features, before.card_testing_at)
    after = replace(
        before,
        trust_score=score.value,
        segment=score.segment,
        own_score=score.own,
        first_coupon_at=coupons.counts(features, scoring.modules.coupons).first_at,
        linked_accounts_count=features.linked_accounts,
        shipping_points=shipping_points(score),
        card_testing_at=testing_at,
    )
    return Rescored(before, after, features, score, scoring, asked, tuple(happenings), quiet_score)


def shipping_points(score: Score) -> int:
    return points_by_module(score).get("shipping_anomalies", 0)


_Told = tuple[EventType, datetime | None, UUID | None, EventData]


def events(change: Rescored, *, cause: Cause, now: datetime, shown: Snapshot | None = None) -> tuple[Event, ...]:
    """The events of a change in their order, each with its sequence. `now` becomes recorded_at.

    `shown`: the customer after the change, where the caller has it already.
    """
    if change.asked == "history":
        return ()
    told = [*_happened(change), *_detected(change), *_switched(change), *_scored(change)]
    if not told:
        return ()
    after = shown or snapshot(change, now)
    standing = change.before
    then = after.model_copy(update={"trust_score": standing.trust_score, "segment": standing.segment})
    return tuple(
        Event.model_construct(
            id=derived_at(now, "event", change.before.store_id, change.before.email_hash, sequence),
            type=kind,
            store_id=change.before.store_id,
            occurred_at=occurred_at or now,
            recorded_at=now,
            customer=then if fact_id else after,
            sequence=sequence,
            data=data,
            cause=Cause(kind="fact", id=fact_id) if fact_id else cause,
        )
        for sequence, (kind, occurred_at, fact_id, data) in enumerate(told, change.before.sequence + 1)
    )


def _happened(change: Rescored) -> Iterable[_Told]:
    for it in change.happenings:
        if not it.published or it.type not in PUBLISHED:
            continue
        data = _known(change, it.data)
        yield it.type, it.occurred_at, it.fact_id, data  # type: ignore[misc]  # PUBLISHED are EventTypes
        if it.type == "order_placed" and change.before.segment in HIGH_RISK:
            yield "high_risk_order", it.occurred_at, it.fact_id, data


def _known(change: Rescored, told: EventData) -> EventData:
    """What happened before its customer's erasure, and comes only now, brings nothing personal back."""
    return forget_data(told) if change.after.email is None else told


def _detected(change: Rescored) -> Iterable[_Told]:
    """What the facts amount to. A link shows on both sides, and card testing when it is believed, whatever asked."""
    if change.newly_linked:
        yield "linked_accounts_detected", None, None, EventData()
    if change.asked == "fact" and change.after.shipping_points < change.before.shipping_points:
        yield "shipping_anomaly_detected", None, None, EventData()
    sign, _ = checkouts.testing_detected(change.features, change.before.card_testing_at)
    if sign:
        yield "card_testing_detected", change.after.card_testing_at, None, EventData(reason=sign)


def _switched(change: Rescored) -> Iterable[_Told]:
    before, after = change.before, change.after
    if before.is_blocked != after.is_blocked:
        blocked = after.is_blocked
        kind: EventType = "customer_blocked" if blocked else "customer_unblocked"
        yield kind, None, None, EventData(reason=(change.reason or "") if blocked else None)
    if before.is_allowlisted != after.is_allowlisted:
        kind = "customer_allowlisted" if after.is_allowlisted else "customer_allowlist_removed"
        yield kind, None, None, EventData()
    if change.erased:
        yield "customer_erased", None, None, EventData(reason=change.reason)


def _scored(change: Rescored) -> Iterable[_Told]:
    before, after = change.before, change.after
    moved = Change(
        old_score=before.trust_score,
        new_score=after.trust_score,
        old_segment=before.segment,
        new_segment=after.segment,
    )
    if change.moved or (change.asked in _ALWAYS and not change.quiet_score):
        yield "score_updated", None, None, EventData(change=moved)
    if before.segment != after.segment:
        yield "segment_changed", None, None, EventData(change=moved)


def snapshot(change: Rescored, now: datetime) -> Snapshot:
    """The customer with all condition fields, as it is after the change."""
    after, features = change.after, change.features
    used, disputed = coupons.counts(features, change.scoring.modules.coupons), chargebacks.counts(features)
    return Snapshot.model_construct(
        email_hash=after.email_hash,
        email=after.email,
        email_domain=after.email_domain,
        trust_score=after.trust_score,
        segment=after.segment,
        is_blocked=after.is_blocked,
        is_allowlisted=after.is_allowlisted,
        total_orders=features.total_orders,
        total_order_value=features.total_order_value,
        total_refunds=features.total_refunds,
        total_refund_value=features.total_refund_value,
        full_refunds=features.full_refunds,
        return_rate=features.return_rate,
        cancelled_orders=features.cancelled_orders,
        total_disputes=disputed.total,
        disputes_won=disputed.won,
        disputes_lost=disputed.lost,
        total_coupons_used=used.total_used,
        first_order_coupons=used.first_order,
        coupon_then_refund=used.then_refund,
        linked_accounts_count=features.linked_accounts,
        account_age_days=_days(features.first_completed_at, now),
        days_since_last_order=_days(features.last_order_at, now),
        tags=after.tags,
    )


def _days(since: datetime | None, now: datetime) -> int | None:
    return None if since is None else max((now - since).days, 0)  # a store's clock may be ahead


# The timeline ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a customer's timeline."""

    id: UUID
    type: str
    occurred_at: datetime
    data: Mapping[str, Any]
    """Plain JSON, without e-mail or address."""


def timeline(change: Rescored, told: Sequence[Event], *, now: datetime) -> tuple[Entry, ...]:
    """What a support agent reads: what happened, what it amounted to, and what was done by whom."""
    happened = [
        Entry(
            id_,
            _TIMELINE_NAMES.get(it.type, it.type),
            it.occurred_at,
            _told_data(_known(change, it.data), note=it.note),
        )
        for id_, it in zip(_rising_ids(len(change.happenings)), change.happenings, strict=True)
    ]
    done = [
        Entry(event.id, event.type, event.occurred_at, _told_data(event.data, actor=change.actor))
        for event in told
        if event.type in _OF_EVENTS and (event.type != "score_updated" or change.moved)
    ]
    return (*happened, *done, *_by_hand(change, now))


def left(folded: Folded) -> Entry:
    """What is on the timeline of the customer whose order it was."""
    version = folded.after.version
    assert version is not None  # noqa: S101  # what had an owner has a version
    told = f"Order {version.info.number} is another customer's since its e-mail changed."
    if version.email_hash is None:
        told = f"Order {version.info.number} is nobody's since its e-mail was removed."
    return Entry(uuid7(), "note_added", version.modified_at, {"text": told})


def _rising_ids(number: int) -> list[UUID]:
    """What happened in the same second, as an order that is placed completed, is read in the order of its ids."""
    return sorted(uuid7() for _ in range(number))


_TIMELINE_NAMES = {"chargeback_closed": "chargeback_updated"}
_OF_EVENTS = frozenset(
    {
        "linked_accounts_detected",
        "shipping_anomaly_detected",
        "card_testing_detected",
        "customer_blocked",
        "customer_unblocked",
        "customer_allowlisted",
        "customer_allowlist_removed",
        "customer_erased",
        "score_updated",
        "segment_changed",
    }
)
"""Events that are no happenings of the store, which the timeline has already."""


def _by_hand(change: Rescored, now: datetime) -> Iterable[Entry]:
    if change.tagged is not None:
        yield Entry(uuid7(), "tag_added", now, {"tag": change.tagged, "actor": change.actor})
    if change.noted is not None:
        yield Entry(uuid7(), "note_added", now, {"text": change.noted, "actor": change.actor})


def _told_data(data: EventData, **more: str | None) -> dict[str, Any]:
    """The event's data without an address, and in the words of the timeline."""
    shown = data.model_dump(mode="json", exclude={"email"}, exclude_none=True)
    if dispute := shown.get("dispute"):
        dispute.pop("payments", None)
    return shown | {_TIMELINE_KEYS.get(key, key): value for key, value in more.items() if value is not None}


_TIMELINE_KEYS = {"note": "text"}


# History --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """One row of a customer's score history."""

    trust_score: int
    segment: str
    points: Mapping[str, int]
    """By module, `base` included."""
    cause: Asked


def history(change: Rescored) -> Point | None:
    """A row for the first score, and for every change of score or segment."""
    if not change.moved and change.before.own_score is not None:
        return None
    return Point(change.after.trust_score, change.after.segment, points_by_module(change.score), change.asked)
