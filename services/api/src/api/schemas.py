"""The shapes of requests and answers. Field order is the order in the answer; dates are `Y-m-d H:i:s`, UTC."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from api.chargebacks import ChargebackSettings
from api.dead import QUEUE_NAMES
from api.gate import GateSettings
from api.ingest.generic import Described
from api.paging import MAX_PAGE, MAX_PER_PAGE, Page
from api.scopes import Scope
from api.values import EMAIL, Id, Line, Moment, Time, owned, printable, thing
from shared.events import Segment, WebhookEvent
from shared.fields import TRIGGERS

SHORTEST_ID = 8
"""Digits that a list's `id` takes at least: what is shown of an id where there is no room for all of it."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class _Query(BaseModel):
    """Unknown parameters are ignored, as WordPress ignores them."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class _Given(BaseModel):
    """A body: a field that it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Listing(_Query):
    """What every list takes."""

    number: int = Field(default=1, ge=1, le=MAX_PAGE, alias="page")
    size: int = Field(default=10, ge=1, le=MAX_PER_PAGE, alias="per_page")

    @property
    def page(self) -> Page:
        return Page(self.number, self.size)


Tag = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=64),
    AfterValidator(printable),
    Line(64),
]


class CustomerQuery(_Query):
    """How customers are answered."""

    include: Literal["email"] | None = None
    """What is only told to keys with the scope pii."""


class CustomerLookup(CustomerQuery):
    email: Annotated[str, EMAIL]
    """In any capitals. A plus must be written as %2B, but a blank in its place is understood."""


class CustomerListing(CustomerQuery, Listing):
    segment: Segment | None = None
    blocked: bool | None = None
    allowlisted: bool | None = None
    tag: Tag | None = None
    min_score: int | None = Field(default=None, ge=0, le=100)
    max_score: int | None = Field(default=None, ge=0, le=100)
    """Inclusive, as `min_score`."""
    email: Annotated[str, EMAIL] | None = None
    last_order_after: Time | None = None
    """Exclusive, as WordPress has it; so is `last_order_before`."""
    last_order_before: Time | None = None
    orderby: Literal["trust_score", "total_orders", "return_rate", "created_at"] = "created_at"
    order: Literal["asc", "desc"] = "desc"


Hash = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[0-9a-fA-F]{64}$")]


def _ids(begin: Any) -> Any:
    """The first and the last id that begin so."""
    digits = begin.replace("-", "").lower() if isinstance(begin, str) else ""
    if not re.fullmatch(f"[0-9a-f]{{{SHORTEST_ID},32}}", digits):
        raise ValueError(f"must be an id, or the first {SHORTEST_ID} digits of one or more")
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


Ids = Annotated[tuple[UUID, UUID], BeforeValidator(_ids)]
"""Given as an id, or as much of its beginning as a person reads from a screen."""


ALL_IDS = (UUID(int=0), UUID(int=2**128 - 1))


class EndpointListing(Listing):
    id: Ids | None = None


class DeliveryListing(EndpointListing):
    webhook_id: UUID | None = None
    event: WebhookEvent | None = None
    status: (
        Literal["pending", "delivered", "failed", "retrying", "exhausted", "suppressed", "parked", "cancelled"] | None
    ) = None
    customer: Hash | None = None
    after: Time | None = None
    """Exclusive, as WordPress has it; so is `before`."""
    before: Time | None = None


class AttemptListing(DeliveryListing):
    """`after` and `before` are of the attempts' ends; without `after` those of the last hour."""


class RuleListing(EndpointListing):
    search: str | None = Field(default=None, max_length=200)
    """A part of the name, in any capitals."""
    trigger: Annotated[str, WithJsonSchema({"type": "string", "enum": TRIGGERS})] | None = None
    mode: Literal["live", "shadow", "off"] | None = None

    @field_validator("trigger")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in TRIGGERS:
            raise ValueError(f"must be one of {', '.join(TRIGGERS)}")
        return name


class OfCustomer(_Query):
    """One customer, by hash or by plain address."""

    customer: Hash | None = None
    email: Annotated[str, Field(max_length=320), EMAIL] | None = None


class EvaluationListing(OfCustomer, Listing):
    outcome: Literal["fired", "skipped", "failed"] | None = None
    from_: Time | None = Field(default=None, alias="from")
    """Inclusive."""
    to: Time | None = None
    """Exclusive."""


