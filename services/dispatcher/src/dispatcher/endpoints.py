"""Endpoints: what a store owner may ask for, what is kept, what is shown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from dispatcher.breaker import Breaker
from dispatcher.destinations.means import Credentials, Smtp
from shared.conditions import Condition, Decide, compiled, too_large
from shared.events import WebhookEvent
from shared.fields import CONTEXTS, Group
from shared.jsontext import api_time
from shared.misfits import misfits, strangers
from shared.mistakes import Problem
from shared.signing import is_standard_secret
from shared.targets import MASK, SLACK_HOST, TargetHeaders, TargetUrl

Mode = Literal["fire_and_log", "retry"]
Format = Literal["trustlens", "slack"]

SUBSCRIBABLE = tuple(name for name in get_args(WebhookEvent) if name != "test")
DEFAULT_EVENTS = ("score_updated", "customer_blocked", "checkout_blocked", "high_risk_order")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a delivery goes: an endpoint, or a rule action's own target."""

    id: UUID
    url: str
    timeout: int
    """Seconds, for everything from the name's lookup to the answer's last byte."""
    secret: str | None = field(repr=False)
    """None: no key of this process opens it, or it is unsigned."""
    headers: Mapping[str, str] = field(repr=False)
    unsigned: bool = False
    """It has no secret: Slack's URL is one by itself."""
    enabled: bool = True
    next_secret: str | None = field(default=None, repr=False)
    """Of a rotation under way."""
    overlap_until: datetime | None = None
    """Until then both secrets sign; from then on the next one is the secret."""
    standard_webhooks: bool = False
    """Send Standard Webhooks headers beside ours."""
    permanent_codes: frozenset[int] = frozenset()
    """Statuses after which its owner wants no retries."""
    via: Smtp | Credentials | None = None
    """What the store's own mail server, or its orders, are reached with."""
    pace: timedelta | None = None
    """At most one delivery in this time."""

    def secrets(self, now: datetime) -> tuple[str | None, str | None]:
        """The secret, and the one that follows it while a rotation lets both sign."""
        if self.next_secret is None or self.overlap_until is None:
            return self.secret, None
        return (self.secret, self.next_secret) if now < self.overlap_until else (self.next_secret, None)


