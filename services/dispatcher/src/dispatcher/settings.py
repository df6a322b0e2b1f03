"""Settings of the dispatcher process."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from dispatcher.endpoints import Reach
from shared.egress import Network
from shared.settings import Settings

Seconds = Annotated[float, Field(ge=0, le=86400)]


class DispatcherSettings(Settings):
    retry_delays: Annotated[tuple[Seconds, ...], NoDecode, Field(min_length=1, max_length=3)] = (60, 120, 240)
    """Seconds before each retry of a rule's webhook and of `delivery: retry` endpoints, comma-separated. The waits
    and their number (never a fifth attempt) are promised in the guide: shorten them in tests only."""
    allow_http: bool = False
    """Whether http:// targets may be called. For local stacks."""
    allowed_targets: Annotated[tuple[Network, ...], NoDecode] = ()
    """Networks that may be called though they are private, as CIDRs, comma-separated."""
    in_flight: int = Field(default=16, ge=1, le=1000)
    """Most requests at once to one endpoint: what a small receiver's worker pool stands."""
    poll_seconds: float = Field(default=0.25, gt=0, le=60)
    """Time between looks for due deliveries; while there are none it grows to four times that."""
    lease_seconds: float = Field(default=60, ge=1, le=3600)
    """How long a dispatcher that died keeps its deliveries from the others. Below 70 s, twice the longest timeout
    with 5 s to record its answer, a slow attempt may outlive its lease and be made again, under the same id."""
    expire_seconds: float = Field(default=300, gt=0)
    """Fire-and-log deliveries not started this long after their event are not sent any more."""

    @field_validator("retry_delays", "allowed_targets", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def reach(self) -> Reach:
        return Reach(allow_http=self.allow_http, allowed=self.allowed_targets)

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)

    @property
    def expire_after(self) -> timedelta:
        return timedelta(seconds=self.expire_seconds)
