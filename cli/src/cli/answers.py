"""What the commands read of the API's answers. Fields they do not know are ignored: the API may be newer."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict


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
    trust_score: int
    segment: str
    segment_label: str
    total_orders: int
    total_refunds: int
    return_rate: Decimal
    is_blocked: bool
    is_allowlisted: bool
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

    @property
    def ended(self) -> bool:
        return self.state not in {"queued", "running"}


class Store(_Answer):
    """How a store scores."""

    currency: str | None = None
    min_orders: int
    segments: Mapping[str, Any]
    modules: Mapping[str, Any]
