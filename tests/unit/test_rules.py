"""What is kept of a rule, what is shown of it, and what of it stays when it is changed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_engine.rules import (
    Frame,
    NewRule,
    change,
    framed,
    only_frames,
    patched,
    rule_fields,
    rule_of,
)
from rule_engine.targets import Settled, Target, settled
from shared.ids import uuid7
from shared.targets import Reach

ENDPOINT, RULE = UUID(int=1), UUID(int=2)
SLACK = "https://hooks.slack.com/services/x"
CRM = "https://crm.example/hook"
ACTIONS: list[dict[str, Any]] = [
    {"type": "send_webhook", "url": CRM, "headers": {"Authorization": "Bearer x"}, "timeout": 5},
    {"type": "send_webhook", "webhook_id": str(ENDPOINT)},
    {"type": "send_slack", "url": SLACK, "text": "Look."},
    {"type": "send_email", "to": "owner@shop.example", "subject": "Look", "text": "At this."},
    {"type": "block_customer", "reason": "Too many returns"},
    {"type": "unblock_customer"},
    {"type": "tag_customer", "tag": "watch"},
    {"type": "add_note", "text": "Look."},
    {"type": "hold_order"},
    {"type": "cancel_order", "reason": "Fraud"},
]
CONDITIONS = {
    "all": [
        {"field": "order.total", "operator": ">", "value": 200.5},
        {"not": {"any": [{"field": "segment", "operator": "in", "value": ["vip", "trusted"]}]}},
    ]
}


def read(actions: Sequence[Mapping[str, Any]] = ACTIONS, **changes: Any) -> NewRule:
    body = {"name": "A rule", "trigger": "order_placed", "conditions": CONDITIONS, "actions": actions, **changes}
    return NewRule.model_validate(body, context=Reach())


def settle(rule: NewRule, before: Sequence[Mapping[str, Any]] = (), known: Sequence[Target] = ()) -> Settled:
    return settled(
        rule.actions,
        before=before,
        known={target.id: target for target in known},
        new_id=uuid7,
        new_secret=lambda: "generated",
    )


def fields(rule: NewRule, targets: Settled) -> dict[str, Any]:
    """As they come back from the store."""
    stored: dict[str, Any] = json.loads(json.dumps(rule_fields(rule, targets.by_position)))
    return stored


def test_a_rule_comes_back_from_what_is_kept_with_what_its_actions_need() -> None:
    asked = read()
    targets = settle(asked)
    rule = rule_of(RULE, 3, fields(asked, targets))
    assert (rule.fault, rule.version, rule.hourly_limit, rule.cooldown.total_seconds()) == ("", 3, 1000, 3600)
    assert rule.conditions == asked.conditions
    assert [(action.type, action.target_id, dict(action.params)) for action in rule.actions] == [
        ("send_webhook", targets.by_position[0].id, {}),
        ("send_webhook", ENDPOINT, {}),
        ("send_slack", targets.by_position[2].id, {"text": "Look."}),
        ("send_email", None, {"to": "owner@shop.example", "subject": "Look", "text": "At this."}),
        ("block_customer", None, {"reason": "Too many returns"}),
        ("unblock_customer", None, {}),
        ("tag_customer", None, {"tag": "watch"}),
        ("add_note", None, {"text": "Look."}),
        ("hold_order", None, {}),
        ("cancel_order", None, {"reason": "Fraud"}),
    ]


def test_neither_secrets_nor_header_values_are_kept_with_a_rule() -> None:
    asked = read([{**ACTIONS[0], "secret": "the secret of the CRM, which is long"}])
    kept = json.dumps(fields(asked, settle(asked)))
    assert "the secret" not in kept
    assert "Bearer" not in kept
    assert "the secret" not in repr(asked)


@pytest.mark.parametrize(
    "broken",
    [
        {"conditions": {"field": "shoe_size", "operator": "=", "value": 44}},
        {"conditions": {"field": "segment", "operator": "matches", "value": "r.*"}},
        {"conditions": [1]},
        {"actions": [{"type": "dance"}]},
        {"actions": [{"tag": "x"}]},
        {"actions": [None]},
        {"actions": [{"type": "send_webhook", "target_id": "x"}]},
        {"actions": None},
    ],
)
def test_a_kept_rule_that_is_none_any_more_has_a_fault_and_breaks_nothing(broken: Mapping[str, Any]) -> None:
    asked = read([{"type": "hold_order"}])
    rule = rule_of(RULE, 1, {**fields(asked, settle(asked)), **broken})
    assert rule.fault


# Changes --------------------------------------------------------------------------------------------------------------


def test_a_shown_rule_may_come_back_as_it_is() -> None:
    asked = read()
    targets = settle(asked)
    kept = fields(asked, targets)
    shown = {"id": str(RULE), "version": 2, **kept, "created_at": "x", "updated_at": "x", "warnings": []}
    body = change(shown, rule_id=RULE, version=2)
    again = NewRule.model_validate(body.fields, context=Reach())
    after = settle(again, kept["actions"], targets.new)
    assert fields(again, after) == kept
    assert after.by_position == targets.by_position
    assert (after.new, after.changed, after.generated, after.problems) == ((), (), frozenset(), {})


def test_a_change_made_from_another_version_is_stale() -> None:
    found = change({"version": 2, "name": "x"}, rule_id=RULE, version=3)
    assert found.stale == "The rule is at version 3; your change was made from version 2. Read it again first."
    assert change({"name": "x"}, rule_id=RULE, version=3).fields == {"name": "x"}


@pytest.mark.parametrize(
    ("body", "path"), [({"id": str(ENDPOINT)}, "id"), ({"version": "3"}, "version"), ({"version": True}, "version")]
)
def test_a_change_that_names_another_rule_is_refused(body: Mapping[str, Any], path: str) -> None:
    assert set(change(body, rule_id=RULE, version=1).problems) == {path}


def test_a_patch_puts_its_fields_in_place_of_the_rule_s_own() -> None:
    asked = read([{"type": "hold_order"}])
    kept = fields(asked, settle(asked))
    new = NewRule.model_validate(patched(kept, {"trigger": "high_risk_order", "conditions": None}), context=Reach())
    assert (new.trigger, new.conditions, new.name, new.cooldown) == ("high_risk_order", None, "A rule", 3600)


def test_a_broken_rule_can_be_switched_off() -> None:
    asked = read([{"type": "hold_order"}])
    kept = {**fields(asked, settle(asked)), "conditions": {"field": "shoe_size"}}
    assert only_frames({"mode": "off", "cooldown": 60})
    assert not only_frames({"mode": "off", "conditions": None})
    assert Frame.model_validate(framed(kept, {"mode": "off"})).mode == "off"


# Targets --------------------------------------------------------------------------------------------------------------

WEBHOOK = {"type": "send_webhook", "url": CRM}


def target(**changes: Any) -> Target:
    known: dict[str, Any] = {
        "id": uuid7(),
        "url": CRM,
        "secret": "known",
        "headers": {"Authorization": "Bearer x"},
        "timeout": 10,
    }
    return Target(**(known | changes))


def kept_action(of: Target) -> dict[str, Any]:
    return {"type": "send_webhook" if of.secret else "send_slack", "target_id": str(of.id), "url": of.url}


def test_a_new_webhook_gets_a_secret_if_none_is_given_and_slack_none() -> None:
    found = settle(read([WEBHOOK, {**WEBHOOK, "secret": "mine"}, {**WEBHOOK, "secret": ""}, ACTIONS[2]]))
    assert [target.secret for target in found.by_position.values()] == ["generated", "mine", "generated", None]
    assert (found.generated, len(found.new), found.changed) == (frozenset({0, 2}), 4, ())


def test_an_action_keeps_the_target_it_names_with_its_secret_and_its_masked_headers() -> None:
    known = target()
    headers = {"Authorization": "***", "X-New": "1"}
    action = {**WEBHOOK, "target_id": str(known.id), "headers": headers, "url": f"{CRM}/2"}
    found = settle(read([action]), [kept_action(known)], [known])
    assert found.by_position[0] == target(
        id=known.id, url=f"{CRM}/2", headers={"Authorization": "Bearer x", "X-New": "1"}
    )
    assert (found.new, found.changed) == ((), (found.by_position[0],))


def test_an_action_of_the_same_type_and_url_keeps_its_target_wherever_it_moves() -> None:
    first, second = target(), target(secret="other")
    slack = target(url=SLACK, secret=None, headers={})
    before = [kept_action(first), kept_action(second), kept_action(slack)]
    found = settle(read([ACTIONS[2], WEBHOOK, WEBHOOK, WEBHOOK]), before, [first, second, slack])
    assert [found.by_position[n].id for n in range(3)] == [slack.id, first.id, second.id]
    assert found.by_position[3].id not in {first.id, second.id}
    assert found.generated == {3}


def test_a_named_target_is_not_given_to_another_action_too() -> None:
    known = target()
    named = {**WEBHOOK, "target_id": str(known.id)}
    found = settle(read([WEBHOOK, named]), [kept_action(known)], [known])
    assert found.by_position[1].id == known.id
    assert found.by_position[0].id != known.id


def test_an_older_version_finds_its_target_again() -> None:
    dropped = target()
    found = settle(read([{**WEBHOOK, "target_id": str(dropped.id)}]), [], [dropped])
    assert found.by_position[0].secret == "known"


@pytest.mark.parametrize(
    ("actions", "problems"),
    [
        ([{**WEBHOOK, "target_id": str(UUID(int=9))}], {"actions.0.target_id": "is no target of this rule"}),
        ([{**WEBHOOK, "headers": {"X": "***"}}], {"actions.0.headers": "X: masked, and no value is known: give it"}),
        (
            [{**WEBHOOK, "target_id": str(UUID(int=7)), "headers": {"X": "***"}}],
            {"actions.0.headers": "X: masked, and no value is known: give it"},
        ),
        (
            [
                {
                    **WEBHOOK,
                    "target_id": str(UUID(int=7)),
                    "url": "https://evil.example",
                    "headers": {"Authorization": "***"},
                }
            ],
            {"actions.0.headers": "are masked, and the URL goes to another host: give their values"},
        ),
        (
            [{"type": "send_slack", "url": SLACK, "target_id": str(UUID(int=7))}],
            {"actions.0.target_id": "is no target of this rule"},
        ),
        (
            [{**WEBHOOK, "target_id": str(UUID(int=7))}] * 2,
            {
                "actions.0.target_id": "is the target of two actions",
                "actions.1.target_id": "is the target of two actions",
            },
        ),
    ],
)
def test_what_a_target_cannot_be_is_refused(actions: Any, problems: Mapping[str, str]) -> None:
    known = target(id=UUID(int=7))
    assert settle(read(actions), [kept_action(known)], [known]).problems == problems


urls = st.sampled_from([CRM, "https://crm.example/other", SLACK])


@given(st.lists(urls, min_size=1, max_size=6), st.lists(urls, min_size=1, max_size=6))
def test_no_two_actions_ever_share_a_target_and_each_that_can_keeps_its_own(old: list[str], new: list[str]) -> None:
    def actions(given: list[str]) -> NewRule:
        return read([{"type": "send_slack" if url == SLACK else "send_webhook", "url": url} for url in given])

    first = settle(actions(old))
    kept = fields(actions(old), first)["actions"]
    second = settle(actions(new), kept, first.new)
    ids = [target.id for target in second.by_position.values()]
    assert len(set(ids)) == len(new)
    for url in set(new):
        known = {target.id for target in first.new if target.url == url}
        used = {target.id for target in second.by_position.values() if target.url == url}
        assert len(known & used) == min(old.count(url), new.count(url))
