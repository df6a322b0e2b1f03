"""Settings of the rule-engine process."""

from shared.targets import ReachSettings


class RuleEngineSettings(ReachSettings):
    """Those of a service that takes targets: rules have them."""
