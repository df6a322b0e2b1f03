"""Rules: what a store owner may ask for, what is kept, what is shown.

What is kept of a rule, in rule_engine.rules and in each of its versions, is JSON of the form in which it is shown.
Secrets and header values are not in it: they are in rule_engine.targets, and an action names its target.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StrictInt, StrictStr, StringConstraints, TypeAdapter, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from rule_engine.actions import LABELS, PARAMS, Body, NewAction, Storable, Text, action_json
from rule_engine.targets import Target
from shared.conditions import Condition, Decide, compiled, fields_named, too_large
from shared.jsontext import api_time
from shared.mistakes import mistakes

Mode = Literal["live", "shadow", "off"]
Trigger = Literal[
    "score_updated",
    "segment_changed",
    "customer_blocked",
    "customer_unblocked",
    "customer_allowlisted",
    "customer_allowlist_removed",
    "checkout_blocked",
    "high_risk_order",
    "order_placed",
    "order_status_changed",
    "order_refunded",
    "order_cancelled",
    "chargeback_filed",
    "chargeback_closed",
    "linked_accounts_detected",
    "shipping_anomaly_detected",
    "card_testing_detected",
]

MONTH = 30 * 24 * 3600
"""Seconds of the longest cooldown."""
MAX_PER_HOUR = 1_000_000
MAX_ACTIONS = 10


class Frame(Body):
    """How a rule is called and how often it may act: what can change without a new look at what it says."""

    name: Annotated[StrictStr, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), Storable]
    description: Text = Field(default="", max_length=2000)
    cooldown: StrictInt = Field(default=3600, ge=0, le=MONTH)
    hourly_limit: StrictInt = Field(default=1000, ge=1, le=MAX_PER_HOUR)
    mode: Mode = "live"


class NewRule(Frame):
    """What `POST /rules` takes, and what a changed rule must still be. Validate with a Reach as the context."""

    trigger: Trigger
    conditions: Condition | None = None
    actions: tuple[NewAction, ...] = Field(min_length=1, max_length=MAX_ACTIONS)

    @field_validator("conditions")
    @classmethod
    def _bounded(cls, conditions: Condition | None) -> Condition | None:
        if problem := too_large(conditions):
            raise PydanticCustomError("conditions", "{problem}", {"problem": problem})
        return conditions


# As it is evaluated ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Action:
    type: str
    target_id: UUID | None
    """An endpoint's id, or that of the action's own target."""
    params: Mapping[str, str] = field(default_factory=dict)
    """What else it was given, for who does it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is evaluated."""

    id: UUID
    version: int
    name: str
    trigger: str
    conditions: Condition | None
    actions: tuple[Action, ...]
    cooldown: timedelta
    hourly_limit: int
    """Firings in a calendar hour."""
    mode: str
    fault: str = ""
    """Why it can't be evaluated: it was saved by a version of ours that allowed more."""
    fields: tuple[str, ...] = field(init=False)
    """What its conditions ask for, sorted."""
    decide: Decide = field(init=False, repr=False, compare=False)
    """Its conditions, compiled."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(sorted(fields_named(self.conditions))))
        object.__setattr__(self, "decide", compiled(self.conditions))


def stored_rule(
    *,
    rule_id: UUID,
    version: int,
    name: str,
    trigger: str,
    conditions: Any,
    actions: Sequence[Mapping[str, Any]],
    cooldown: int,
    hourly_limit: int,
    mode: str,
) -> Rule:
    """A rule from what was kept of it, `conditions` and `actions` as JSON has them. One that no longer validates
    still comes back, with its fault: it must not stop the others.
    """
    read, condition_fault = _stored_conditions(conditions)
    todo, action_fault = _stored_actions(actions)
    return Rule(
        id=rule_id,
        version=version,
        name=name,
        trigger=trigger,
        conditions=read,
        actions=todo,
        cooldown=timedelta(seconds=cooldown),
        hourly_limit=hourly_limit,
        mode=mode,
        fault=condition_fault or action_fault,
    )


_CONDITIONS: TypeAdapter[Condition | None] = TypeAdapter(Condition | None)


def _stored_conditions(given: Any) -> tuple[Condition | None, str]:
    try:
        return _CONDITIONS.validate_python(given), ""
    except ValidationError as error:
        return None, "; ".join(f"{path} {problem}" for path, problem in mistakes(error).items())


def _stored_actions(given: Sequence[Mapping[str, Any]]) -> tuple[tuple[Action, ...], str]:
    try:
        return tuple(_stored_action(action) for action in given), ""
    except (KeyError, TypeError, ValueError, AttributeError):
        return (), "its actions cannot be read"


def _stored_action(action: Mapping[str, Any]) -> Action:
    kind = action["type"]
    if kind not in LABELS:
        raise ValueError(kind)
    target = action.get("target_id") or action.get("webhook_id")
    params = {name: str(action[name]) for name in PARAMS.get(kind, ()) if action.get(name)}
    return Action(kind, UUID(target) if target else None, params)


def rule_of(rule_id: UUID, version: int, fields: Mapping[str, Any]) -> Rule:
    """A rule of a version as it is kept."""
    return stored_rule(
        rule_id=rule_id,
        version=version,
        **{name: fields[name] for name in ("name", "trigger", "conditions", "actions", "cooldown", "hourly_limit")},
        mode=fields["mode"],
    )


# As it is kept and shown ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Saved:
    """A rule as it was saved."""

    id: UUID
    store_id: UUID
    version: int
    fields: Mapping[str, Any]
    """As rule_fields makes them."""
    created_at: datetime
    updated_at: datetime


def rule_fields(asked: NewRule, targets: Mapping[int, Target]) -> dict[str, Any]:
    """What an owner says of a rule, as JSON. `targets`: by the action's position."""
    return {
        "name": asked.name,
        "description": asked.description,
        "trigger": asked.trigger,
        "conditions": conditions_json(asked.conditions),
        "actions": [
            action_json(action, targets[n].id if n in targets else None) for n, action in enumerate(asked.actions)
        ],
        "cooldown": asked.cooldown,
        "hourly_limit": asked.hourly_limit,
        "mode": asked.mode,
    }