class DeadPlace(_Query):
    """One id may lie dead in several queues: which of them."""

    queue: Annotated[str, WithJsonSchema({"type": "string", "enum": QUEUE_NAMES})] | None = None

    @field_validator("queue")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in QUEUE_NAMES:
            raise ValueError(f"must be one of {', '.join(QUEUE_NAMES)}")
        return name


class DeadListing(DeadPlace, Listing):
    pass


def _as_answered(text: str) -> str:
    return thing(text) or text


class AuditListing(Listing):
    key: Annotated[str, Field(max_length=64), AfterValidator(_as_answered)] | None = None
    """A key's id, or its prefix."""
    action: str | None = Field(default=None, max_length=200)
    """As the entries have it: `PATCH /customers/{email_hash}`."""
    object: Annotated[str, Field(max_length=64), AfterValidator(_as_answered)] | None = None
    """An id or a customer's hash."""
    from_: Time | None = Field(default=None, alias="from")
    """Inclusive."""
    to: Time | None = None
    """Exclusive."""


TimelineType = Literal[
    "order_placed",
    "order_status_changed",
    "order_completed",
    "order_cancelled",
    "order_refunded",
    "coupon_applied",
    "chargeback_filed",
    "chargeback_updated",
    "linked_accounts_detected",
    "shipping_anomaly_detected",
    "card_testing_detected",
    "checkout_blocked",
    "customer_blocked",
    "customer_unblocked",
    "customer_allowlisted",
    "customer_allowlist_removed",
    "customer_erased",
    "score_updated",
    "segment_changed",
    "automation_triggered",
    "note_added",
    "tag_added",
]


class TimelineListing(Listing):
    type: TimelineType | None = None
    after: Time | None = None
    """Exclusive, as WordPress has it; so is `before`."""
    before: Time | None = None


def _is_given(flag: str) -> dict[str, Any]:
    return {"required": [flag], "properties": {flag: {"type": "boolean"}}}


class CustomerPatch(_Given):
    model_config = ConfigDict(json_schema_extra={"anyOf": [_is_given("is_blocked"), _is_given("is_allowlisted")]})

    is_blocked: StrictBool | None = None
    is_allowlisted: StrictBool | None = None
    reason: str | None = Field(default=None, max_length=500)

    @model_validator(mode="after")
    def _changes_something(self) -> "CustomerPatch":
        if self.is_blocked is None and self.is_allowlisted is None:
            raise ValueError("is_blocked or is_allowlisted must be given")
        return self


class TagGiven(_Given):
    tag: Tag


class NoteGiven(_Given):
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)]


class KeyGiven(_Given):
    name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
        AfterValidator(printable),
        Line(100),
    ]
    scopes: list[Scope] = Field(min_length=1, max_length=len(get_args(Scope)))


class Erasure(_Query):
    reason: str | None = Field(default=None, max_length=500)


class SmtpGiven(_Given):
    """The mail server that rules' e-mails go through."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65535, strict=True)]
    security: Literal["tls", "starttls", "none"] = "starttls"
    user: Annotated[str, Field(min_length=1, max_length=320)] | None = None
    password: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    sender: Annotated[str, Field(min_length=3, max_length=320)]
    """`alerts@shop.example` or `Shop <alerts@shop.example>`"""


class WooCommerceGiven(_Given):
    """A REST API key of the store's, with the right to write: rules hold and cancel orders with it."""

    key: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,100}$")]
    secret: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,100}$")]


_HOST = r"[^\x00-\x2c/\x3a-\x40\x5b-\x5e\x60\x7b-\xa0\s]+"
"""Letters of any script, digits, dots, hyphens, underscores. No shop lives at a bare IPv6 address."""
_SHOP = re.compile(rf"https?://{_HOST}(?::[0-9]{{1,5}})?(?:/[^\s\x00-\x1f\x7f?#]*)?")


def shop_address(url: str) -> str:
    """
    Raises:
        ValueError: it is no address that a shop can have.
    """
    if not (_SHOP.fullmatch(url) and url.isprintable()):
        raise ValueError("is not the address of a shop: https://shop.example")
    return url


SiteName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(printable),
    Line(200),
]
SiteUrl = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=2000),
    AfterValidator(shop_address),
    WithJsonSchema({"type": "string", "maxLength": 2000, "pattern": rf"^\s*{_SHOP.pattern}\s*$"}),
]


