"""One rule meets one event: a candidate to fire, or skipped, with the reason in words."""

from collections.abc import Mapping
from dataclasses import dataclass

from rule_engine.rules import Rule
from shared.conditions import check
from shared.events import Event
from shared.fields import Fields, Value

MAX_DEPTH = 3
"""Rules in a chain of causes before it is stopped: an action's effect may trigger a rule, but not for ever."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The conditions hold: it fires unless its cooldown says no, or it is in shadow."""

    rule: Rule
    event: Event
    reason: str
    values: Mapping[str, Value | None]
    """Of the fields that the conditions name."""


@dataclass(frozen=True, slots=True)
class Skipped:
    rule: Rule
    event: Event
    reason: str
    values: Mapping[str, Value | None]


def evaluate(rule: Rule, event: Event, fields: Fields) -> Candidate | Skipped:
    """`fields` are the event's."""
    values = {name: fields.get(name) for name in rule.fields}
    if rule.fault:
        return Skipped(rule, event, f"the rule is no longer valid: {rule.fault}", values)
    verdict = check(rule.conditions, fields)
    if not verdict.holds:
        return Skipped(rule, event, verdict.reason, values)
    if event.cause.depth >= MAX_DEPTH:
        return Skipped(rule, event, f"depth {event.cause.depth}: rules have triggered one another long enough", values)
    reason = "the conditions hold" if rule.conditions else "no conditions"
    return Candidate(rule, event, reason, values)


def in_shadow(candidate: Candidate) -> Skipped | None:
    """A candidate that would fire but must not act."""
    if candidate.rule.mode != "shadow":
        return None
    return Skipped(candidate.rule, candidate.event, "shadow", candidate.values)
