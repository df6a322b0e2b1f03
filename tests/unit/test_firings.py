"""What a rule that fired asks for: an automation for each action, and a command for each that changes the customer."""

from typing import Any
from uuid import UUID

import pytest

from rule_engine import firings
from rule_engine.actions import LABELS
from rule_engine.evaluate import Candidate
from rule_engine.rules import Rule, stored_rule
from shared.events import CUSTOMER_ACTIONS, Cause, EventData
from shared.ids import derived, uuid7
from support.events import JANE, event, order

EVERY_ACTION: list[dict[str, Any]] = [
    {"type": "block_customer", "reason": "Too many refunds"},
    {"type": "unblock_customer"},
    {"type": "allowlist_customer"},
    {"type": "tag_customer", "tag": "watch"},
    {"type": "add_note", "text": "Look at this."},
    {"type": "hold_order", "reason": "Wait"},
    {"type": "cancel_order"},
    {"type": "send_email", "to": "owner@shop.example", "subject": "Look", "text": "At this."},
    {
        "type": "send_slack",
        "target_id": str(uuid7()),
        "url": "https://hooks.slack.com/x",
        "text": "Look",
        "timeout": 10,
    },
    {"type": "send_webhook", "target_id": str(uuid7()), "url": "https://crm.example/", "headers": {}, "timeout": 10},
    {"type": "send_webhook", "webhook_id": str(uuid7())},
    {"type": "recalculate_score"},
]


def rule(*actions: dict[str, Any]) -> Rule:
    return stored_rule(
        rule_id=uuid7(),
        version=3,
        name="Serial returner",
        trigger="order_refunded",
        conditions=None,
        actions=actions,
        cooldown=0,
        hourly_limit=1000,
        mode="live",
    )


def fired(*actions: dict[str, Any], depth: int = 0) -> Candidate:
    happened = event("order_refunded", data=EventData(order=order()), depth=depth)
    return Candidate(rule(*actions), happened, "no conditions", {})


def test_there_is_an_action_of_each_type_here() -> None:
    assert {action["type"] for action in EVERY_ACTION} == set(LABELS)


def test_every_action_has_an_automation_with_what_it_was_given_and_no_secret() -> None:
    candidate = fired(*EVERY_ACTION)
    told = list(firings.automations(candidate))
    assert [automation.action.type for automation in told] == [action["type"] for action in EVERY_ACTION]
    assert [automation.action.position for automation in told] == list(range(len(EVERY_ACTION)))
    assert {automation.order_id for automation in told} == {4821}
    assert {name: dict(a.action.params) for a in told if (name := a.action.type) != "send_webhook"} == {
        "block_customer": {"reason": "Too many refunds"},
        "unblock_customer": {},
        "allowlist_customer": {},
        "tag_customer": {"tag": "watch"},
        "add_note": {"text": "Look at this."},
        "hold_order": {"reason": "Wait"},
        "cancel_order": {},
        "send_email": {"to": "owner@shop.example", "subject": "Look", "text": "At this."},
        "send_slack": {"text": "Look"},
        "recalculate_score": {},
    }
    webhooks = [automation.action for automation in told if automation.action.type == "send_webhook"]
    assert [(str(action.target_id), dict(action.params)) for action in webhooks] == [
        (EVERY_ACTION[9]["target_id"], {}),
        (EVERY_ACTION[10]["webhook_id"], {}),
    ]


@pytest.mark.parametrize(
    ("action", "kind", "data"),
    [
        (EVERY_ACTION[0], "customer.update", {"is_blocked": True, "reason": "Too many refunds"}),
        ({"type": "block_customer"}, "customer.update", {"is_blocked": True, "reason": "Rule: Serial returner"}),
        (EVERY_ACTION[1], "customer.update", {"is_blocked": False}),
        (EVERY_ACTION[2], "customer.update", {"is_allowlisted": True}),
        (EVERY_ACTION[3], "customer.tag", {"tag": "watch"}),
        (EVERY_ACTION[4], "customer.note", {"text": "Look at this."}),
        (EVERY_ACTION[11], "customer.recalculate", {}),
    ],
)
def test_what_changes_the_customer_is_asked_of_the_scorer(
    action: dict[str, Any], kind: str, data: dict[str, Any]
) -> None:
    (asked,) = firings.asked_of_scorer(fired(action))
    assert (asked.type, asked.data) == (kind, {"email_hash": JANE, **data})


def test_what_is_asked_of_the_scorer_is_exactly_what_the_dispatcher_does_not_do() -> None:
    for action in EVERY_ACTION:
        assert len(list(firings.asked_of_scorer(fired(action)))) == (action["type"] in CUSTOMER_ACTIONS), action


def test_an_action_s_automation_and_command_have_one_id_that_follows_from_event_rule_and_position() -> None:
    candidate = fired(*EVERY_ACTION)

    def id_of(position: int) -> UUID:
        return derived(candidate.event.id, candidate.rule.id, position)

    assert [automation.id for automation in firings.automations(candidate)] == [*map(id_of, range(len(EVERY_ACTION)))]
    assert [asked.id for asked in firings.asked_of_scorer(candidate)] == [*map(id_of, (0, 1, 2, 3, 4, 11))]


def test_what_an_action_leads_to_is_one_rule_further_from_the_fact() -> None:
    candidate = fired(EVERY_ACTION[0], depth=1)
    (automation,) = firings.automations(candidate)
    assert automation.cause == firings.cause(candidate) == Cause(kind="rule", id=candidate.rule.id, depth=2)