class ConnectGiven(_Given):
    delivery_url: SiteUrl
    """Where the store sends its webhooks: our ingest URL, as the store's server reaches it."""
    url: SiteUrl | None = None
    """The shop's address; without it the saved one. Saved once the shop has taken the key."""
    woocommerce: WooCommerceGiven | None = None
    """A key of the shop's REST API; without it the saved one. Saved once the shop has taken it."""


class SyncGiven(_Given):
    """Of orders; products and coupons are read all. By when they were placed, exclusive, as WordPress has it."""

    after: Time | None = None
    before: Time | None = None


class StorePatch(_Given):
    """How the store scores, which the scorer checks and keeps; and the rest, which is kept here."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    # By factories, so that no schema tells of defaults: what is not given is not looked at, and stays as it is.
    name: SiteName = Field(default_factory=str)
    url: SiteUrl = Field(default_factory=str)
    enforce_blocking: StrictBool = Field(default_factory=bool)
    gate: GateSettings | None = None
    """What is not given of it stays; null: as if nothing had ever been said."""
    chargebacks: ChargebackSettings | None = None
    """As gate."""
    min_orders: Annotated[Any, owned("Scoring.min_orders")] = None
    segments: Annotated[Any, owned("Scoring.segments")] = None
    modules: Annotated[Any, owned("Scoring.modules")] = None
    currency: Annotated[Any, WithJsonSchema({"type": ["string", "null"], "pattern": "^[A-Z]{3}$"})] = None
    smtp: SmtpGiven | None = None
    woocommerce: WooCommerceGiven | None = None
    stripe_secret: Annotated[str, Field(pattern=r"^[\x21-\x7e]{16,200}$")] = Field(default_factory=str)
    """Of the endpoint that Stripe sends events by, as its dashboard shows it; in no answer."""

    @model_validator(mode="after")
    def _changes_something(self) -> "StorePatch":
        if not self.model_fields_set:
            raise ValueError(f"one of {', '.join(StorePatch.model_fields)} must be given")
        return self


SCORING = {"min_orders", "segments", "modules", "currency"}
"""Fields of StorePatch that are the scorer's."""


class Rotation(_Given):
    """The dispatcher checks the values."""

    secret: Annotated[Any, owned("SecretRotation.secret")] = None
    overlap: Annotated[Any, owned("SecretRotation.overlap")] = None


_TIME: TypeAdapter[datetime] = TypeAdapter(Time)


def _written_in_utc(given: Any) -> Any:
    """A time without an offset is UTC, as in all our answers; what is none is left to who refuses it."""
    try:
        return _TIME.validate_python(given).isoformat() if isinstance(given, str) else given
    except ValidationError:
        return given


class ReplayGiven(_Given):
    """The dispatcher checks the values."""

    webhook_id: Annotated[Any, owned("Replay.webhook_id")] = None
    event: Annotated[Any, owned("Replay.event")] = None
    status: Annotated[Any, owned("Replay.status")] = None
    customer: Annotated[Any, owned("Replay.customer")] = None
    from_: Annotated[Any, AfterValidator(_written_in_utc), owned("Replay.from")] = Field(default=None, alias="from")
    to: Annotated[Any, AfterValidator(_written_in_utc), owned("Replay.to")] = None
    rate: Annotated[Any, owned("Replay.rate")] = None
    dry_run: Annotated[Any, owned("Replay.dry_run")] = None

    def asked(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True, by_alias=True)


class TrialGiven(_Given):
    """What a rule is to be tried on. The rule engine checks the values, but for the address, which it must not see."""

    email: Annotated[str, Field(max_length=320), EMAIL] | None = None
    customer: Hash | None = None
    event_id: Annotated[Any, owned("AskedTest.event_id")] = None
    event: Annotated[Any, owned("RuleTestEvent")] = None
    rule: Annotated[Any, owned("ShownRule")] = None
    """A draft, tried in place of the saved rule."""


class BacktestGiven(_Given):
    """The rule engine checks the values."""

    days: Annotated[Any, owned("AskedBacktest.days")] = None
    rule: Annotated[Any, owned("ShownRule")] = None
    """As above."""


def _as_sent(item: Any) -> Any:
    return item


