"""Facts of an order, in any order of arrival."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.facts import Folded, Incoming, OrderState, OrderStep, Settled, fold, incoming, settled
from shared.events import OrderFact
from support.facts import NOW, ago, deleted, order, refund

JANE, JOHN = "a" * 64, "b" * 64
NOTHING = OrderState()


def version(status: str = "processing", *, at: float = 10, owner: str | None = JANE, **fields: object) -> Incoming:
    """As of so many days ago; the order was placed ten days ago."""
    made: OrderFact = order(7, status=status, at=10, modified=at, **fields)  # type: ignore[arg-type]
    return incoming(made, owner)


def folded(state: OrderState, *steps: OrderStep, live: bool = True) -> Folded:
    return fold(state, steps, live=live, now=NOW)


def after(*steps: OrderStep, live: bool = True) -> OrderState:
    return folded(NOTHING, *steps, live=live).after


def told(folded: Folded) -> list[str]:
    return [happening.type for happening in folded.happenings]


def results(folded: Folded) -> list[str]:
    return [result for _, result in folded.results]


def test_the_first_version_places_the_order() -> None:
    assert told(folded(NOTHING, version())) == ["order_placed"]


def test_a_draft_is_not_yet_placed_and_its_first_real_version_is() -> None:
    first = folded(NOTHING, version("checkout-draft"))
    assert (told(first), first.after.announced) == ([], False)
    assert told(folded(first.after, version("pending", at=9))) == ["order_placed", "order_status_changed"]


def test_an_order_first_seen_refunded_tells_that_it_was_placed_and_each_refund() -> None:
    assert told(folded(NOTHING, version("refunded", refunds=["1", "2"]))) == [
        "order_placed",
        "order_refunded",
        "order_refunded",
    ]


def test_each_new_refund_is_told_once() -> None:
    one, two = version("completed", refunds={1: "10"}), version("completed", at=9, refunds={1: "10", 2: "20"})
    happened = folded(after(one), two).happenings
    assert [h.data.refund.id for h in happened if h.data.refund] == [2]


def test_a_cancelled_order_tells_the_change_and_the_cancellation() -> None:
    change = folded(after(version("processing")), version("cancelled", at=9))
    assert told(change) == ["order_status_changed", "order_cancelled"]
    assert change.happenings[0].data.old_status == "processing"


def test_coupons_are_on_the_timeline_once() -> None:
    first = folded(NOTHING, version(coupons=["welcome10", "save5"]))
    assert told(first) == ["order_placed", "coupon_applied", "coupon_applied"]
    assert told(folded(first.after, version("completed", at=9, coupons=["welcome10", "save5"]))) == [
        "order_status_changed",
        "order_completed",
    ]


def test_the_same_version_again_changes_nothing() -> None:
    once = version()
    again = folded(after(once), once)
    assert (again.changed, again.winner, told(again), results(again)) == (False, None, [], ["unchanged"])


def test_an_older_version_is_stale() -> None:
    late = folded(after(version("completed", at=5)), version("processing", at=9))
    assert (late.winner, told(late), results(late)) == (None, [], ["stale"])


def test_in_the_same_second_more_refunds_win_then_the_later_status() -> None:
    plain, refunded = version("completed"), version("processing", refunds=["1"])
    assert folded(after(refunded), plain).winner is None
    assert folded(after(plain), refunded).winner is refunded
    assert folded(after(version("completed")), version("processing")).winner is None
    assert folded(after(version("processing")), version("wc-custom")).winner is not None


def test_an_order_that_moves_to_another_customer_names_the_former_one() -> None:
    assert folded(after(version()), version(at=9, owner=JOHN)).former_owner == JANE


def test_an_order_of_nobody_is_announced_when_it_is_somebodys() -> None:
    first = folded(NOTHING, version(owner=None))
    assert (first.after.announced, told(first)) == (False, [])
    assert told(folded(first.after, version(at=9, owner=JANE))) == ["order_placed"]


# History --------------------------------------------------------------------------------------------------------------


def test_history_tells_the_timeline_of_an_old_order_and_nothing_of_a_young_one() -> None:
    old = folded(NOTHING, version("completed", refunds=["10"]), live=False)
    assert told(old) == ["order_placed", "order_completed", "order_refunded"]
    assert {(h.published, h.occurred_at) for h in old.happenings} == {(False, ago(10))}
    young = incoming(order(8, at=0.9), JANE)
    quiet = folded(NOTHING, young, live=False)
    assert (told(quiet), quiet.after.announced, results(quiet)) == ([], False, ["applied"])
    first_live = folded(quiet.after, young)
    assert (told(first_live), results(first_live), first_live.changed) == (["order_placed"], ["unchanged"], True)


# Refunds and deletions told by themselves -----------------------------------------------------------------------------


def test_a_refund_before_its_order_is_kept_and_told_when_the_order_comes() -> None:
    kept = folded(NOTHING, refund(7, "10.00"))
    assert (kept.after.version, told(kept), results(kept)) == (None, [], ["applied"])
    assert told(folded(kept.after, version())) == ["order_placed", "order_refunded"]


def test_a_refund_that_is_both_listed_and_reported_is_one_and_the_order_s_word_counts() -> None:
    both = after(version(refunds={1: "10.00"}), refund(7, "12.00", number=1), refund(7, "5.00", number=2))
    assert {n: r.amount for n, r in both.refunds.items()} == {1: Decimal("10.00"), 2: Decimal("5.00")}


def test_a_deleted_order_is_in_the_trash_until_a_newer_version() -> None:
    gone = after(version("completed"), deleted(7, at=5))
    assert (gone.status, gone.deleted) == ("trash", True)
    late = folded(gone, version("completed", at=6))
    assert (late.after.status, told(late)) == ("trash", [])
    restored = folded(late.after, version("completed", at=4))
    assert (restored.after.status, told(restored)) == ("completed", ["order_status_changed", "order_completed"])


def test_a_deletion_before_any_version_keeps_the_older_ones_in_the_trash() -> None:
    known = after(deleted(7, at=5))
    assert folded(known, version(at=6)).after.status == "trash"
    assert folded(known, version(at=4)).after.status == "processing"


# Odd input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "noted"), [(ago(-2), True), (ago(-0.5), False), (ago(0), False), (ago(9999), True)])
def test_a_date_that_cannot_be_meant_is_noted_once(at: object, noted: bool) -> None:
    one = incoming(order(7, at=at), JANE)  # type: ignore[arg-type]
    first = folded(NOTHING, one)
    assert ("note_added" in told(first)) is noted
    later = replace(one, version=replace(one.version, modified_at=ago(-3)))
    assert "note_added" not in told(folded(first.after, later))


def test_another_currency_is_noted() -> None:
    change = folded(after(version()), version(at=9, currency="USD"))
    assert [h.note for h in change.happenings] == ["The currency of order 7 changed from EUR to USD."]


def test_more_refunded_than_paid_counts_up_to_the_total() -> None:
    state = after(version(total="100.00", refunds=["100.00", "20.00"]))
    assert settled(state, []) == Settled(count=2, full=1, value=Decimal("100.00"), excess=Decimal("20.00"))


@pytest.mark.parametrize("reason", ["Dispute lost.", "dispute lost", " DISPUTE LOST. "])
def test_a_refund_that_says_it_is_of_a_lost_dispute_is_no_return(reason: str) -> None:
    assert settled(after(version(refunds=["100.00"], reason=reason)), []).count == 0


def test_one_lost_dispute_explains_one_refund_of_its_amount() -> None:
    state = after(version(refunds=["40.00", "40.00"]))
    assert settled(state, [Decimal("40.01")]).count == 1
    assert settled(state, [Decimal("40.00"), Decimal("40.00"), Decimal("40.00")]).count == 0
    assert settled(state, [Decimal("39.00")]).count == 2


# Whatever the order of arrival ----------------------------------------------------------------------------------------

STEPS: Sequence[OrderStep] = [
    version("checkout-draft"),
    version("pending"),
    version("processing", at=9),
    version("completed", at=8),
    version("completed", at=7, refunds={1: "10.00"}),
    version("refunded", at=7, refunds={1: "10.00", 2: "90.00"}),
    version("completed", at=3, owner=JOHN),
    refund(7, "10.00", number=1, at=7),
    refund(7, "15.00", number=3, at=6),
    refund(7, "16.00", number=3, at=5),
    deleted(7, at=4),
    deleted(7, at=2),
]


@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=16), st.data())
def test_any_order_of_arrival_and_any_cut_into_batches_end_in_the_same_state(
    arrivals: list[OrderStep], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(arrivals)))
    state, refunds, placed = NOTHING, [], 0
    for batch in (arrivals[:cut], arrivals[cut:]):
        result = folded(state, *batch)
        state = result.after
        refunds += [h.data.refund.id for h in result.happenings if h.type == "order_refunded" and h.data.refund]
        placed += told(result).count("order_placed")
        assert len(result.results) == len(batch)
    at_once = after(*arrivals)
    assert replace(state, announced=True) == replace(at_once, announced=True)
    assert placed == state.announced
    assert placed >= state.placed


@given(st.permutations(STEPS))
def test_all_facts_in_any_order_settle_alike(arrivals: list[OrderStep]) -> None:
    state = NOTHING
    for step in arrivals:
        state = folded(state, step).after
    assert settled(state, []) == settled(after(*STEPS), [])
