"""Settings of the process that reads stores."""

from pydantic import Field

from shared.targets import ReachSettings


class SyncSettings(ReachSettings):
    catch_up_seconds: float = Field(default=300, gt=0, le=86_400)
    """Time between two looks for what a store's webhooks missed."""
    overlap_seconds: float = Field(default=300, ge=1, le=86_400)
    """How far each look reaches back before the last one: so late may the store's database show a change. At least the
    second that `modified_after` leaves out."""
    gap_seconds: float = Field(default=120, ge=0, le=86_400)
    """How long a webhook may take; what it had not told by then is counted as a gap."""
    sync_rate: float = Field(default=5, gt=0, le=100)
    """Most requests per second to one store."""
    store_seconds: float = Field(default=30, gt=0, le=300)
    """How long a store may take for one answer."""
    sync_tries: int = Field(default=8, ge=1, le=20)
    """How often a page of a sync is asked for, with growing waits, about two minutes in all, until it is given up."""
    first_wait_seconds: float = Field(default=1, gt=0, le=60)
    """Until the second try; each further one waits twice as long, and a little more or less, up to a minute."""
    stores_at_once: int = Field(default=16, ge=1, le=100)
    """Stores that are read side by side, and jobs: so many that hang hold up no others."""
