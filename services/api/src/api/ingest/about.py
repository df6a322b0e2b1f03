"""Of whom an input tells: so that it is found when somebody wants to know what is kept of them, or to be forgotten."""

from dataclasses import dataclass
from datetime import datetime

from shared.events import (
    CheckoutAttemptFact,
    CouponFact,
    DeclineFact,
    DisputeFact,
    Fact,
    OrderDeletedFact,
    OrderFact,
    PaymentFact,
    ProductFact,
    RefundFact,
)
from shared.identity import email_hash


@dataclass(frozen=True, slots=True)
class About:
    email_hash: str | None
    """None: it does not say."""
    order_id: int | None
    """Where it does not say of whom, of which order."""
    at: datetime
    """When it happened, as the scorer compares it with an erasure."""


def about(fact: Fact, key: bytes) -> About:
    """`key` is the store's."""
    match fact:
        case OrderFact(data=order):
            return About(_hashed(order.email, key), None, order.created_at)
        case DeclineFact() | CheckoutAttemptFact():
            return About(_hashed(fact.data.email, key), None, fact.occurred_at)
        case RefundFact() | DisputeFact():
            return About(None, fact.data.order_id, fact.occurred_at)
        case OrderDeletedFact() | PaymentFact() | ProductFact() | CouponFact():
            return About(None, None, fact.occurred_at)


def _hashed(email: str | None, key: bytes) -> str | None:
    return email_hash(key, email) if email else None
