"""What `trustlens rules test` and `rules backtest` print."""

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console, RenderableType

from cli.answers import Backtested, RuleTried
from cli.rule_files import drafted
from cli.rules_try import found, tried


def printed(shown: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=110, markup=False, highlight=False)
    console.print(shown)
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    return [line.rstrip() for line in text.splitlines()]


def trial(**changes: Any) -> RuleTried:
    leaf = {"pointer": "/conditions/all/0", "field": "segment", "operator": "in", "value": ["risk", "critical"]}
    total = {"pointer": "/conditions/all/1/not", "field": "order.total", "operator": "<=", "value": 200}
    answer = {
        "trigger": "order_placed",
        "event": {"source": "stored", "event_id": "x", "at": "2026-06-05 14:23:00", "customer": "x", "order_id": 4821},
        "outcome": "fired",
        "reason": "the conditions hold",
        "conditions": [
            {**leaf, "actual": "risk", "met": True, "reason": ""},
            {**total, "actual": None, "met": False, "reason": "order.total: no order in this event"},
        ],
        "cooldown": {"last_fired_at": None, "would_wait": None, "fired_this_hour": 3, "hourly_limit": 1000},
        "actions": [{"type": "hold_order", "would": "put order 4821 on hold"}],
    }
    return RuleTried.model_validate(answer | changes)


def test_a_trial_says_what_it_was_tried_on_each_condition_and_what_would_be_done():
    assert printed(tried(trial())) == [
        "would fire",
        "tried on  order_placed at 2026-06-05 14:23:00, order 4821: what happened",
        "cooldown  none under way; 3 of 1,000 firings this hour",
        "conditions",
        "  met      segment in risk, critical         actual risk",
        "  not met  order.total <= 200 (under a not)  actual missing",
        "would then",
        "  1. put order 4821 on hold",
    ]


def test_a_trial_that_would_not_fire_says_why_and_what_it_would_have_done():
    event = {"source": "made_up", "event_id": None, "at": "2026-06-05 14:23:00", "customer": "x", "order_id": None}
    cooldown = {
        "last_fired_at": "2026-06-05 13:35:00",
        "would_wait": "12 min",
        "fired_this_hour": 1,
        "hourly_limit": 5,
    }
    waiting = trial(
        event=event, outcome="skipped", reason="cooldown: 12 min left", cooldown=cooldown, conditions=[], actions=[]
    )
    assert printed(tried(waiting)) == [
        "would not fire: cooldown: 12 min left",
        "tried on  order_placed: a made-up event, for there is none: the customer as they are now",
        "cooldown  would wait: 12 min left, fired last at 2026-06-05 13:35:00; 1 of 5 firings this hour",
        "had it fired, it would",
    ]


def result(**changes: Any) -> Backtested:
    answer = {
        "rule": {"id": None, "version": None, "name": "Large\x1b order", "trigger": "order_placed"},
        "days": 30,
        "from": "2026-05-06 14:23:00",
        "to": "2026-06-05 14:23:00",
        "events": 12_345,
        "firings": 12,
        "customers": 1,
        "order_value": {"EUR": Decimal("99.00"), "USD": Decimal("1234.50")},
        "skipped": {"conditions": 12_300, "cooldown": 33},
        "samples": [
            {
                "event_id": "x",
                "at": "2026-05-07 10:00:00",
                "customer": "ab" * 32,
                "order_id": 7,
                "values": {"order.total": Decimal("249.00"), "tags": [], "account_age_days": None},
            }
        ],
        "live": {"fired": 11, "both": 10, "only_backtest": 2, "only_live": 1},
    }
    return Backtested.model_validate(answer | changes)


def test_a_backtest_says_what_the_rule_would_have_done_and_how_far_that_is_what_it_did():
    assert printed(found(result())) == [
        "rule              Large? order, over 30 days: 2026-05-06 14:23:00 to 2026-06-05 14:23:00",
        "played            12,345 order_placed events",
        "would have fired  12 times, for 1 customer",
        "orders worth      99.00 EUR, 1,234.50 USD",
        "did not fire      12,300 conditions not met · 33 cooling down",
        "live              fired 11 times: 10 the same, 2 only in the backtest, 1 only live",
        "the first times",
        "  2026-05-07 10:00:00  abababababab  order 7  order.total 249.00  tags none  account_age_days missing",
    ]


def test_full_agreement_is_said_in_a_word_and_a_draft_is_compared_with_nothing():
    agreed = printed(found(result(live={"fired": 12, "both": 12, "only_backtest": 0, "only_live": 0}, samples=[])))
    assert agreed[-1] == "live              fired for the same 12 events"
    assert not any(line.startswith("live") for line in printed(found(result(live=None))))


def test_a_draft_is_read_from_a_file_and_anything_else_is_a_rule(tmp_path: Path):
    draft = {"name": "Draft", "trigger": "order_placed", "actions": []}
    (tmp_path / "draft.json").write_text(json.dumps(draft), encoding="utf-8")
    assert drafted(str(tmp_path / "draft.json")) == {"rule": draft}
    assert drafted("0190a000") == drafted("日" * 200) == {}
    (tmp_path / "bad").write_text("{", encoding="utf-8")
    for name, why in (("bad", "is not JSON: "), ("none.json", "cannot be read: No such file")):
        with pytest.raises(typer.BadParameter, match=why):
            drafted(str(tmp_path / name))
