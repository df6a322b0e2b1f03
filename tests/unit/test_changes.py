"""Before and after → events, timeline, history."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from scorer.changes import Asked, Rescored, events, history, rescored, snapshot, timeline
from scorer.customer import Customer
from scorer.facts import Happening
from scorer.features import CouponOrder, DisputeState, Features
from scorer.score import Score
from scorer.scoring import Scoring
from scorer.signals import Signal
from shared.events import Cause, EventData, OrderInfo, Segment
from shared.ids import time_of

NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
CAUSE = Cause(kind="command", id=UUID(int=9))
FACT = UUID(int=5)
ORDER = OrderInfo(id=4821, number="4821", total=Decimal("249.00"), currency="USD", status="processing")
PLACED = Happening("order_placed", NOW, FACT, EventData(order=ORDER))
RISKY = Customer(UUID(int=1), "a" * 64, "a@example.com", "example.com", 34, "risk", False, False, (), 7, own_score=34)


def change(
    value: int = 34,
    segment: Segment = "risk",
    *signals: Signal,
    before: Customer = RISKY,
    features: Features = Features(),  # noqa: B008  # frozen
    asked: Asked = "fact",
    happenings: tuple[Happening, ...] = (),
    own: int | None = None,
) -> Rescored:
    score = Score(value, segment, signals, value if own is None else own)
    return rescored(before, features, score, Scoring(), asked=asked, happenings=happenings)


def told(change: Rescored) -> list[str]:
    return [event.type for event in events(change, cause=CAUSE, now=NOW)]


@pytest.mark.parametrize("asked", ["fact", "command", "rule"])
def test_a_fact_a_person_or_a_rule_publishes_score_updated_though_nothing_moved(asked: Asked) -> None:
    assert told(change(asked=asked)) == ["score_updated"]


@pytest.mark.parametrize("asked", ["link", "moved", "sweep", "settings", "categories"])
def test_what_nobody_asked_for_publishes_nothing_when_nothing_moved(asked: Asked) -> None:
    assert told(change(asked=asked)) == []
    assert told(change(33, asked=asked)) == ["score_updated"]


def test_an_allowed_checkout_publishes_only_what_moved() -> None:
    assert told(replace(change(), quiet_score=True)) == []
    assert told(replace(change(33), quiet_score=True)) == ["score_updated"]


def test_history_publishes_nothing_whatever_happened() -> None:
    assert told(change(10, "critical", asked="history", happenings=(PLACED,))) == []


def test_segment_changed_comes_only_with_a_change_of_segment() -> None:
    assert told(change(20)) == ["score_updated"]
    assert told(change(19, "critical")) == ["score_updated", "segment_changed"]


def test_a_new_order_by_a_risk_customer_is_a_high_risk_order_though_it_lifts_the_score() -> None:
    lifted = change(45, "caution", features=Features(total_orders=13), happenings=(PLACED,))
    made = events(lifted, cause=CAUSE, now=NOW)
    assert [e.type for e in made] == ["order_placed", "high_risk_order", "score_updated", "segment_changed"]
    assert [(e.customer.segment, e.customer.trust_score) for e in made] == [("risk", 34)] * 2 + [("caution", 45)] * 2
    assert {e.customer.total_orders for e in made} == {13}
    assert [e.sequence for e in made] == [8, 9, 10, 11]
    assert made[1].cause == Cause(kind="fact", id=FACT)


def test_a_first_order_that_leads_to_risk_is_no_high_risk_order() -> None:
    new = replace(RISKY, trust_score=50, segment="normal")
    assert told(change(10, "critical", before=new, happenings=(PLACED,))) == [
        "order_placed",
        "score_updated",
        "segment_changed",
    ]


def test_what_is_for_the_timeline_only_is_not_published() -> None:
    quiet = replace(PLACED, published=False)
    note = Happening("note_added", NOW, FACT, note="odd")
    assert told(change(happenings=(quiet, note))) == ["score_updated"]


def test_a_block_says_why_and_shows_itself() -> None:
    blocking = replace(change(asked="command"), after=replace(RISKY, is_blocked=True), reason="fraud")
    blocked, updated = events(blocking, cause=CAUSE, now=NOW)
    assert (blocked.type, blocked.data.reason, blocked.customer.is_blocked) == ("customer_blocked", "fraud", True)
    assert updated.type == "score_updated"


def test_a_block_without_a_reason_has_an_empty_one() -> None:
    blocking = replace(change(asked="command"), after=replace(RISKY, is_blocked=True))
    assert events(blocking, cause=CAUSE, now=NOW)[0].data.reason == ""


def test_the_allowlisting_event_shows_the_score_it_leads_to() -> None:
    after = replace(RISKY, is_allowlisted=True, trust_score=100, segment="vip")
    made = events(replace(change(100, "vip", asked="command"), after=after), cause=CAUSE, now=NOW)
    assert [e.type for e in made] == ["customer_allowlisted", "score_updated", "segment_changed"]
    assert {e.customer.trust_score for e in made} == {100}


def test_the_same_change_makes_the_same_ids() -> None:
    same = change()
    assert events(same, cause=CAUSE, now=NOW)[0].id == events(same, cause=CAUSE, now=NOW)[0].id


def test_an_event_s_id_tells_when_it_was_recorded() -> None:
    made = events(change(happenings=(PLACED,)), cause=CAUSE, now=NOW)
    assert {time_of(event.id) for event in made} == {NOW}
    assert len({event.id for event in made}) == len(made) > 1


def test_a_link_is_detected_whoever_brought_the_fact_and_only_when_there_are_more() -> None:
    linked = Features(linked_accounts=1)
    assert told(change(features=linked, asked="link")) == ["linked_accounts_detected"]
    assert told(change(features=linked, before=replace(RISKY, linked_accounts_count=1), asked="link")) == []
    assert told(change(before=replace(RISKY, linked_accounts_count=1), asked="link")) == []


def test_an_anomaly_is_detected_when_it_worsens_with_a_fact() -> None:
    anomaly = Signal("shipping_anomalies", -10, "many")
    assert told(change(24, "risk", anomaly)) == ["shipping_anomaly_detected", "score_updated"]
    assert told(change(34, "risk", anomaly, before=replace(RISKY, shipping_points=-10))) == ["score_updated"]
    assert told(change(34, "risk", anomaly, asked="settings")) == []


def test_card_testing_is_detected_with_what_shows_it() -> None:
    tested = change(features=Features(last_lockout_at=NOW))
    detected = events(tested, cause=CAUSE, now=NOW)[0]
    assert (detected.type, detected.data.reason, detected.occurred_at) == ("card_testing_detected", "lockout", NOW)
    assert tested.after.card_testing_at == NOW
    assert told(change(features=Features(last_lockout_at=NOW), before=tested.after)) == ["score_updated"]


@pytest.mark.parametrize(
    ("before", "own", "touches"),
    [(34, 19, True), (19, 34, True), (34, 20, False), (10, 19, False), (None, 10, True), (None, 50, False)],
)
def test_crossing_the_critical_line_touches_the_linked(before: int | None, own: int, touches: bool) -> None:
    assert change(before=replace(RISKY, own_score=before), own=own).touches_linked is touches


def test_a_block_and_a_first_order_coupon_touch_the_linked() -> None:
    assert not change().touches_linked
    assert replace(change(), after=replace(RISKY, is_blocked=True)).touches_linked
    assert change(features=Features(coupon_orders=(CouponOrder(1, NOW, ("welcome10",)),))).touches_linked


def test_the_snapshot_has_every_condition_field() -> None:
    full = change(
        before=replace(RISKY, tags=("watch",)),
        features=Features(
            total_orders=4,
            cancelled_orders=1,
            refunded_orders=1,
            total_refunds=2,
            full_refunds=1,
            total_order_value=Decimal(400),
            total_refund_value=Decimal(50),
            first_completed_at=datetime(2026, 1, 1, tzinfo=UTC),
            last_order_at=datetime(2026, 6, 1, tzinfo=UTC),
            coupon_orders=(CouponOrder(1, NOW, ("welcome10", "x"), refunded=True),),
            linked_accounts=2,
            disputes=(
                DisputeState("d1", "won"),
                DisputeState("d2", "lost"),
                DisputeState("d3", "open"),
            ),
        ),
    )
    shown = snapshot(full, NOW).model_dump()
    assert shown == {
        "email_hash": "a" * 64,
        "email": "a@example.com",
        "email_domain": "example.com",
        "trust_score": 34,
        "segment": "risk",
        "is_blocked": False,
        "is_allowlisted": False,
        "total_orders": 4,
        "total_order_value": Decimal(400),
        "total_refunds": 2,
        "total_refund_value": Decimal(50),
        "full_refunds": 1,
        "return_rate": Decimal("25.0"),
        "cancelled_orders": 1,
        "total_disputes": 3,
        "disputes_won": 1,
        "disputes_lost": 1,
        "total_coupons_used": 2,
        "first_order_coupons": 1,
        "coupon_then_refund": 1,
        "linked_accounts_count": 2,
        "account_age_days": 155,
        "days_since_last_order": 4,
        "tags": ("watch",),
    }


def test_the_timeline_tells_what_happened_and_a_score_only_when_it_moved() -> None:
    still, moved = change(happenings=(PLACED,)), change(33, happenings=(PLACED,))
    for one, kinds in ((still, ["order_placed"]), (moved, ["order_placed", "score_updated"])):
        made = events(one, cause=CAUSE, now=NOW)
        assert [entry.type for entry in timeline(one, made, now=NOW)] == kinds


def test_what_happened_in_the_same_second_stays_in_its_order_when_read_by_id() -> None:
    notes = [str(number) for number in range(20)]
    happened = tuple(Happening("note_added", NOW, FACT, EventData(), note=note) for note in notes)
    entries = timeline(change(happenings=happened), (), now=NOW)
    assert [entry.data["text"] for entry in sorted(entries, key=lambda entry: entry.id)] == notes


def test_the_timeline_has_no_address_and_says_who_did_it() -> None:
    blocked = Happening("checkout_blocked", NOW, FACT, EventData(email="a@example.com"))
    done = replace(change(asked="command", happenings=(blocked,)), tagged="watch", noted="called", actor="key:abc")
    entries = timeline(done, (), now=NOW)
    assert [(entry.type, dict(entry.data)) for entry in entries] == [
        ("checkout_blocked", {}),
        ("tag_added", {"tag": "watch", "actor": "key:abc"}),
        ("note_added", {"text": "called", "actor": "key:abc"}),
    ]


def test_history_has_the_first_score_and_every_change() -> None:
    first = change(before=replace(RISKY, own_score=None))
    assert (point := history(first)) is not None
    assert (point.trust_score, point.segment, dict(point.points), point.cause) == (34, "risk", {"base": 50}, "fact")
    assert history(change()) is None
    assert history(change(33)) is not None
    assert history(change(34, "caution")) is not None
