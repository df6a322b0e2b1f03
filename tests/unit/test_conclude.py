"""What an order's facts and its disputes amount to together."""

from decimal import Decimal

from scorer import disputes
from scorer.conclude import Concluded, Known, conclude
from scorer.facts import OrderState, OrderStep, fold, incoming
from shared.events import DisputeFact
from support.facts import NOW, dispute, order, refund

JANE = "a" * 64
PLACED = incoming(order(7), JANE)


def known(*facts: DisputeFact, stored: disputes.Case | None = None) -> Known:
    return Known(stored, disputes.fold(stored, facts).after, facts[-1].id if facts else None)


def concluded(state: OrderState, *steps: OrderStep, cases: tuple[Known, ...] = (), live: bool = True) -> Concluded:
    return conclude(fold(state, steps, live=live, now=NOW), cases, live=live, now=NOW)


def stored(*steps: OrderStep) -> OrderState:
    return fold(OrderState(), steps, live=True, now=NOW).after


def told(one: Concluded) -> list[str]:
    return [happening.type for happening in one.happenings]


def test_a_dispute_is_told_with_its_order_and_not_again() -> None:
    fact = dispute(7)
    first = concluded(stored(PLACED), cases=(known(fact),))
    assert (told(first), first.fact_id) == (["chargeback_filed"], fact.id)
    again = concluded(stored(PLACED), cases=(known(fact, stored=first.cases[0].after),))
    assert (told(again), again.changed) == ([], False)


def test_a_dispute_waits_for_its_order_and_then_for_its_customer() -> None:
    waiting = concluded(OrderState(), cases=(known(dispute(7)),))
    assert (told(waiting), waiting.changed) == ([], False)
    case = Known(waiting.cases[0].after, waiting.cases[0].after)
    nobodys = concluded(OrderState(), incoming(order(7, None), None), cases=(case,))
    assert ("chargeback_filed" in told(nobodys), nobodys.changed) == (False, True)
    assert told(concluded(OrderState(), PLACED, cases=(case,)))[-1] == "chargeback_filed"


def test_a_dispute_that_history_kept_to_itself_is_told_by_the_same_fact_live() -> None:
    fact = dispute(7, at=0.5)
    quiet = concluded(stored(PLACED), cases=(known(fact),), live=False)
    assert told(quiet) == []
    case = quiet.cases[0].after
    assert told(concluded(stored(PLACED), cases=(known(fact, stored=case),), live=False)) == []
    assert told(concluded(stored(PLACED), cases=(known(fact, stored=case),))) == ["chargeback_filed"]


def test_a_stale_version_that_names_the_payment_brings_the_dispute() -> None:
    waiting = disputes.fold(None, [dispute(payments=["ch_1"])]).after
    after = disputes.joined(waiting, {"ch_1": 7})
    older = incoming(order(7, status="processing", at=11), JANE)
    one = concluded(stored(PLACED), older, cases=(Known(waiting, after),))
    assert (told(one), one.fact_id) == (["chargeback_filed"], older.fact_id)


def test_a_lost_dispute_takes_its_refund_from_the_returns() -> None:
    state = stored(PLACED, refund(7, "100.00"))
    assert concluded(state, cases=(known(dispute(7, "lost")),)).settled.count == 0
    assert concluded(state, cases=(known(dispute(7, "won")),)).settled.count == 1


def test_more_paid_back_than_the_total_is_noted_once_and_again_when_it_grows() -> None:
    state = stored(PLACED, refund(7, "100.00"))
    more = concluded(state, refund(7, "20.00", number=2))
    assert [h.note for h in more.happenings if h.note] == [
        "Refunds of order 7 exceed its total by 20.00 EUR. Its total is what counts as paid back."
    ]
    assert more.settled.value == Decimal("100.00")
    again = concluded(more.folded.after, incoming(order(7, modified=1, status="refunded"), JANE))
    assert "note_added" not in told(again)
    assert "note_added" in told(concluded(more.folded.after, refund(7, "5.00", number=3)))