@dataclass(frozen=True, slots=True)
class Endpoint:
    target: Target
    store_id: UUID
    description: str
    events: tuple[str, ...]
    disabled_reason: str | None
    mode: Mode
    format: str
    include_email: bool
    created_at: datetime
    updated_at: datetime
    filter: Condition | None = None
    """Over the event's fields; None: every event it subscribed to."""
    decide: Decide = field(init=False, repr=False, compare=False)
    """The filter, compiled."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "decide", compiled(self.filter))

    @property
    def id(self) -> UUID:
        return self.target.id


def subscribers(endpoints: Iterable[Endpoint], event: str) -> list[Endpoint]:
    """The endpoints that want an event, those that are switched off too: what they miss is on record."""
    return [endpoint for endpoint in endpoints if event in endpoint.events]


_FILTER: TypeAdapter[Condition | None] = TypeAdapter(Condition | None)
PACE = timedelta(seconds=1)
"""Slack takes one message per second and webhook (its published limit), and answers 429 with Retry-After to more."""


def parse_filter(stored: str | None) -> Condition | None:
    return _FILTER.validate_json(stored) if stored else None


class NewEndpoint(BaseModel):
    """What `POST /webhooks` takes, and what a changed endpoint must still be. Validate with a Reach as the context."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: TargetUrl
    secret: StrictStr | None = Field(default=None, max_length=1024)
    events: list[Annotated[StrictStr, WithJsonSchema({"type": "string", "enum": SUBSCRIBABLE})]] = Field(
        default_factory=list, max_length=len(SUBSCRIBABLE) * 2, validate_default=True
    )
    description: StrictStr = Field(default="", max_length=500)
    enabled: StrictBool = True
    disabled_reason: StrictStr | None = Field(default=None, max_length=500)
    """Why it is off; goes when it is switched on."""
    delivery: Mode = "fire_and_log"
    format: Annotated[StrictStr, WithJsonSchema({"type": "string", "enum": get_args(Format)})] = Field(
        default="trustlens", validate_default=True
    )
    include_email: StrictBool = True
    timeout: StrictInt = Field(default=10, ge=1, le=30)
    headers: TargetHeaders = Field(default_factory=dict)
    filter: Condition | None = None
    permanent_codes: list[Annotated[StrictInt, Field(ge=400, le=599)]] = Field(default_factory=list, max_length=50)
    standard_webhooks: StrictBool = False

    @field_validator("events")
    @classmethod
    def _known_events(cls, names: list[str]) -> list[str]:
        unknown = [name for name in names if name not in SUBSCRIBABLE]
        if unknown:
            raise PydanticCustomError("events", "has an unknown event: {names}", {"names": ", ".join(unknown)})
        return list(dict.fromkeys(names)) or list(DEFAULT_EVENTS)

    @field_validator("disabled_reason")
    @classmethod
    def _reason_of_one_that_is_off(cls, reason: str | None, info: ValidationInfo) -> str | None:
        if reason and info.data.get("enabled"):
            raise PydanticCustomError("reason", "says why an endpoint is off, and this one is on", {})
        return reason

    @field_validator("format")
    @classmethod
    def _known_format(cls, name: str, info: ValidationInfo) -> str:
        if name not in get_args(Format):
            known = " and ".join(get_args(Format))
            raise PydanticCustomError("format", "is unknown: {name}; there are {known}", {"name": name, "known": known})
        if name != "slack" and urlsplit(info.data.get("url", "")).hostname == SLACK_HOST:
            raise PydanticCustomError("format", "must be slack: a hooks.slack.com URL takes Slack messages only", {})
        return name

    @field_validator("filter")
    @classmethod
    def _small_filter(cls, given: Condition | None) -> Condition | None:
        if problem := too_large(given):
            raise PydanticCustomError("filter", "{problem}", {"problem": problem})
        return given

    @field_validator("standard_webhooks")
    @classmethod
    def _standard_secret(cls, wanted: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  # pydantic's signature
        secret = info.data.get("secret")
        if wanted and secret is not None and not is_standard_secret(secret):
            raise PydanticCustomError("secret", "needs a secret of whsec_ and 24 to 64 bytes in base64", {})
        return wanted


def filter_errors(asked: NewEndpoint) -> list[Problem]:
    """Why a filter would let nothing pass: its operators and values, and fields that no subscribed event has."""
    return [*misfits(asked.filter, _FILTER_PATH)] + [
        Problem(problem.path, f"{problem.message}, and {_none_of(asked.events)}")
        for problem, group in _missed(asked)
        if not any(group in CONTEXTS[event] for event in asked.events)
    ]


def filter_doubts(asked: NewEndpoint) -> list[str]:
    """Which subscribed events a filter holds back whatever they tell."""
    lacking = (
        (problem, [event for event in asked.events if group not in CONTEXTS[event]])
        for problem, group in _missed(asked)
    )
    told = (Problem(problem.path, f"{problem.message}, and {_none_of(events)}") for problem, events in lacking)
    return [f"{problem.dotted}: {problem.message}: it is not met then" for problem in told]


_FILTER_PATH = ("filter",)


def _missed(asked: NewEndpoint) -> list[tuple[Problem, Group]]:
    """The fields that not all subscribed events have."""
    common = frozenset.intersection(*(CONTEXTS[event] for event in asked.events))
    return [*strangers(asked.filter, common, _FILTER_PATH)]


def _none_of(events: Sequence[str]) -> str:
    return f"{events[0]} has none" if len(events) == 1 else f"none of {', '.join(events)} has one"


def endpoint_json(endpoint: Endpoint, breaker: Breaker) -> dict[str, Any]:
    """An endpoint as the API shows it. Header values are never shown, the secret is not part of it."""
    return {
        "id": str(endpoint.id),
        "url": endpoint.target.url,
        "description": endpoint.description,
        "events": list(endpoint.events),
        "enabled": endpoint.target.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "delivery": endpoint.mode,
        "format": endpoint.format,
        "include_email": endpoint.include_email,
        "timeout": endpoint.target.timeout,
        "headers": dict.fromkeys(endpoint.target.headers, MASK),
        "filter": endpoint.filter.model_dump(mode="json", by_alias=True) if endpoint.filter else None,
        "permanent_codes": sorted(endpoint.target.permanent_codes),
        "standard_webhooks": endpoint.target.standard_webhooks,
        "overlap_until": api_time(at) if (at := endpoint.target.overlap_until) else None,
        "outage_since": api_time(at) if (at := breaker.opened_at) else None,
        "next_probe_at": api_time(at) if (at := breaker.next_probe_at) else None,
        "created_at": api_time(endpoint.created_at),
        "updated_at": api_time(endpoint.updated_at),
    }
