"""Versions of a dispute, in any order of arrival, and what its customer hears."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.disputes import Case, fold, joined, lost_amounts, told
from shared.events import DisputeFact, DisputeStatus, OrderInfo
from shared.ids import uuid7
from support.facts import NOW, ago, dispute

ORDER = OrderInfo(id=7, number="7", total=Decimal("100.00"), currency="EUR", status="completed")
FACT = uuid7()


def case(*facts: DisputeFact) -> Case:
    return fold(None, facts).after


def heard(case: Case, *, live: bool = True) -> tuple[Case, list[tuple[str, bool]]]:
    """(the case as told, [(type, published)])"""
    after, happenings = told(case, ORDER, FACT, live=live, now=NOW)
    return after, [(happening.type, happening.published) for happening in happenings]


def lived(*statuses: DisputeStatus) -> list[str]:
    """What a customer hears of a dispute that goes through these."""
    types: list[str] = []
    current: Case | None = None
    for day, status in enumerate(statuses):
        current, happenings = heard(fold(current, [dispute(7, status, at=20 - day)]).after)
        types += [kind for kind, _ in happenings]
    return types


@pytest.mark.parametrize(
    ("statuses", "types"),
    [
        (["open"], ["chargeback_filed"]),
        (["open", "under_review", "won"], ["chargeback_filed", "chargeback_updated", "chargeback_closed"]),
        (["lost"], ["chargeback_filed", "chargeback_closed"]),
        (["open", "lost", "won"], ["chargeback_filed", "chargeback_closed", "chargeback_closed"]),
        (["warning", "open"], ["chargeback_filed", "chargeback_filed"]),
        (["open", "open"], ["chargeback_filed"]),
    ],
)
def test_each_step_of_a_dispute_is_told_once(statuses: list[DisputeStatus], types: list[str]) -> None:
    assert lived(*statuses) == types


def test_an_inquiry_is_on_the_timeline_only() -> None:
    assert heard(case(dispute(7, "warning")))[1] == [("chargeback_filed", False)]


def test_history_tells_the_timeline_alone_and_leaves_the_last_day_to_live_facts() -> None:
    assert heard(case(dispute(7, at=5)), live=False)[1] == [("chargeback_filed", False)]
    kept, happenings = heard(case(dispute(7, at=0.5)), live=False)
    assert (kept.told, happenings) == (None, [])


def test_the_earliest_fact_says_when_it_was_opened_and_the_latest_how_it_stands() -> None:
    late, early = dispute(7, "under_review", at=3), dispute(7, "open", at=9)
    for facts in ([late, early], [early, late]):
        found = case(*facts)
        assert (found.opened_at, found.modified_at, found.dispute.status) == (ago(9), ago(3), "under_review")


def test_what_an_older_version_knew_of_order_and_payments_stays_true() -> None:
    found = case(dispute(7, at=9, payments=["ch_1"]), dispute(None, "lost", at=3, payments=["pi_1"]))
    assert (found.dispute.order_id, found.dispute.payments) == (7, ("ch_1", "pi_1"))


def test_a_payment_finds_the_order_unless_the_dispute_names_one() -> None:
    assert joined(case(dispute(payments=["ch_1", "pi_1"])), {"pi_1": 9}).dispute.order_id == 9
    assert joined(case(dispute(7, payments=["ch_1"])), {"ch_1": 9}).dispute.order_id == 7
    assert joined(case(dispute(payments=["ch_1"])), {"ch_2": 9}).dispute.order_id is None


def test_only_lost_disputes_explain_refunds() -> None:
    cases = [case(dispute(7, "lost", amount="40")), case(dispute(7, "won", amount="50"))]
    assert lost_amounts(cases) == [Decimal(40)]


def test_a_dispute_of_no_fact_and_no_row_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no dispute"):
        fold(None, [])


VERSIONS = [
    dispute(None, "warning", at=9, payments=["ch_1"]),
    dispute(7, "open", at=8),
    dispute(None, "under_review", at=5, payments=["pi_1"]),
    dispute(7, "won", at=5),
    dispute(None, "lost", at=5, amount="80.00"),
]


@given(st.permutations(VERSIONS), st.lists(st.sampled_from(VERSIONS), max_size=4), st.integers(0, 9))
def test_any_order_of_arrival_ends_in_the_same_case(
    arrivals: list[DisputeFact], again: list[DisputeFact], cut: int
) -> None:
    arrivals = [*arrivals, *again]
    first = fold(None, arrivals[:cut]).after if cut else None
    state = fold(first, arrivals[cut:]).after if arrivals[cut:] else first
    assert state == case(*VERSIONS)
