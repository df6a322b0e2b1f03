"""One rule meets one event: a candidate to fire, or skipped, with the reason in words."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from rule_engine.rules import Rule
from shared.conditions import in_words
from shared.events import Event
from shared.fields import Fields, Value

MAX_DEPTH = 3
"""Rules in a chain of causes before it is stopped: an action's effect may trigger a rule, but not for ever."""
MAX_FAULT = 300
"""Characters that are told of a rule's fault."""

Kind = Literal["fault", "conditions", "depth", "cooldown", "hourly_limit", "shadow"]
"""What kept a rule from firing. With a fault it could not even be evaluated: that is failed, not skipped."""

# Tuples, since a frozen dataclass takes longer to make than the conditions take to check.


class Candidate(NamedTuple):
    """The conditions hold: it fires unless its cooldown or its hourly limit says no, or it is in shadow."""

    rule: Rule
    event: Event
    reason: str
    fields: Fields
    """The event's."""

    @property
    def values(self) -> Mapping[str, Value | None]:
        """Of the fields that the conditions name."""
        return {name: self.fields.get(name) for name in self.rule.fields}

    def skipped(self, kind: Kind, reason: str) -> "Skipped":
        """Kept from firing after all."""
        return Skipped(self.rule, self.event, reason, self.fields, kind)


class Skipped(NamedTuple):
    rule: Rule
    event: Event
    reason: str
    fields: Fields
    kind: Kind

    @property
    def values(self) -> Mapping[str, Value | None]:
        """As in Candidate."""
        return {name: self.fields.get(name) for name in self.rule.fields}

    @property
    def failed(self) -> bool:
        return self.kind == "fault"


Judged = Candidate | Skipped


def evaluate(rule: Rule, event: Event, fields: Fields) -> Judged:
    """`fields` are the event's."""
    if rule.fault:
        return Skipped(rule, event, f"the rule is no longer valid: {rule.fault[:MAX_FAULT]}", fields, "fault")
    if (against := rule.decide(fields)) is not None:
        return Skipped(rule, event, in_words(against, fields), fields, "conditions")
    if event.cause.depth >= MAX_DEPTH:
        return Skipped(rule, event, f"depth {event.cause.depth}: {_CHAINED}", fields, "depth")
    return Candidate(rule, event, "the conditions hold" if rule.conditions else "no conditions", fields)


_CHAINED = "rules have triggered one another long enough"


def in_shadow(candidate: Candidate) -> Skipped | None:
    """A candidate that would fire but must not act."""
    return candidate.skipped("shadow", "shadow: would have fired") if candidate.rule.mode == "shadow" else None
