"""What the commands read of the API's answers. Fields they do not know are ignored: the API may be newer."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Signal(_Answer):
    module: str
    points: int
    reason: str
    evidence: tuple[int | str, ...] = ()
    """Order ids are numbers; dispute ids and the hashes of linked customers are text."""


class Customer(_Answer):
    email_hash: str
    email: str | None = None
    """Where it was asked for, and the key may know it."""
    trust_score: int
    segment: str
    segment_label: str
    total_orders: int
    total_refunds: int
    return_rate: Decimal
    total_order_value: Decimal = Decimal(0)
    total_refund_value: Decimal = Decimal(0)
    is_blocked: bool
    is_allowlisted: bool
    first_order_date: str | None = None
    last_order_date: str | None = None
    linked_accounts_count: int = 0
    total_disputes: int = 0
    tags: tuple[str, ...] = ()
    signals: tuple[Signal, ...] = ()


class Scored(_Answer):
    """One entry of the score history."""

    at: str
    trust_score: int
    segment: str
    points: Mapping[str, int]
    """By module, and `base`."""
    cause: str


class Ingested(_Answer):
    """What became of one event."""

    id: str | None = None
    """None where what was sent has none that can be repeated."""
    status: Literal["accepted", "duplicate", "rejected"]
    field: str | None = None
    message: str | None = None


class Job(_Answer):
    id: UUID
    kind: str
    state: str
    done: int
    total: int | None = None
    error: str | None = None
    skipped: int | None = None
    """Deliveries that a replay left out: their endpoints were off."""
    result: Any = None
    """What it found, once it is done."""

    @property
    def ended(self) -> bool:
        return self.state not in {"queued", "running"}


class Skipped(_Answer):
    """What a sync could not take, for one reason."""

    reason: str
    count: int
    ids: tuple[int, ...] = ()
    """The first ten."""


class Counts(_Answer):
    """seen = new + changed + unchanged + those skipped."""

    seen: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: tuple[Skipped, ...] = ()


class Synced(_Answer):
    """The result of a sync."""

    orders: Counts = Counts()
    products: Counts = Counts()
    coupons: Counts = Counts()
    requests: int = 0
    repeated: int = 0
    """Of the requests, those made again."""


class SyncState(_Answer):
    """When the store was last heard of."""

    last_webhook_at: str | None = None
    last_poll_at: str | None = None
    last_poll_error: str | None = None
    gaps: int = 0
    """Orders that no webhook told of."""
    last_gap_at: str | None = None
    watermark: str | None = None


class StoreWebhook(_Answer):
    """One of the store's own webhooks."""

    topic: str
    id: int
    status: str
    """made, kept or enabled."""


class Connected(_Answer):
    """The result of a connect."""

    webhooks: tuple[StoreWebhook, ...] = ()


class Endpoint(_Answer):
    id: UUID
    url: str
    description: str = ""
    events: tuple[str, ...]
    enabled: bool
    disabled_reason: str | None = None
    delivery: str = "fire_and_log"
    format: str = "trustlens"
    include_email: bool = True
    timeout: int = 10
    headers: Mapping[str, str] = {}
    """Their values are masked."""
    filter: Any = None
    permanent_codes: tuple[int, ...] = ()
    standard_webhooks: bool = False
    overlap_until: str | None = None
    """While a secret is rotated."""
    outage_since: str | None = None
    """While it is down."""
    next_probe_at: str | None = None
    secret: str | None = None
    """A generated one, in the answer that made it."""
    warnings: tuple[str, ...] = ()


class Failure(_Answer):
    phase: str
    message: str | None = None


class Trial(_Answer):
    """What a test delivery came to."""

    delivery_id: UUID
    ok: bool
    status_code: int | None = None
    duration_ms: int
    body: str
    error: Failure | None = None


class Delivery(_Answer):
    id: UUID
    webhook_id: UUID | None = None
    rule_id: UUID | None = None
    event: str
    customer: str
    status: str
    reason: str | None = None
    max_attempts: int
    last_error: str | None = None
    next_attempt_at: str | None = None
    created_at: str
    finished_at: str | None = None


class Attempt(_Answer):
    number: int
    at: str
    status_code: int | None = None
    phase: str | None = None
    error: str | None = None
    duration_ms: int
    address: str | None = None
    body: str | None = None


class DeliveryShown(Delivery):
    next_probe_at: str | None = None
    """Of a parked one."""
    body: str | None = None
    attempts: tuple[Attempt, ...]