class IngestEvents(_Given):
    events: list[Annotated[Any, PlainValidator(_as_sent, json_schema_input_type=Described | Any)]] = Field(
        min_length=1, max_length=500
    )
    """Each by itself: what is wrong with one, the answer tells of it, and the others are taken."""
    history: StrictBool = False


class IngestedEvent(_Answer):
    """What became of one item. code, field and message tell why it was rejected."""

    id: str | None
    status: Literal["accepted", "duplicate", "rejected"]
    code: str | None = None
    field: str | None = None
    message: str | None = None


class ListedCustomer(_Answer):
    """The seed's customer object."""

    id: int
    email_hash: str
    trust_score: int
    segment: Segment
    segment_label: str
    total_orders: int
    total_refunds: int
    return_rate: Decimal
    """Percent, one decimal."""
    total_order_value: Decimal
    total_refund_value: Decimal
    is_blocked: bool
    is_allowlisted: bool
    first_order_date: Moment | None
    last_order_date: Moment | None
    created_at: Moment
    updated_at: Moment


class Signal(_Answer):
    module: str
    points: int
    reason: str
    evidence: list[int | str] = []
    """Ids of orders (numbers), of disputes, hashes of linked customers."""


class Customer(ListedCustomer):
    """And what an answer about one customer adds."""

    signals: list[Signal]
    tags: list[str]
    linked_accounts_count: int
    total_disputes: int


class _WithEmail(_Answer):
    email: str | None
    """null: it was erased, or the shop never told it."""


class ListedCustomerWithEmail(_WithEmail, ListedCustomer):
    pass


class CustomerWithEmail(_WithEmail, Customer):
    pass


class TimelineEntry(_Answer):
    id: Id
    type: str
    occurred_at: Moment
    data: dict[str, Any]


class ScoreChange(_Answer):
    at: Moment
    trust_score: int
    segment: Segment
    points: dict[str, int]
    """By module."""
    cause: str


class Job(_Answer):
    id: Id
    kind: str
    state: str
    done: int
    total: int | None
    error: str | None
    """Why it failed; of one that is running, why it waits just now."""
    skipped: int | None
    """Deliveries that a replay left out because their endpoints were off when it was asked for. Null: no replay."""
    result: Any
    """What it found, once it is done. Null: there was nothing to find out."""


class SyncStanding(_Answer):
    """What the store tells us, and what we found by asking it. null: never."""

    last_webhook_at: Moment | None
    """To the minute."""
    last_poll_at: Moment | None
    last_poll_error: str | None
    """Of the last poll, in words. null: it went well."""
    gaps: int
    """Orders that a poll found, and that no webhook had told."""
    last_gap_at: Moment | None
    watermark: Moment | None
    """Whatever the store changed before has been read."""


class StoreSettings(_Answer):
    id: Id
    name: str
    url: str
    """Both as every webhook tells them."""
    enforce_blocking: bool
    """Whether blocked customers are kept from checking out."""
    gate: GateSettings
    """Of the checkout."""
    chargebacks: ChargebackSettings
    """From how many disputes on /chargebacks/ratio warns."""
    version: int
    """Of what the scorer keeps: currency, min_orders, segments, modules."""
    currency: str
    min_orders: int
    segments: dict[str, Any]
    modules: dict[str, Any]
    smtp: dict[str, Any] | None
    """Without the password."""
    woocommerce: dict[str, Any] | None
    """Without the secret."""
    sync: SyncStanding


class PatchedStore(StoreSettings):
    job_id: str | None
    """The job that brings every score up to date. None: nothing changed."""


class Stats(_Answer):
    total_customers: int
    average_trust_score: Decimal
    blocked_count: int
    allowlisted_count: int
    average_return_rate: Decimal
    total_orders: int
    total_refunds: int


class Endpoint(_Answer):
    id: Id
    url: str
    description: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    delivery: str
    format: str
    include_email: bool
    timeout: int
    headers: dict[str, str]
    """Names with masked values: they may be credentials."""
    filter: Any
    permanent_codes: list[int]
    standard_webhooks: bool
    overlap_until: Moment | None
    """Until then the old secret signs too. Null: no rotation is under way."""
    outage_since: Moment | None
    """Since then it is down: what is promised to it is parked. Null: it is not."""
    next_probe_at: Moment | None
    """When one parked delivery is tried, to see whether it is back. Null: it is not down."""
    created_at: Moment
    updated_at: Moment


Attempts = TypeVar("Attempts")


