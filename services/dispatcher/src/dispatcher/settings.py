"""Settings of the dispatcher process."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from dispatcher.deliveries import Rules
from shared.targets import ReachSettings

Seconds = Annotated[float, Field(ge=0, le=86400)]


class DispatcherSettings(ReachSettings):
    retry_delays: Annotated[tuple[Seconds, ...], NoDecode, Field(min_length=1, max_length=3)] = (60, 120, 240)
    """Seconds before each retry of a rule's webhook and of `delivery: retry` endpoints, comma-separated. The waits
    and their number (never a fifth attempt) are promised in the guide: shorten them in tests only."""
    in_flight: int = Field(default=16, ge=1, le=1000)
    """Most requests at once to one endpoint: what a small receiver's worker pool stands."""
    poll_seconds: float = Field(default=0.25, gt=0, le=60)
    """Time between looks for due deliveries; while there are none it grows to four times that."""
    lease_seconds: float = Field(default=60, ge=1, le=3600)
    """How long a dispatcher that died keeps its deliveries from the others. Below 47 s (a 30 s timeout and 5 s to
    record its answer are three quarters of that) a slow attempt may outlive it and be made again, under the same id."""
    expire_seconds: float = Field(default=300, gt=0)
    """Fire-and-log deliveries not started this long after their event are not sent any more."""
    burst_window: float = Field(default=5, ge=0, le=3600)
    """Seconds within which a settings webhook that repeats the last one is left out. 0: none is."""
    park_hours: float = Field(default=72, gt=0, le=720)
    """How long deliveries that are promised wait for an endpoint that is down, before they are given up."""
    jobs_interval: float = Field(default=1, gt=0, le=60)
    """Seconds between looks for long work (a replay), when there was none."""
    overlap_hours: float = Field(default=24, gt=0, le=720)
    """How long both secrets sign after a rotation."""

    delivery_days: int = Field(default=90, ge=7, le=3650)
    """How long deliveries, their bodies and attempts are kept: so far back they can be sent again."""

    @field_validator("retry_delays", mode="before")
    @classmethod
    def _delays(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)

    @property
    def expire_after(self) -> timedelta:
        return timedelta(seconds=self.expire_seconds)

    @property
    def rules(self) -> Rules:
        return Rules(self.retry_delays, timedelta(hours=self.park_hours))
