"""Settings of the scorer process."""

from pydantic import Field

from shared.settings import Settings


class ScorerSettings(Settings):
    rescore_interval: float = Field(default=0.5, gt=0, le=60)
    """Seconds between looks at the customers that others' facts touched, when there were none."""
    sweep_hour: int = Field(default=3, ge=0, le=23)
    """Hour (UTC) of the nightly look at the customers whose score time alone has moved."""
    jobs_interval: float = Field(default=1, gt=0, le=60)
    """Seconds between looks for long work (recomputing a store), when there was none."""
    fold_interval: float = Field(default=5, gt=0, le=600)
    """Seconds between foldings of what batches added to the stores' statistics: readers add up what is not folded."""
    event_days: int = Field(default=90, ge=7, le=3650)
    """How long customer events are kept: so far back a rule can be tried on them."""
    timeline_days: int = Field(default=365, ge=7, le=3650)
    """How long customers' timelines are kept."""
    outcome_days: int = Field(default=30, ge=30, le=365)
    """How long input outcomes are kept: longer than the raw input they belong to, which is 28 days at most."""
