"""The shapes of answers that are passed on as their owners gave them, or have a field or two: these describe them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from api.schemas import Endpoint, IngestedEvent, Rule
from api.values import Id, Moment


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


# What stores send -----------------------------------------------------------------------------------------------------


class Taken(_Answer):
    status: Literal["accepted"]
    id: Id
    """Of the input: its outcome is kept under it."""


class WithoutEffect(_Answer):
    status: Literal["pong", "ignored", "duplicate"]
    """It was a ping, a topic of no use here, or came before."""
    message: str = ""


class IngestedEvents(_Answer):
    results: list[IngestedEvent]
    """One for each event, in their order."""


# Customers and the store ----------------------------------------------------------------------------------------------


class SegmentCounts(_Answer):
    """Customers by segment; always all six."""

    vip: int
    trusted: int
    normal: int
    caution: int
    risk: int
    critical: int


class JobAsked(_Answer):
    job_id: Id


class Marked(_Answer):
    due: int
    """Customers who will be rescored now."""


# Webhooks -------------------------------------------------------------------------------------------------------------


class ChangedEndpoint(Endpoint):
    warnings: tuple[str, ...] = ()
    """Doubts about what was asked for; left out where there are none."""


class EndpointWithSecret(ChangedEndpoint):
    secret: str = ""
    """If it was generated: in this answer, and in no other."""


class Nothing(_Answer):
    """An empty object."""


class Phase(_Answer):
    phase: str
    message: str | None


class Tested(_Answer):
    delivery_id: Id
    ok: bool
    status_code: int | None
    duration_ms: int
    body: str
    """The first bytes of what the endpoint answered."""
    error: Phase | None


class ReplayAsked(_Answer):
    job_id: Id | None
    """null: it was a dry run."""
    count: int
    """Deliveries that are made once more."""
    skipped: int
    """Those that are not, for their endpoints are off."""


# Rules ----------------------------------------------------------------------------------------------------------------


class Found(_Answer):
    pointer: str
    """The place in the rule, as a JSON pointer."""
    message: str


class SavedRule(Rule):
    """Of its actions, those for which a secret was generated have it, in this answer and in no other."""

    warnings: tuple[Found, ...] = ()
    """Doubts; left out where there are none."""


class RuleReport(_Answer):
    valid: bool
    errors: list[Found]
    warnings: list[Found]


class RuleSchema(_Answer):
    """All that a form for rules is built from."""

    json_schema: dict[str, Any]
    triggers: list[dict[str, Any]]
    fields: list[dict[str, Any]]
    operators: list[dict[str, Any]]
    actions: list[dict[str, Any]]
    limits: dict[str, int]


class Starter(_Answer):
    key: str
    name: str
    description: str
    trigger: str
    conditions: Any
    actions: list[str]
    needs: list[str]
    """Of what `POST /rules/starters` takes, one that must be given."""
    rule_id: Id | None
    """The rule that was made from it, if there is one."""


class InstalledRule(SavedRule):
    starter: str


class Skipped(_Answer):
    starter: str
    message: str


class Installed(_Answer):
    installed: list[InstalledRule]
    skipped: list[Skipped]


class TriedEvent(_Answer):
    source: Literal["given", "stored", "made_up"]
    event_id: Id | None
    at: Moment
    customer: str
    order_id: int | None


class TriedCooldown(_Answer):
    seconds: int
    last_fired_at: Moment | None
    would_wait: str | None
    fired_this_hour: int
    hourly_limit: int


class TriedAction(_Answer):
    type: str
    would: str


class Trial(_Answer):
    rule_id: Id | None
    rule_version: int | None
    """null: a draft."""
    trigger: str
    event: TriedEvent
    outcome: Literal["fired", "skipped", "failed"]
    reason: str
    values: dict[str, Any]
    conditions: list[dict[str, Any]]
    cooldown: TriedCooldown
    actions: list[TriedAction]


class Exported(_Answer):
    """All that is known of a customer."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    customer: dict[str, Any]
    links: dict[str, int]
    """How many fingerprints of each kind are kept: what they were made of is kept nowhere."""
