"""Settings of the scorer process."""

from pydantic import Field

from shared.settings import Settings


class ScorerSettings(Settings):
    rescore_interval: float = Field(default=0.5, gt=0, le=60)
    """Seconds between looks at the customers that others' facts touched, when there were none."""
    event_days: int = Field(default=90, ge=7, le=3650)
    """How long customer events are kept: so far back a rule can be tried on them."""
    outcome_days: int = Field(default=30, ge=30, le=365)
    """How long input outcomes are kept: longer than the raw input they belong to, which is 28 days at most."""
