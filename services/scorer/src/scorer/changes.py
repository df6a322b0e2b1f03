"""Before and after → events. Nothing else in TrustLens makes customer events.

An event shows the customer as it is after the change, with one exception: what happened in the store (an order,
a refund) shows the score and segment as they stood when it happened, since that is what "a new order by a Risk
customer" means. score_updated follows and shows the new ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from scorer.customer import Customer
from scorer.facts import Happening
from scorer.features import Features
from scorer.score import Score
from shared.events import Cause, Change, Event, EventData, EventType, Snapshot
from shared.ids import derived

HIGH_RISK = frozenset({"risk", "critical"})


@dataclass(frozen=True, slots=True)
class Rescored:
    """One customer's recalculation: what was, what is, and what happened in between."""

    before: Customer
    after: Customer
    """With the new score and segment; its sequence is set by the events."""
    features: Features
    score: Score
    happenings: tuple[Happening, ...] = ()
    always: bool = True
    """Publish score_updated though nothing moved: a fact or a person asked for this recalculation."""
    reason: str | None = None
    """Given with a block or an unblock."""


def events(change: Rescored, *, cause: Cause, now: datetime) -> tuple[Event, ...]:
    """The events of a change in their order, each with its sequence. `now` becomes recorded_at."""
    told = [*_happened(change), *_switched(change), *_scored(change)]
    then = _snapshot(change, now, scored=False)
    after = _snapshot(change, now, scored=True)
    return tuple(
        Event(
            id=derived("event", change.before.store_id, change.before.email_hash, sequence),
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


_Told = tuple[EventType, datetime | None, UUID | None, EventData]


def _happened(change: Rescored) -> Iterable[_Told]:
    for it in change.happenings:
        data = EventData(order=it.order, refund=it.refund, old_status=it.old_status)
        yield it.type, it.occurred_at, it.fact_id, data
        if it.type == "order_placed" and change.before.segment in HIGH_RISK:
            yield "high_risk_order", it.occurred_at, it.fact_id, data


def _switched(change: Rescored) -> Iterable[_Told]:
    before, after = change.before, change.after
    if before.is_blocked != after.is_blocked:
        blocked = after.is_blocked
        kind: EventType = "customer_blocked" if blocked else "customer_unblocked"
        yield kind, None, None, EventData(reason=(change.reason or "") if blocked else None)
    if before.is_allowlisted != after.is_allowlisted:
        kind = "customer_allowlisted" if after.is_allowlisted else "customer_allowlist_removed"
        yield kind, None, None, EventData()


def _scored(change: Rescored) -> Iterable[_Told]:
    before, after = change.before, change.after
    moved = Change(
        old_score=before.trust_score,
        new_score=after.trust_score,
        old_segment=before.segment,
        new_segment=after.segment,
    )
    if change.always or (before.trust_score, before.segment) != (after.trust_score, after.segment):
        yield "score_updated", None, None, EventData(change=moved)
    if before.segment != after.segment:
        yield "segment_changed", None, None, EventData(change=moved)


def _snapshot(change: Rescored, now: datetime, *, scored: bool) -> Snapshot:
    after, features = change.after, change.features
    standing = after if scored else change.before
    return Snapshot(
        email_hash=after.email_hash,
        email=after.email,
        email_domain=after.email_domain,
        trust_score=standing.trust_score,
        segment=standing.segment,
        is_blocked=after.is_blocked,
        is_allowlisted=after.is_allowlisted,
        total_orders=features.total_orders,
        total_order_value=features.total_order_value,
        total_refunds=features.total_refunds,
        total_refund_value=features.total_refund_value,
        full_refunds=features.full_refunds,
        return_rate=features.return_rate,
        cancelled_orders=features.cancelled_orders,
        account_age_days=_days(features.first_completed_at, now),
        days_since_last_order=_days(features.last_order_at, now),
        tags=after.tags,
    )


def _days(since: datetime | None, now: datetime) -> int | None:
    return None if since is None else (now - since).days


def rescored(
    before: Customer, features: Features, score: Score, *, happenings: Sequence[Happening] = (), always: bool = True
) -> Rescored:
    """A recalculation that changes nothing but the score."""
    after = replace(before, trust_score=score.value, segment=score.segment)
    return Rescored(before, after, features, score, tuple(happenings), always)
