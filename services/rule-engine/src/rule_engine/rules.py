"""Rules: what a store owner may ask for, what is kept, what is shown.

An action is kept in rules.actions as {"type": "send_webhook", "target_id", "url", "headers" (names, masked values),
"timeout"}, or as {"type": "send_webhook", "webhook_id"}. Its secret and header values are in rule_engine.targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictInt,
    StrictStr,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from shared.conditions import Condition, fields_named, too_large
from shared.jsontext import api_time
from shared.mistakes import mistakes
from shared.targets import MASK, TargetHeaders, TargetUrl

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

ACTION_TYPES = frozenset(
    [
        "block_customer",
        "unblock_customer",
        "allowlist_customer",
        "tag_customer",
        "add_note",
        "hold_order",
        "cancel_order",
        "send_email",
        "send_slack",
        "send_webhook",
        "recalculate_score",
    ]
)
SEND_WEBHOOK = "send_webhook"

MONTH = 30 * 24 * 3600
"""Seconds of the longest cooldown."""
MAX_PER_HOUR = 1_000_000


def _storable(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "has a NUL character")
    return text


Text = Annotated[StrictStr, AfterValidator(_storable)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SendToUrl(_Body):
    """`send_webhook` to a target of the action's own."""

    type: Literal["send_webhook"]
    url: TargetUrl
    secret: Text | None = Field(default=None, max_length=1024, repr=False)
    """Blank: one is generated, for a rule's webhook is never unsigned."""
    headers: TargetHeaders = Field(default_factory=dict, repr=False)
    timeout: StrictInt = Field(default=10, ge=1, le=30)


class SendToEndpoint(_Body):
    """`send_webhook` to an endpoint of the store's."""

    type: Literal["send_webhook"]
    webhook_id: UUID


def _available(given: Any) -> Any:
    """Tell an action that is still to come from one that is misspelt."""
    kind = given.get("type") if isinstance(given, Mapping) else None
    if isinstance(kind, str) and kind != SEND_WEBHOOK:
        problem = "is not available yet" if kind in ACTION_TYPES else "is no action"
        raise PydanticCustomError("action", "{kind} {problem}", {"kind": kind[:100], "problem": problem})
    return given


def _target(given: Any) -> str:
    to_endpoint = "webhook_id" in given if isinstance(given, Mapping) else isinstance(given, SendToEndpoint)
    return "<endpoint>" if to_endpoint else "<url>"


NewAction = Annotated[
    Annotated[SendToUrl, Tag("<url>")] | Annotated[SendToEndpoint, Tag("<endpoint>")],
    Discriminator(_target),
    BeforeValidator(_available),
]


class NewRule(_Body):
    """What `POST /rules` takes. Validate with a Reach as the context."""

    name: Text = Field(min_length=1, max_length=200)
    description: Text = Field(default="", max_length=2000)
    trigger: Trigger
    conditions: Condition | None = None
    actions: tuple[NewAction, ...] = Field(min_length=1, max_length=10)
    cooldown: StrictInt = Field(default=3600, ge=0, le=MONTH)
    hourly_limit: StrictInt = Field(default=1000, ge=1, le=MAX_PER_HOUR)
    mode: Mode = "live"

    @field_validator("conditions")
    @classmethod
    def _bounded(cls, conditions: Condition | None) -> Condition | None:
        if problem := too_large(conditions):
            raise PydanticCustomError("conditions", "{problem}", {"problem": problem})
        return conditions


@dataclass(frozen=True, slots=True)
class Action:
    type: str
    target_id: UUID | None
    """An endpoint's id, or that of the action's own target."""


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
    mode: str
    fault: str = ""
    """Why it can't be evaluated: it was saved by a version of ours that allowed more."""
    fields: tuple[str, ...] = field(init=False)
    """What its conditions ask for, sorted."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(sorted(fields_named(self.conditions))))


def stored_rule(
    *,
    rule_id: UUID,
    version: int,
    name: str,
    trigger: str,
    conditions: Any,
    actions: Sequence[Mapping[str, Any]],
    cooldown: int,
    mode: str,
) -> Rule:
    """A rule from what was kept of it, `conditions` and `actions` as JSON has them. One that no longer validates
    still comes back, with its fault: it must not stop the others.
    """
    read, fault = _stored_conditions(conditions)
    return Rule(
        id=rule_id,
        version=version,
        name=name,
        trigger=trigger,
        conditions=read,
        actions=tuple(_stored_action(action) for action in actions),
        cooldown=timedelta(seconds=cooldown),
        mode=mode,
        fault=fault,
    )


_CONDITIONS: TypeAdapter[Condition | None] = TypeAdapter(Condition | None)


def _stored_conditions(given: Any) -> tuple[Condition | None, str]:
    try:
        return _CONDITIONS.validate_python(given), ""
    except ValidationError as error:
        return None, "; ".join(f"{path}: {problem}" for path, problem in mistakes(error).items())


def _stored_action(action: Mapping[str, Any]) -> Action:
    target = action.get("target_id") or action.get("webhook_id")
    return Action(type=action["type"], target_id=UUID(target) if target else None)


@dataclass(frozen=True, slots=True)
class Target:
    """Where an action goes that names a URL. Its id stays the same over the rule's versions."""

    id: UUID
    url: str
    secret: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    timeout: int
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A rule as it was saved."""

    id: UUID
    store_id: UUID
    version: int
    asked: NewRule
    targets: Mapping[int, Target]
    """By the action's position, for actions with a target of their own."""
    created_at: datetime
    updated_at: datetime


def conditions_json(asked: NewRule) -> Any:
    return asked.conditions.model_dump(mode="json", by_alias=True) if asked.conditions else None


def actions_json(saved: Saved) -> list[dict[str, Any]]:
    """As they are kept and shown. Header values and secrets are not."""
    return [_action_json(action, saved.targets.get(n)) for n, action in enumerate(saved.asked.actions)]


def _action_json(action: NewAction, target: Target | None) -> dict[str, Any]:
    if isinstance(action, SendToEndpoint):
        return {"type": action.type, "webhook_id": str(action.webhook_id)}
    return {
        "type": action.type,
        "target_id": str(target.id) if target else None,
        "url": action.url,
        "headers": dict.fromkeys(action.headers, MASK),
        "timeout": action.timeout,
    }


def rule_json(saved: Saved) -> dict[str, Any]:
    """A rule as the API shows it."""
    asked = saved.asked
    return {
        "id": str(saved.id),
        "version": saved.version,
        "name": asked.name,
        "description": asked.description,
        "trigger": asked.trigger,
        "conditions": conditions_json(asked),
        "actions": actions_json(saved),
        "cooldown": asked.cooldown,
        "hourly_limit": asked.hourly_limit,
        "mode": asked.mode,
        "created_at": api_time(saved.created_at),
        "updated_at": api_time(saved.updated_at),
    }
