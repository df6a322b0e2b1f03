"""Before and after → events."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from scorer.changes import Rescored, events, rescored
from scorer.customer import Customer
from scorer.facts import Happening
from scorer.features import Features
from scorer.score import Score
from shared.events import Cause, OrderInfo

NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
CAUSE = Cause(kind="command", id=UUID(int=9))
FACT = UUID(int=5)
ORDER = OrderInfo(id=4821, number="4821", total=Decimal("249.00"), currency="USD", status="processing")
PLACED = Happening("order_placed", NOW, FACT, ORDER)
RISKY = Customer(UUID(int=1), "a" * 64, "a@example.com", "example.com", 34, "risk", False, False, (), 7)


def told(change: Rescored) -> list[str]:
    return [event.type for event in events(change, cause=CAUSE, now=NOW)]


def test_a_fact_publishes_score_updated_though_nothing_moved() -> None:
    assert told(rescored(RISKY, Features(), Score(34, "risk"))) == ["score_updated"]


def test_a_neighbour_publishes_nothing_when_nothing_moved() -> None:
    assert told(rescored(RISKY, Features(), Score(34, "risk"), always=False)) == []
    assert told(rescored(RISKY, Features(), Score(33, "risk"), always=False)) == ["score_updated"]


def test_segment_changed_comes_only_with_a_change_of_segment() -> None:
    assert told(rescored(RISKY, Features(), Score(20, "risk"))) == ["score_updated"]
    assert told(rescored(RISKY, Features(), Score(19, "critical"))) == ["score_updated", "segment_changed"]


def test_a_new_order_by_a_risk_customer_is_a_high_risk_order_though_it_lifts_the_score() -> None:
    change = rescored(RISKY, Features(total_orders=13), Score(45, "caution"), happenings=[PLACED])
    made = events(change, cause=CAUSE, now=NOW)
    assert [e.type for e in made] == ["order_placed", "high_risk_order", "score_updated", "segment_changed"]
    assert [(e.customer.segment, e.customer.trust_score) for e in made] == [("risk", 34)] * 2 + [("caution", 45)] * 2
    assert {e.customer.total_orders for e in made} == {13}
    assert [e.sequence for e in made] == [8, 9, 10, 11]
    assert made[1].cause == Cause(kind="fact", id=FACT)


def test_a_first_order_that_leads_to_risk_is_no_high_risk_order() -> None:
    new = replace(RISKY, trust_score=50, segment="normal")
    assert told(rescored(new, Features(), Score(10, "critical"), happenings=[PLACED])) == [
        "order_placed",
        "score_updated",
        "segment_changed",
    ]


def test_a_block_says_why_and_shows_itself() -> None:
    change = replace(
        rescored(RISKY, Features(), Score(34, "risk")), after=replace(RISKY, is_blocked=True), reason="fraud"
    )
    blocked, updated = events(change, cause=CAUSE, now=NOW)
    assert (blocked.type, blocked.data.reason, blocked.customer.is_blocked) == ("customer_blocked", "fraud", True)
    assert updated.type == "score_updated"


def test_a_block_without_a_reason_has_an_empty_one() -> None:
    change = replace(rescored(RISKY, Features(), Score(34, "risk")), after=replace(RISKY, is_blocked=True))
    assert events(change, cause=CAUSE, now=NOW)[0].data.reason == ""


def test_the_allowlisting_event_shows_the_score_it_leads_to() -> None:
    after = replace(RISKY, is_allowlisted=True, trust_score=100, segment="vip")
    change = replace(rescored(RISKY, Features(), Score(100, "vip")), after=after)
    made = events(change, cause=CAUSE, now=NOW)
    assert [e.type for e in made] == ["customer_allowlisted", "score_updated", "segment_changed"]
    assert {e.customer.trust_score for e in made} == {100}


def test_the_same_change_makes_the_same_ids() -> None:
    change = rescored(RISKY, Features(), Score(34, "risk"))
    assert events(change, cause=CAUSE, now=NOW)[0].id == events(change, cause=CAUSE, now=NOW)[0].id
