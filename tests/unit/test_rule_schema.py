"""What a form for rules is built from is enough to build it, and complete."""

from typing import Any, get_args

import pytest

from rule_engine.actions import LABELS
from rule_engine.rules import Trigger
from rule_engine.schema import OPERATORS, schema
from rule_engine.validate import Shop, read
from shared.conditions import Operator
from shared.fields import SPECS
from shared.ids import uuid7
from shared.targets import Reach

SCHEMA = schema()
ENDPOINT = uuid7()


def test_every_trigger_field_operator_and_action_is_in_it() -> None:
    assert [it["name"] for it in SCHEMA["triggers"]] == list(get_args(Trigger))
    assert [it["name"] for it in SCHEMA["fields"]] == list(SPECS)
    assert list(OPERATORS) == list(get_args(Operator))
    assert [it["type"] for it in SCHEMA["actions"]] == list(LABELS)
    assert all(it["label"] for part in ("triggers", "fields", "operators", "actions") for it in SCHEMA[part])


def test_each_action_has_the_parameters_of_its_models() -> None:
    found = {it["type"]: [sorted(way["properties"]) for way in it["parameters"]] for it in SCHEMA["actions"]}
    assert found == {
        "block_customer": [["reason"]],
        "unblock_customer": [[]],
        "allowlist_customer": [[]],
        "tag_customer": [["tag"]],
        "add_note": [["text"]],
        "hold_order": [["reason"]],
        "cancel_order": [["reason"]],
        "send_email": [["subject", "text", "to"]],
        "send_slack": [["text", "url"]],
        "send_webhook": [["webhook_id"], ["headers", "secret", "timeout", "url"]],
        "recalculate_score": [[]],
    }


def test_the_json_schema_is_one_of_a_rule() -> None:
    json_schema = SCHEMA["json_schema"]
    assert json_schema["required"] == ["name", "trigger", "actions"]
    assert json_schema["properties"]["trigger"]["enum"] == list(get_args(Trigger))


GIVEN = {
    "reason": "because",
    "tag": "watch",
    "text": "Look.",
    "to": "owner@shop.example",
    "subject": "Look",
    "url": "https://hooks.slack.com/services/x",
    "webhook_id": str(ENDPOINT),
}


def filled_in(action: dict[str, Any]) -> dict[str, Any]:
    """What a form sends that asks for nothing but what is required."""
    return {"type": action["type"], **{name: GIVEN[name] for name in action["parameters"][0]["required"]}}


def value_of(field: dict[str, Any], operator: str) -> Any:
    known: dict[str, Any] = {"boolean": True, "texts": "watch", "text": "paypal"}
    value = known.get(field["type"], 5)
    if field["choices"]:
        value = field["choices"][-1]
    value = {"order.currency": "EUR", "order.billing_country": "DE", "order.shipping_country": "DE"}.get(
        field["name"], value
    )
    return [value] if operator in {"in", "not_in"} else value


@pytest.mark.parametrize("trigger", SCHEMA["triggers"], ids=lambda it: it["name"])
def test_what_a_form_made_of_it_sends_is_a_rule(trigger: dict[str, Any]) -> None:
    groups = set(trigger["groups"])
    asked = [
        {"field": field["name"], "operator": operator, "value": value_of(field, operator)}
        for field in SCHEMA["fields"]
        if field["group"] in groups
        for operator in field["operators"]
    ]
    for action in SCHEMA["actions"]:
        if action["needs"] is not None and action["needs"] not in groups:
            continue
        given = {"name": "A rule", "trigger": trigger["name"], "actions": [filled_in(action)]}
        _, report = read(given, Reach(), Shop(endpoints={ENDPOINT: True}))
        assert not [it for it in report.errors if "trigger itself" not in it.message]
    for leaf in asked:
        given = {
            "name": "A rule",
            "trigger": trigger["name"],
            "conditions": {"any": [leaf, {"not": leaf}]},
            "actions": [{"type": "add_note", "text": "Look."}],
        }
        assert not read(given, Reach(), Shop())[1].errors


def test_what_no_form_of_it_offers_is_refused() -> None:
    for field in SCHEMA["fields"]:
        for operator in set(OPERATORS) - set(field["operators"]):
            leaf = {"field": field["name"], "operator": operator, "value": value_of(field, operator)}
            rule = {"name": "x", "trigger": "chargeback_filed", "conditions": leaf, "actions": [{"type": "hold_order"}]}
            assert read(rule, Reach(), Shop())[1].errors
