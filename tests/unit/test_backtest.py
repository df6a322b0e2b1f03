"""What a rule would have done, counted."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from rule_engine.backtest import SAMPLES, Backtest
from rule_engine.happened import Happened, Kept, reader
from rule_engine.rules import Rule, rule_of
from shared.events import Event, EventData
from support.events import event, order, snapshot

MINUTE = timedelta(minutes=1)


def rule(**changes: Any) -> Rule:
    fields: dict[str, Any] = {
        "name": "Any order",
        "trigger": "order_placed",
        "conditions": None,
        "actions": [],
        "cooldown": 3600,
    }
    return rule_of(UUID(int=7), 1, {**fields, "hourly_limit": 1000, "mode": "live", **changes})


def placed(minute: int, customer: str = "a", *, total: str = "10.00", order_id: int = 1, **more: Any) -> Event:
    return event(
        "order_placed",
        at=minute * MINUTE,
        customer=snapshot(customer * 64),
        data=EventData(order=order(id=order_id, total=Decimal(total), currency=more.pop("currency", "USD"))),
        sequence=minute,
        **more,
    )


def told(events: Sequence[Event], tested: Rule) -> list[Happened]:
    """As they are read from where the scorer keeps them."""
    read = reader(tested.fields)
    kept = [Kept((it.recorded_at, it.sequence, it.id), it.customer.email_hash, it.encode()) for it in events]
    return [read(it) for it in kept]


def played(events: Sequence[Event], *, tested: Rule | None = None, live: Sequence[Event] = ()) -> dict[str, Any]:
    backtest = Backtest(tested or rule())
    backtest.play(told(events, backtest.rule), {it.id for it in live})
    return backtest.result(compared=True)


def test_firings_customers_and_the_value_of_their_orders_are_counted_each_order_once() -> None:
    events = [
        placed(0, total="10.00", order_id=1),
        placed(1, "b", total="20.50", order_id=2),
        placed(2, "c", total="99.00", order_id=3, currency="EUR"),
        placed(70, total="11.00", order_id=1),  # the same order, told again when its rule has cooled down
    ]
    result = played(events)
    assert (result["events"], result["firings"], result["customers"]) == (4, 4, 3)
    assert result["order_value"] == {"EUR": Decimal("99.00"), "USD": Decimal("30.50")}


def test_what_kept_it_from_firing_is_counted_by_kind() -> None:
    tested = rule(conditions={"field": "order.total", "operator": ">", "value": 5}, hourly_limit=2)
    events = [
        placed(0),
        placed(1),  # cooldown
        placed(2, "b", total="5.00"),  # conditions
        placed(3, "b", depth=3),  # depth
        placed(4, "b"),
        placed(5, "c"),  # hourly limit
        event("order_placed", at=6 * MINUTE),  # no order
    ]
    result = played(events, tested=tested)
    assert result["firings"] == 2
    assert result["skipped"] == {"conditions": 2, "cooldown": 1, "depth": 1, "hourly_limit": 1}


def test_the_first_ten_firings_are_shown_with_what_the_rule_saw() -> None:
    tested = rule(conditions={"field": "order.total", "operator": ">", "value": 5}, cooldown=0)
    result = played([placed(n, order_id=n) for n in range(12)], tested=tested)
    assert len(result["samples"]) == SAMPLES
    assert result["samples"][1] == {
        "event_id": result["samples"][1]["event_id"],
        "at": "2026-03-02 12:01:00",
        "customer": "a" * 64,
        "order_id": 1,
        "values": {"order.total": Decimal("10.00")},
    }


def test_it_is_compared_with_what_the_rule_did_when_it_happened() -> None:
    both, only_live, only_backtest, neither = placed(0), placed(1), placed(2, "b"), placed(3, "b")
    result = played([both, only_live, only_backtest, neither], live=[both, only_live])
    assert result["live"] == {"fired": 2, "both": 1, "only_backtest": 1, "only_live": 1}


def test_a_draft_is_compared_with_nothing() -> None:
    backtest = Backtest(rule())
    backtest.play(told([placed(0)], backtest.rule))
    assert backtest.result(compared=False)["live"] is None


def test_no_mode_keeps_a_rule_from_being_backtested() -> None:
    assert {played([placed(0)], tested=rule(mode=mode))["firings"] for mode in ("live", "shadow", "off")} == {1}


def test_no_event_is_a_result_too() -> None:
    assert played([]) == {
        "events": 0,
        "firings": 0,
        "customers": 0,
        "order_value": {},
        "skipped": {},
        "samples": [],
        "live": {"fired": 0, "both": 0, "only_backtest": 0, "only_live": 0},
    }


@given(
    happened=st.lists(st.tuples(st.integers(0, 300), st.sampled_from("abc"), st.integers(0, 3)), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    cooldown=st.sampled_from([0, 600, 3600]),
    limit=st.integers(1, 4),
)
def test_pages_of_any_size_come_to_the_same(
    happened: list[tuple[int, str, int]], cuts: list[int], cooldown: int, limit: int
) -> None:
    tested = rule(cooldown=cooldown, hourly_limit=limit)
    made = [placed(minute, who, depth=depth, order_id=minute) for minute, who, depth in happened]
    events = told(sorted(made, key=lambda it: (it.recorded_at, it.sequence, it.id)), tested)
    whole = Backtest(tested)
    fired = whole.play(events)
    paged = Backtest(tested, _room=0)  # lets go of what is over at its first firing
    bounds = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    in_pages = [it for begin, end in pairwise(bounds) for it in paged.play(events[begin:end])]
    assert [it.event.id for it in in_pages] == [it.event.id for it in fired]
    assert paged.result(compared=False) == whole.result(compared=False)