def conditions_json(conditions: Condition | None) -> Any:
    return conditions.model_dump(mode="json", by_alias=True) if conditions else None


def rule_json(saved: Saved) -> dict[str, Any]:
    """A rule as the API shows it."""
    return {
        "id": str(saved.id),
        "version": saved.version,
        **saved.fields,
        "created_at": api_time(saved.created_at),
        "updated_at": api_time(saved.updated_at),
    }


# As it is changed -----------------------------------------------------------------------------------------------------

READ_ONLY = ("id", "version", "created_at", "updated_at", "starter", "warnings")
"""What a shown rule has beside its fields: it may come back in a change."""


@dataclass(frozen=True, slots=True)
class Change:
    """A body that changes a rule, or why it can't be taken."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """Those that an owner says, to be validated."""
    stale: str = ""
    """It was made from another version (409)."""
    problems: Mapping[str, str] = field(default_factory=dict)


def change(body: Mapping[str, Any], *, rule_id: UUID, version: int) -> Change:
    """What a body asks of a rule. It may name the version it was made from: nobody's change is overwritten unseen."""
    if "id" in body and str(body["id"]).lower() != str(rule_id):
        return Change(problems={"id": "is another rule's"})
    named = body.get("version", version)
    if type(named) is not int:
        return Change(problems={"version": "must be a whole number"})
    if named != version:
        told = f"The rule is at version {version}; your change was made from version {named}. Read it again first."
        return Change(stale=told)
    return Change({name: value for name, value in body.items() if name not in READ_ONLY})


def patched(stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A rule's fields with those of the patch in place of their own, to be validated as a NewRule."""
    return {**stored, **patch}


def only_frames(patch: Iterable[str]) -> bool:
    """Whether it changes nothing that the rule says: its conditions and actions need not be valid any more, since a
    rule that no longer is must be switched off all the same. Validate `framed` as a Frame.
    """
    return set(patch) <= Frame.model_fields.keys()


def switches_on(stored: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    """Whether the rule is to do more than it does: be evaluated, or act."""
    wanted = patch.get("mode")
    return wanted in _RISING and _RISING.index(wanted) > _RISING.index(stored["mode"])


_RISING: tuple[Mode, ...] = ("off", "shadow", "live")


def framed(stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: patch.get(name, stored[name]) for name in Frame.model_fields}
