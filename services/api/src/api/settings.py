"""Settings of the api process."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import NoDecode

from shared.egress import Network
from shared.targets import ReachSettings


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://([a-z0-9-]+\.)*[a-z0-9-]+(:[1-9][0-9]{0,4})?", text):
        raise ValueError("must be an origin as browsers send it: https://dashboard.example, without a path")
    return text


class ApiSettings(ReachSettings):
    statement_seconds: float = Field(default=10, gt=0, le=50)
    """How long a statement may take before the caller is told 503; below the 60 s that WooCommerce waits."""
    body_seconds: float = Field(default=60, gt=0, le=600)
    """How long a request's body may take to arrive; who sends slower is told 408."""
    idle_seconds: float = Field(default=75, gt=0, le=3600)
    """How long a connection may stay open without a request: until the next one's head is whole, that is, so nobody
    holds connections by sending it slowly. Above the 60 s for which nginx and most proxies keep theirs."""
    gather_seconds: float = Field(default=0.003, ge=0, le=1)
    """How long the first input waits for others to share its commit with: a store does not notice 3 ms."""
    commit_seconds: float = Field(default=10, gt=0, le=50)
    """How long an input may wait for its commit before the store is told 503; below the 60 s that WooCommerce waits."""
    memory_seconds: float = Field(default=1, ge=0, le=1)
    """How old a key or a store's secret in memory may be: so long does a revoked key still work."""
    raw_input_days: int = Field(default=7, ge=1, le=28)
    """How long requests are kept as they came; the scorer keeps their outcomes for at least 30 days."""
    input_seen_days: int = Field(default=30, ge=1, le=365)
    """How long a repeated delivery is recognised; the scorer finds later ones unchanged by itself."""
    gate_seconds: float = Field(default=0.6, gt=0, le=50)
    """How long the checkout gate may look before it lets the shopper through; below the 1 s that a store waits."""
    gate_history_days: int = Field(default=30, ge=1, le=365)
    """How long it is kept who was refused and declined at the checkout."""
    command_seconds: float = Field(default=5, gt=0, le=60)
    """How long another service may take to answer a command; after it, it will not execute it."""
    rate_limit: float = Field(default=0, ge=0, le=1_000_000)
    """Requests per second that a key may make of each api process, and as many at once. 0: as many as it likes."""
    last_used_seconds: float = Field(default=60, gt=0, le=3600)
    """Time between two writes of when keys were used, and webhooks came, last."""
    audit_days: int = Field(default=365, ge=1, le=3650)
    """How long it is kept who changed what, and who read what is personal."""
    erasure_seconds: float = Field(default=2, gt=0, le=600)
    """Time between looks for customers who were erased, and whose requests as they came are still kept."""
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    """Networks whose X-Forwarded-For is believed, as CIDRs, comma-separated. Without any, the caller is the peer."""
    cors_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode] = ()
    """Origins whose pages may call the API from a browser, comma-separated. Without any, none may."""

    @field_validator("trusted_proxies", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # by the name of ReachSettings' validator it would take that one's place
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