class _Delivery(_Answer, Generic[Attempts]):
    id: Id
    webhook_id: Id | None
    rule_id: Id | None
    event: str
    customer: str
    sequence: int
    status: str
    reason: str | None
    attempts: Attempts
    max_attempts: int
    last_status_code: int | None
    last_error: str | None
    duration_ms: int | None
    next_attempt_at: Moment | None
    created_at: Moment
    finished_at: Moment | None


class Delivery(_Delivery[int]):
    """With the number of its attempts."""


class Attempt(_Answer):
    number: int
    at: Moment
    status_code: int | None
    phase: str | None
    """Where it failed: dns, connect, tls, write, first_byte, body."""
    error: str | None
    duration_ms: int
    address: str | None
    body: str | None
    """The first bytes of the answer. None for keys without the scope pii: receivers repeat what they were sent."""


class DeliveryShown(_Delivery[list[Attempt]]):
    """With the attempts themselves."""

    next_probe_at: Moment | None
    """Of a parked one: when it, or another that waits with it, is tried to see whether its endpoint is back."""
    body: str | None
    """What is sent. None for keys without the scope pii, for it holds the customer's address, and where it is gone."""


class FollowedAttempt(_Answer):
    """An attempt with the delivery that it was one of, as an operator reads it."""

    delivery_id: Id
    webhook_id: Id | None
    rule_id: Id | None
    event: str
    customer: str
    number: int
    attempts: int
    """How many the delivery has by now."""
    max_attempts: int
    at: Moment
    ended_at: Moment
    status_code: int | None
    phase: str | None
    error: str | None
    duration_ms: int
    address: str | None
    status: str
    """Of the delivery, now."""
    reason: str | None
    next_attempt_at: Moment | None


class DeadLetter(_Answer):
    id: str
    queue: str
    reason: str
    error: str
    service: str
    at: Moment | None
    """When it died, where that is known."""
    size: int


class DeadLetterShown(DeadLetter):
    body: str


class Rule(_Answer):
    id: Id
    version: int
    name: str
    description: str
    trigger: str
    conditions: Any
    actions: list[Any]
    cooldown: int
    hourly_limit: int
    mode: str
    created_at: Moment
    updated_at: Moment


class RuleAsSaved(_Answer):
    """What a version says; secrets and header values are not in it."""

    name: str
    description: str
    trigger: str
    conditions: Any
    actions: list[Any]
    cooldown: int
    hourly_limit: int
    mode: str


class RuleVersion(_Answer):
    version: int
    saved_at: Moment
    actor: str
    changed: list[str]
    """The fields that differ from the version before. Of the first: none."""
    rule: RuleAsSaved


class EvaluatedAction(_Answer):
    type: str
    status: str
    detail: str | None
    delivery_id: Id | None


class Evaluation(_Answer):
    id: Id
    rule_id: Id
    rule_version: int
    event_id: Id
    trigger: str
    customer: str
    order_id: int | None
    outcome: str
    reason: str
    values: dict[str, Any]
    actions: list[EvaluatedAction]
    at: Moment


class WhyEvent(_Answer):
    """What a rule made of one event, or why it made nothing of it."""

    event_id: Id
    trigger: str
    at: Moment
    outcome: str
    """fired, skipped, failed, or not_evaluated."""
    reason: str
    version: int | None
    """Of the rule, where it was evaluated."""
    values: dict[str, Any]
    actions: list[EvaluatedAction]


class Why(_Answer):
    rule_id: Id
    customer: str
    answer: str
    """One sentence or two, about the newest event."""
    events: list[WhyEvent]
    """Newest first, ten at most."""


class ApiKey(_Answer):
    """Never the key itself."""

    id: Id
    name: str
    scopes: list[str]
    prefix: str
    created_at: Moment
    last_used_at: Moment | None
    """To the minute."""
    revoked_at: Moment | None


class ApiKeyMade(_Answer):
    id: Id
    name: str
    scopes: list[str]
    prefix: str
    key: str
    """In this answer and in no other."""


class Audited(_Answer):
    id: Id
    at: Moment
    actor: str
    """`key:<prefix>`, or `cli`."""
    key_id: Id | None
    key_name: str | None
    action: str
    """Method and route."""
    objects: list[str]
    """Ids and hashes: what the path names, then what was made."""
    address: str | None
    status: int | None
    """Of the answer. null: it was begun, and nobody knows whether it was done."""
