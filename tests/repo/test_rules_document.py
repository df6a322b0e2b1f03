"""docs/rules.md has every trigger, field, action, reason, request and command, and its examples can be saved."""

import json
import re
from datetime import timedelta
from typing import get_args

import pytest

from api.routes import rules, rules_try
from cli.rules import app
from local_stack.folder import CHECKOUT
from rule_engine.actions import LABELS
from rule_engine.cooldown import decide, hour_of, still_cooling
from rule_engine.evaluate import MAX_DEPTH, Candidate, evaluate, in_shadow
from rule_engine.rules import Frame, Rule, Trigger
from rule_engine.schema import TRIGGERS
from rule_engine.settings import RuleEngineSettings
from rule_engine.starters import STARTERS
from rule_engine.validate import Shop, read
from shared.conditions import Leaf, check
from shared.fields import CONTEXTS, SPECS, FieldSpec
from shared.ids import uuid7
from shared.misfits import operators
from shared.targets import Reach
from support.events import T0, event

TEXT = (CHECKOUT / "docs" / "rules.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    _, _, rest = TEXT.partition(f"\n## {heading}\n")
    table = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert table, heading
    return [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in table[0].splitlines()[2:]]


def name(cell: str) -> str:
    return cell.strip("| `")


def range_of(spec: FieldSpec) -> str:
    if spec.choices:
        return ", ".join(spec.choices)
    kind = {"integer": "whole number", "number": "number", "text": "text", "texts": "a list of texts"}
    if spec.type == "boolean":
        return "true, false"
    if spec.minimum is None:
        return kind[spec.type]
    return kind[spec.type] + (
        f", {spec.minimum} or more" if spec.maximum is None else f", {spec.minimum} to {spec.maximum}"
    )


def test_every_field_is_told_with_its_group_its_values_and_its_operators():
    told = {
        name(cells[0]): (cells[1], cells[2].split(" (")[0], cells[3], cells[4].strip("| ")) for cells in rows("Fields")
    }
    assert told == {
        spec.name: (spec.group, spec.label, range_of(spec), " ".join(f"`{it}`" for it in operators(spec)))
        for spec in SPECS.values()
    }


def test_every_trigger_is_told_with_what_its_events_have():
    told = {name(cells[0]): (cells[1], cells[2].strip("| ")) for cells in rows("Triggers")}
    assert told == {it: (TRIGGERS[it], ", ".join(sorted(CONTEXTS[it]))) for it in get_args(Trigger)}


def test_every_action_and_starter_is_told():
    assert {name(cells[0]) for cells in rows("Actions")} == set(LABELS)
    assert [(name(cells[0]), cells[1]) for cells in rows("Starters")] == [
        (starter.key, starter.description) for starter in STARTERS.values()
    ]


def test_every_setting_of_a_rule_is_told_with_its_default():
    told = {name(cells[0]): cells[-1].strip("| `") for cells in rows("What a rule says")}
    for field in ("cooldown", "hourly_limit", "mode"):
        assert told[field] == str(Frame.model_fields[field].default)
    days = (RuleEngineSettings.model_fields[it].default for it in ("firing_days", "skipped_days"))
    assert "firings for {} days, the others for {} ".format(*days) in TEXT


def a_rule(**fields: object) -> Rule:
    known = {"id": uuid7(), "version": 1, "name": "x", "trigger": "score_updated", "conditions": None, "actions": ()}
    limits = {"cooldown": timedelta(hours=1), "hourly_limit": 1000, "mode": "shadow"}
    return Rule(**(known | limits | fields))  # type: ignore[arg-type]  # known fields, of many types


def reasons() -> list[str]:
    low = Leaf(field="trust_score", operator="<", value=30)
    missing = [Leaf(field=field, operator="=", value="x") for field in ("order.total", "account_age_days")]
    deep = event(depth=MAX_DEPTH)
    minute = timedelta(minutes=1)
    candidate = evaluate(a_rule(), event(at=2 * timedelta(hours=1)), {})
    assert isinstance(candidate, Candidate)
    spent = decide([candidate], {}, {hour_of(candidate): 1000})
    shadow = in_shadow(candidate)
    return [
        evaluate(a_rule(conditions=low), event(), {"trust_score": 12}).reason,
        evaluate(a_rule(), event(), {}).reason,
        check(low, {"trust_score": 47}).reason,
        *(check(leaf, {}).reason for leaf in missing),
        evaluate(a_rule(), deep, {}).reason,
        spent.skipped[0].reason,
        shadow.reason if shadow else "",
        still_cooling(T0, T0 + 48 * minute, 60 * minute) or "",
        still_cooling(T0 + 10 * minute, T0, 60 * minute) or "",
        *(check(Leaf(field=field, operator="=", value=1), {}).reason.partition(": ")[2] for field in SPECS),
    ]


@pytest.mark.parametrize("reason", dict.fromkeys(reasons()))
def test_every_reason_is_told_in_its_words(reason: str):
    if reason != "no value in this event":  # of fields that every customer has
        assert f"{reason}`" in TEXT


def test_every_request_is_told():
    told = set(re.findall(r"`([A-Z]+ /(?:rules|evaluations)[^`]*)`", TEXT[TEXT.index("## By API") :]))
    assert told == {f"{route.method} {route.path}" for route in (*rules.ROUTES, *rules_try.ROUTES)}


def test_every_command_that_it_names_is_there():
    there = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    named = set(re.findall(r"trustlens rules (\w+)", TEXT))
    assert named <= there
    assert named >= {
        "add",
        "validate",
        "why",
        "log",
        "on",
        "backtest",
        "test",
        "versions",
        "restore",
        "starters",
        "install",
    }


def test_its_examples_can_be_saved_and_leave_no_doubt():
    examples = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert examples
    for example in examples:
        rule, report = read(json.loads(example), Reach(), Shop())
        assert rule
        assert (report.errors, report.warnings) == ((), ())
