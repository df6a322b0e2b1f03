"""A rule that fires: what is kept of it, and what it asks for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from rule_engine.evaluate import Candidate, Skipped
from rule_engine.rules import Action
from shared.events import ActionRef, Automation, Cause, Event, RuleRef
from shared.ids import derived


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An event with the rules that did not fire for it."""

    event: Event
    skips: Sequence[Skipped]


def order_id(event: Event) -> int | None:
    return event.data.order.id if event.data.order else None


def firing_id(candidate: Candidate) -> UUID:
    """The same event never fires the same rule twice: so it follows from the two."""
    return derived(candidate.rule.id, candidate.event.id)


def actions(candidate: Candidate) -> Iterator[tuple[int, Action, UUID]]:
    """Position, action, and the id under which its effect will be found."""
    for position, action in enumerate(candidate.rule.actions):
        yield position, action, derived(candidate.event.id, candidate.rule.id, position)


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
            action=ActionRef(position=position, type=action.type, target_id=action.target_id),
            order_id=order_id(event),
            cause=Cause(kind="rule", id=rule.id, depth=event.cause.depth + 1),
        )
