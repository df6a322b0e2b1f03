"""What a rule that is tried says, as far as it takes no database."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID

import pytest

from rule_engine import tryout
from rule_engine.actions import LABELS
from rule_engine.rules import Trigger, rule_of
from rule_engine.tryout import Tried, tried, would
from shared.events import Event, EventData
from shared.fields import CONTEXTS, SPECS, fields_of
from support.events import STORE, T0, event, order, snapshot


def rule_fields(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": "Tried",
        "trigger": "order_placed",
        "conditions": None,
        "actions": [],
        "cooldown": 3600,
    }
    return {**fields, "hourly_limit": 2, "mode": "live", **changes}


def told(on: Tried, **changes: Any) -> dict[str, Any]:
    fields = rule_fields(**changes)
    return tried(rule_of(UUID(int=1), 1, fields), fields["actions"], on, T0)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ({"type": "block_customer"}, "block the customer"),
        ({"type": "block_customer", "reason": "fraud"}, "block the customer, because: fraud"),
        ({"type": "unblock_customer"}, "unblock the customer"),
        ({"type": "allowlist_customer"}, "put the customer on the allowlist"),
        ({"type": "tag_customer", "tag": "vip"}, "tag the customer: vip"),
        ({"type": "add_note", "text": "n" * 200}, f"add a note: {'n' * 99}…"),
        ({"type": "hold_order"}, "put order 4821 on hold"),
        ({"type": "cancel_order", "reason": "fraud"}, "cancel order 4821, because: fraud"),
        ({"type": "send_email", "to": "a@b.example", "subject": "Look"}, "send an e-mail to a@b.example: Look"),
        ({"type": "send_slack", "url": "https://hooks.slack.com/x", "text": "Look"}, "send a Slack message: Look"),
        ({"type": "send_slack", "url": "https://hooks.slack.com/x"}, "send a Slack message"),
        ({"type": "send_webhook", "url": "https://crm.example/"}, "POST to https://crm.example/, signed"),
        ({"type": "send_webhook", "webhook_id": "7"}, "POST to the endpoint 7, signed"),
        ({"type": "recalculate_score"}, "recalculate the customer's score"),
    ],
)
def test_each_action_says_what_it_would_do(action: Mapping[str, Any], said: str) -> None:
    assert would(action, event(data=EventData(order=order()))) == said


def test_there_are_words_for_every_action_and_for_one_that_is_none() -> None:
    for kind in LABELS:
        assert not would({"type": kind}, event()).startswith("nothing")
    assert would({"type": "dance"}, event()) == "nothing: dance is no action"
    assert would({"type": "hold_order"}, event()) == "hold no order: this event has none"


def test_every_leaf_has_the_pointer_to_its_place() -> None:
    leaf = {"field": "trust_score", "operator": "<", "value": 30}
    conditions = {"all": [leaf, {"any": [{"not": leaf}, leaf]}]}
    assert pointers(conditions) == ["/conditions/all/0", "/conditions/all/1/any/0/not", "/conditions/all/1/any/1"]
    assert pointers(leaf) == ["/conditions"]
    assert pointers(None) == []


def pointers(conditions: object) -> list[str]:
    told = tried(rule_of(UUID(int=1), 1, rule_fields(conditions=conditions)), (), Tried(event(), "stored"), T0)
    return [leaf["pointer"] for leaf in told["conditions"]]


def test_a_rule_that_is_no_longer_valid_fails() -> None:
    shown = told(Tried(event("order_placed"), "given"), conditions={"field": "shoe_size", "operator": "=", "value": 44})
    assert shown["outcome"] == "failed"
    assert shown["reason"].startswith("the rule is no longer valid: ")


def test_an_old_event_is_tried_as_if_it_happened_now() -> None:
    old = event("order_placed", at=-timedelta(days=3))
    assert told(Tried(old, "stored", last=old.recorded_at))["outcome"] == "fired"
    waiting = told(Tried(old, "stored", last=T0 - timedelta(minutes=48)))
    assert (waiting["reason"], waiting["cooldown"]["would_wait"]) == ("cooldown: 12 min left", "12 min")
    assert told(Tried(old, "stored", last=T0, this_hour=1), cooldown=0)["outcome"] == "fired"
    assert told(Tried(old, "stored", this_hour=2))["reason"] == "hourly limit: 2 firings since 12:00"


@pytest.mark.parametrize("trigger", get_args(Trigger))
def test_a_made_up_event_has_what_its_trigger_has_but_for_refunds_and_disputes(trigger: str) -> None:
    made: Event = tryout.made_up(
        snapshot(account_age_days=3, days_since_last_order=3),
        order(),
        store_id=STORE,
        event_id=UUID(int=1),
        trigger=trigger,
        now=T0,
    )
    fields = fields_of(made)
    has = {spec.group for spec in SPECS.values() if fields.get(spec.name) is not None}
    assert has == CONTEXTS[trigger] - {"refund", "dispute"}
