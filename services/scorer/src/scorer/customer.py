"""What is stored of a customer, as far as a change of it is decided from that."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.events import Segment

Key = tuple[UUID, str]
"""(store id, email_hash)"""


@dataclass(frozen=True, slots=True)
class Customer:
    store_id: UUID
    email_hash: str
    email: str | None
    email_domain: str | None
    trust_score: int
    segment: Segment
    is_blocked: bool
    is_allowlisted: bool
    tags: tuple[str, ...]
    sequence: int
    """Of the last event."""
    own_score: int | None = None
    """The score without what comes from links. None: never scored."""
    first_coupon_at: datetime | None = None
    """When a first-order coupon was used first: linked customers' scores depend on it."""
    linked_accounts_count: int = 0
    shipping_points: int = 0
    card_testing_at: datetime | None = None
    erased_at: datetime | None = None

    @property
    def key(self) -> Key:
        return (self.store_id, self.email_hash)
