"""One rule meets one event: what comes of it, and what it says."""

from typing import Any

import pytest

from rule_engine.evaluate import MAX_FAULT, Candidate, Judged, Skipped, evaluate, in_shadow
from rule_engine.rules import Rule, stored_rule
from shared.events import Event, EventData
from shared.fields import fields_of
from shared.ids import uuid7
from support.events import event, order, snapshot

LOW = {"field": "trust_score", "operator": "<", "value": 30}
LARGE = {"field": "order.total", "operator": ">", "value": 200}


def rule(conditions: Any = None, *, mode: str = "live") -> Rule:
    return stored_rule(
        rule_id=uuid7(),
        version=1,
        name="Rule",
        trigger="order_placed",
        conditions=conditions,
        actions=[],
        cooldown=3600,
        hourly_limit=1000,
        mode=mode,
    )


def judged(of: Rule, happened: Event) -> Judged:
    return evaluate(of, happened, fields_of(happened))


def test_a_rule_whose_conditions_hold_is_a_candidate_with_the_values_it_asked_for() -> None:
    happened = event("order_placed", data=EventData(order=order()))
    found = judged(rule({"all": [LOW, LARGE]}), happened)
    assert isinstance(found, Candidate)
    assert found.reason == "the conditions hold"
    assert found.values == {"trust_score": 25, "order.total": order().total}


def test_a_rule_without_conditions_says_that_it_has_none() -> None:
    assert judged(rule(), event()).reason == "no conditions"


@pytest.mark.parametrize(
    ("conditions", "told", "kind", "reason"),
    [
        (LOW, {"customer": snapshot(trust_score=47)}, "conditions", "trust_score < 30: actual 47"),
        (LARGE, {}, "conditions", "order.total: no order in this event"),
        ({"not": LOW}, {}, "conditions", "not: the excluded condition holds"),
        (LOW, {"depth": 3}, "depth", "depth 3: rules have triggered one another long enough"),
    ],
)
def test_a_rule_that_does_not_fire_says_why(conditions: Any, told: Any, kind: str, reason: str) -> None:
    found = judged(rule(conditions), event(**told))
    assert isinstance(found, Skipped)
    assert (found.kind, found.reason, found.failed) == (kind, reason, False)


def test_a_missing_value_is_seen_as_missing() -> None:
    assert judged(rule({"all": [LOW, LARGE]}), event()).values == {"trust_score": 25, "order.total": None}


def test_a_rule_that_is_no_longer_valid_has_failed_and_says_so_in_short() -> None:
    conditions = {"all": [{"field": f"shoe_size_{n}", "operator": "=", "value": 44} for n in range(40)]}
    found = judged(rule(conditions), event())
    assert isinstance(found, Skipped)
    assert (found.kind, found.failed, found.values) == ("fault", True, {})
    assert found.reason.startswith("the rule is no longer valid: ")
    assert len(found.reason) < MAX_FAULT + 50


def test_a_shadow_would_have_fired() -> None:
    live, shadow = (judged(rule(mode=mode), event()) for mode in ("live", "shadow"))
    assert isinstance(live, Candidate)
    assert isinstance(shadow, Candidate)
    assert in_shadow(live) is None
    held = in_shadow(shadow)
    assert held
    assert (held.kind, held.reason) == ("shadow", "shadow: would have fired")
