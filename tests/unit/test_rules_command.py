from typing import Any
from uuid import UUID

import pytest

from cli.answers import Considered, Doubt, Evaluated, RuleShown, SavedVersion
from cli.rule_lines import action, condition, considered, described, doubts, evaluation, listed, secrets, span, version
from cli.rules import person

ID = UUID("0190a000-0000-7000-8000-000000000000")


def rule(**fields: Any) -> RuleShown:
    known = {
        "id": ID,
        "version": 3,
        "name": "Cheap risk",
        "trigger": "order_placed",
        "actions": [{"type": "tag_customer", "tag": "risky"}],
        "cooldown": 3600,
        "hourly_limit": 1000,
        "mode": "live",
    }
    return RuleShown.model_validate(known | fields)


def test_a_rule_is_told_as_when_if_then():
    assert described(rule()) == [
        "Cheap risk  (live, version 3)",
        f"  {ID}",
        "  when  order_placed; once in 1 h per customer",
        "  if    always",
        "  then  tag_customer risky",
    ]
    assert described(rule(description="for the desk", cooldown=0, hourly_limit=5))[2:4] == [
        "  for the desk",
        "  when  order_placed; no cooldown; at most 5 an hour",
    ]


def test_a_name_cannot_drive_the_terminal():
    assert listed(rule(name="\x1b[31mred")) == ["?[31mred  (live, order_placed)", f"  {ID}"]


def test_nested_conditions_are_indented():
    leaf = {"field": "segment", "operator": "in", "value": ["risk", "critical"]}
    blocked = {"field": "is_blocked", "operator": "=", "value": True}
    assert condition({"all": [leaf, {"not": {"any": [blocked]}}]}) == [
        "all of",
        "  segment in risk, critical",
        "  not",
        "    any of",
        "      is_blocked = true",
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"type": "recalculate_score"}, "recalculate_score"),
        ({"type": "send_email", "to": "a@b.example", "subject": "Look"}, "send_email to a@b.example; subject Look"),
        (
            {
                "type": "send_webhook",
                "target_id": "x",
                "url": "https://crm.example",
                "headers": {"X-A": "***"},
                "timeout": 5,
            },
            "send_webhook https://crm.example; timeout 5; headers X-A",
        ),
        ({"type": "add_note", "text": "n" * 100}, f"add_note text {'n' * 60}…"),
    ],
)
def test_an_action_is_told_with_what_it_was_given_and_without_secrets(given: dict[str, Any], told: str):
    assert action(given) == told


def test_a_generated_secret_is_told_once():
    made = rule(actions=[{"type": "send_webhook", "url": "https://crm.example", "secret": "hush"}])
    assert secrets(made) == ["The signing secret of send_webhook https://crm.example, shown only now: hush"]
    assert secrets(rule()) == []
    assert "hush" not in "\n".join(described(made))


def test_a_doubt_is_told_with_its_place_and_what_stands_there():
    draft = {"conditions": {"all": [{"value": 10}]}, "a/b": 1}
    found = [Doubt(pointer="/conditions/all/0/value", message="too low"), Doubt(pointer="/a~1b", message="odd")]
    assert doubts(found, word="error", draft=draft) == [
        "error /conditions/all/0/value (10): too low",
        "error /a~1b (1): odd",
    ]
    for pointer in ("/conditions/all/7/value", "/conditions", "/missing/x", ""):
        assert doubts([Doubt(pointer=pointer, message="m")], word="error", draft=draft) == [
            f"error {pointer or '/'}: m"
        ]


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (90, "90 s"), (600, "10 min"), (7200, "2 h"), (172800, "2 d")]
)
def test_a_time_is_told_in_the_largest_unit_that_fits(seconds: int, told: str):
    assert span(seconds) == told


def test_a_version_is_told_with_who_saved_it_and_what_changed():
    saved = SavedVersion(version=2, saved_at="2026-06-05 14:23:00", actor="key:tl_1", changed=("mode", "cooldown"))
    assert version(saved) == "   2  2026-06-05 14:23  key:tl_1              mode, cooldown"
    assert version(saved.model_copy(update={"changed": ()})).endswith("made")


def test_an_evaluation_is_told_with_values_and_what_became_of_its_actions():
    fields: dict[str, Any] = {
        "event_id": ID,
        "trigger": "order_placed",
        "at": "2026-06-05 14:23:00",
        "outcome": "fired",
        "reason": "the conditions hold",
        "values": {"tags": ["a", "b"], "account_age_days": None},
        "actions": [{"type": "send_webhook", "status": "delivered", "detail": "delivered 200 in 84 ms"}],
    }
    told = evaluation(
        Evaluated(rule_id=ID, rule_version=1, customer="a3f2" + "0" * 60, order_id=7, **fields), rule="Cheap risk"
    )
    assert told == [
        "06-05 14:23:00  fired    a3f200000000  order 7  Cheap risk",
        "  the conditions hold",
        "  saw   tags a, b  account_age_days missing",
        "  did   send_webhook: delivered 200 in 84 ms",
    ]
    looked = Considered(**{**fields, "outcome": "not_evaluated", "values": {}, "actions": ()})
    assert considered(looked) == ["06-05 14:23:00  not evaluated  order_placed", "  the conditions hold"]


def test_a_customer_is_named_by_address_or_hash():
    assert person("jane@example.com") == {"email": "jane@example.com"}
    assert person("a" * 64) == {"customer": "a" * 64}
    assert person(None) == {}
