"""Settings of the api process."""

from pydantic import Field

from shared.settings import Settings


class ApiSettings(Settings):
    statement_seconds: float = Field(default=10, gt=0, le=50)
    """How long a statement may take before the caller is told 503; below the 60 s that WooCommerce waits."""
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
    command_seconds: float = Field(default=5, gt=0, le=60)
    """How long another service may take to answer a command; after it, it will not execute it."""
