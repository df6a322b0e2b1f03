"""A rule that fires: what is kept of it, and what it asks for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from rule_engine.evaluate import Candidate, Skipped
from rule_engine.rules import Action, Rule
from shared.events import ActionRef, Automation, Cause, Event, RuleRef
from shared.ids import derived


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An event with the rules that did not fire for it."""

    event: Event
    skips: Sequence[Skipped]


@dataclass(frozen=True, slots=True)
class Asked:
    """What an action asks of the scorer: a command's id, type and data."""

    id: UUID
    type: str
    data: Mapping[str, Any]


def order_id(event: Event) -> int | None:
    return event.data.order.id if event.data.order else None


def firing_id(candidate: Candidate) -> UUID:
    """The same event never fires the same rule twice: so it follows from the two."""
    return derived(candidate.rule.id, candidate.event.id)


def actions(candidate: Candidate) -> Iterator[tuple[int, Action, UUID]]:
    """Position, action, and the id under which its effect will be found."""
    for position, action in enumerate(candidate.rule.actions):
        yield position, action, derived(candidate.event.id, candidate.rule.id, position)


def cause(candidate: Candidate) -> Cause:
    """Of what its actions lead to: one rule further from the fact that began it all."""
    return Cause(kind="rule", id=candidate.rule.id, depth=candidate.event.cause.depth + 1)


def automations(candidate: Candidate) -> Iterator[Automation]:
    """One per action."""
    event, rule = candidate.event, candidate.rule
    for position, action, action_id in actions(candidate):
        yield Automation(
            id=action_id,
            store_id=event.store_id,
            occurred_at=event.occurred_at,
            recorded_at=event.recorded_at,
            event_id=event.id,
            customer=event.customer,
            sequence=event.sequence,
            rule=RuleRef(id=rule.id, version=rule.version, name=rule.name, trigger=rule.trigger),
            action=ActionRef(position=position, type=action.type, target_id=action.target_id, params=action.params),
            order_id=order_id(event),
            cause=cause(candidate),
        )


def asked_of_scorer(candidate: Candidate) -> Iterator[Asked]:
    """One per action that changes the customer, under the action's id."""
    for _, action, action_id in actions(candidate):
        if action.type in _COMMANDS:
            told = {"email_hash": candidate.event.customer.email_hash, **_told(action, candidate.rule)}
            yield Asked(action_id, _COMMANDS[action.type], told)


_COMMANDS: Mapping[str, str] = {
    "block_customer": "customer.update",
    "unblock_customer": "customer.update",
    "allowlist_customer": "customer.update",
    "tag_customer": "customer.tag",
    "add_note": "customer.note",
    "recalculate_score": "customer.recalculate",
}
"""The other actions are the dispatcher's."""


def _told(action: Action, rule: Rule) -> Mapping[str, Any]:
    """The command's data beside the customer. A block without a reason of its own names the rule."""
    match action.type:
        case "block_customer":
            return {"is_blocked": True, "reason": action.params.get("reason") or f"Rule: {rule.name}"}
        case "unblock_customer":
            return {"is_blocked": False}
        case "allowlist_customer":
            return {"is_allowlisted": True}
        case _:
            return action.params
