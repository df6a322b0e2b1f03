"""The fields that conditions ask for: what they are, which events have them, and their values in one event."""

from collections.abc import Mapping
from decimal import Decimal

from shared.events import Event, Snapshot

Scalar = bool | int | Decimal | str
Value = Scalar | tuple[str, ...]
Fields = Mapping[str, Value | None]
"""Field name to value; a name that is absent or None has no value in this event."""


def customer_fields(customer: Snapshot) -> dict[str, Value | None]:
    """Those that say how a customer is, whatever happened."""
    return {name: getattr(customer, name) for name in _CUSTOMER}


def fields_of(event: Event) -> Fields:
    """Every condition field that an event has a value for (names of the rule language)."""
    fields = customer_fields(event.customer)
    if order := event.data.order:
        fields |= {f"order.{name}": getattr(order, name) for name in _ORDER}
    if change := event.data.change:
        fields |= {
            "old_segment": change.old_segment,
            "new_segment": change.new_segment,
            "old_score": change.old_score,
            "new_score": change.new_score,
            "score_delta": change.new_score - change.old_score,
        }
    if refund := event.data.refund:
        fields["refund.amount"] = refund.amount
    if dispute := event.data.dispute:
        fields |= {f"dispute.{name}": getattr(dispute, name) for name in _DISPUTE}
    return fields


_CUSTOMER = (
    "trust_score",
    "segment",
    "is_blocked",
    "is_allowlisted",
    "total_orders",
    "total_order_value",
    "total_refunds",
    "total_refund_value",
    "full_refunds",
    "return_rate",
    "cancelled_orders",
    "total_disputes",
    "disputes_won",
    "disputes_lost",
    "total_coupons_used",
    "first_order_coupons",
    "coupon_then_refund",
    "linked_accounts_count",
    "account_age_days",
    "days_since_last_order",
    "tags",
    "email_domain",
)
_ORDER = ("total", "currency", "status", "item_count", "payment_method", "billing_country", "shipping_country")
_CHANGE = ("old_segment", "new_segment", "old_score", "new_score", "score_delta")
_DISPUTE = ("reason", "amount", "status")
FIELDS = frozenset(
    (
        *_CUSTOMER,
        *(f"order.{name}" for name in _ORDER),
        *_CHANGE,
        "refund.amount",
        *(f"dispute.{name}" for name in _DISPUTE),
    )
)
"""Every field name a condition may use."""
