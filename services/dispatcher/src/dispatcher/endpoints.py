"""Endpoints: what a store owner may ask for, what is kept, what is shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, field_validator
from pydantic_core import PydanticCustomError

from shared.events import WebhookEvent
from shared.jsontext import api_time
from shared.targets import MASK, TargetHeaders, TargetUrl

Mode = Literal["fire_and_log", "retry"]

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
    """None: no key of this process opens it."""
    headers: Mapping[str, str] = field(repr=False)
    enabled: bool = True


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

    @property
    def id(self) -> UUID:
        return self.target.id


def subscribers(endpoints: Iterable[Endpoint], event: str) -> list[Endpoint]:
    """The enabled endpoints that want an event."""
    return [endpoint for endpoint in endpoints if endpoint.target.enabled and event in endpoint.events]


class NewEndpoint(BaseModel):
    """What `POST /webhooks` takes. Validate with a Reach as the context."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: TargetUrl
    secret: StrictStr | None = Field(default=None, max_length=1024)
    events: list[StrictStr] = Field(default_factory=list, max_length=len(SUBSCRIBABLE) * 2, validate_default=True)
    description: StrictStr = Field(default="", max_length=500)
    enabled: StrictBool = True
    delivery: Mode = "fire_and_log"
    format: StrictStr = "trustlens"
    include_email: StrictBool = True
    timeout: StrictInt = Field(default=10, ge=1, le=30)
    headers: TargetHeaders = Field(default_factory=dict)
    filter: None = None

    @field_validator("events")
    @classmethod
    def _known_events(cls, names: list[str]) -> list[str]:
        unknown = [name for name in names if name not in SUBSCRIBABLE]
        if unknown:
            raise PydanticCustomError("events", "unknown event: {names}", {"names": ", ".join(unknown)})
        return list(dict.fromkeys(names)) or list(DEFAULT_EVENTS)

    @field_validator("format")
    @classmethod
    def _known_format(cls, name: str) -> str:
        if name != "trustlens":
            raise PydanticCustomError("format", "unknown format: {name}; there is trustlens", {"name": name})
        return name


def endpoint_json(endpoint: Endpoint) -> dict[str, Any]:
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
        "filter": None,
        "created_at": api_time(endpoint.created_at),
        "updated_at": api_time(endpoint.updated_at),
    }