class FollowedAttempt(_Answer):
    """An attempt with what matters of its delivery, of which `status` and `next_attempt_at` are as of now."""

    delivery_id: UUID
    event: str
    customer: str
    number: int
    attempts: int
    max_attempts: int
    ended_at: str
    status_code: int | None = None
    phase: str | None = None
    error: str | None = None
    duration_ms: int
    status: str
    next_attempt_at: str | None = None


class Replayed(_Answer):
    job_id: UUID | None = None
    """None: they were only counted."""
    count: int
    skipped: int = 0
    """How many more there are whose endpoints are off."""


class DeadLetter(_Answer):
    id: str
    queue: str
    reason: str
    error: str
    service: str
    at: str | None = None
    size: int
    body: str = ""


class Store(_Answer):
    """How a store scores."""

    currency: str | None = None
    min_orders: int
    segments: Mapping[str, Any]
    modules: Mapping[str, Any]


class TriedOn(_Answer):
    source: str
    at: str
    order_id: int | None = None


class TriedLeaf(_Answer):
    pointer: str
    field: str
    operator: str
    value: Any
    actual: Any
    met: bool


class TriedCooldown(_Answer):
    last_fired_at: str | None = None
    would_wait: str | None = None
    fired_this_hour: int
    hourly_limit: int


class TriedAction(_Answer):
    would: str


class RuleTried(_Answer):
    """What a rule would do for one event."""

    trigger: str
    event: TriedOn
    outcome: str
    reason: str
    conditions: tuple[TriedLeaf, ...] = ()
    cooldown: TriedCooldown
    actions: tuple[TriedAction, ...] = ()


class BacktestedRule(_Answer):
    name: str
    trigger: str


class Sample(_Answer):
    at: str
    customer: str
    order_id: int | None = None
    values: Mapping[str, Any]


class Agreement(_Answer):
    fired: int
    both: int
    only_backtest: int
    only_live: int


class Backtested(_Answer):
    """What a rule would have done over some days."""

    rule: BacktestedRule
    days: int
    from_: str = Field(alias="from")
    to: str
    events: int
    firings: int
    customers: int
    order_value: Mapping[str, Decimal]
    skipped: Mapping[str, int]
    samples: tuple[Sample, ...] = ()
    live: Agreement | None = None


class Doubt(_Answer):
    """What is wrong, or doubtful, at a place of a rule."""

    pointer: str
    message: str


class RuleShown(_Answer):
    id: UUID
    version: int
    name: str
    description: str = ""
    trigger: str
    conditions: Any = None
    actions: tuple[Mapping[str, Any], ...]
    """A generated secret is in the answer that made it."""
    cooldown: int
    hourly_limit: int
    mode: str
    warnings: tuple[Doubt, ...] = ()


class Judged(_Answer):
    """What a draft of a rule is told."""

    valid: bool
    errors: tuple[Doubt, ...] = ()
    warnings: tuple[Doubt, ...] = ()


class StarterShown(_Answer):
    """A rule to start from."""

    key: str
    name: str
    description: str
    needs: tuple[str, ...] = ()
    """Of these, one at least is asked for when it is installed."""
    rule_id: UUID | None = None
    """The rule that was made from it."""


class LeftOut(_Answer):
    starter: str
    message: str


class Installed(_Answer):
    installed: tuple[RuleShown, ...]
    skipped: tuple[LeftOut, ...] = ()


class Named(_Answer):
    name: str
    label: str


class TriggerShown(Named):
    groups: tuple[str, ...]


class FieldShown(Named):
    type: str
    group: str
    operators: tuple[str, ...]
    choices: tuple[str, ...] = ()


class ActionShown(_Answer):
    type: str
    label: str


class RuleSchema(_Answer):
    """What rules are made of."""

    triggers: tuple[TriggerShown, ...]
    fields: tuple[FieldShown, ...]
    actions: tuple[ActionShown, ...]


class SavedVersion(_Answer):
    version: int
    saved_at: str
    actor: str
    changed: tuple[str, ...] = ()


class DoneAction(_Answer):
    type: str
    status: str
    detail: str | None = None


class Evaluated(_Answer):
    rule_id: UUID
    rule_version: int
    event_id: UUID
    trigger: str
    customer: str
    order_id: int | None = None
    outcome: str
    reason: str
    values: Mapping[str, Any] = {}
    actions: tuple[DoneAction, ...] = ()
    at: str


class Considered(_Answer):
    """What a rule made of one event, or why nothing."""

    event_id: UUID
    trigger: str
    at: str
    outcome: str
    reason: str
    values: Mapping[str, Any] = {}
    actions: tuple[DoneAction, ...] = ()


class RuleWhy(_Answer):
    answer: str
    events: tuple[Considered, ...] = ()
