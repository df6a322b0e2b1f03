"""Settings of the rule engine's process."""

from pydantic import Field

from shared.targets import ReachSettings


class RuleEngineSettings(ReachSettings):
    """Those of a service that takes targets, since rules have them; and how long its decisions are kept."""

    skipped_days: int = Field(default=7, ge=1, le=365)
    """How long it can be asked why a rule did not fire."""
    firing_days: int = Field(default=365, ge=7, le=3650)
    """How long firings are kept."""
    jobs_interval: float = Field(default=1, gt=0, le=60)
    """Seconds between two looks for backtests that were asked for."""
