"""The fields that conditions ask for: what they are, which events have them, and their values in one event."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from shared.events import SEGMENTS, DisputeStatus, Event, Snapshot

Scalar = bool | int | Decimal | str
Value = Scalar | tuple[str, ...]
Fields = Mapping[str, Value | None]
"""Field name to value; a name that is absent or None has no value in this event."""

FieldType = Literal["integer", "number", "boolean", "text", "segment", "texts"]
Group = Literal["customer", "order", "change", "refund", "dispute"]
"""Whether an event has a field: every event has a customer, some an order, a change of score, a refund, a dispute."""


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What a condition may know of a field."""

    name: str
    label: str
    type: FieldType
    group: Group
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    """All its values, where they are known; empty: any."""
    missing: str = ""
    """Why an event of its group may have no value for it; empty: it always has one."""


def _count(name: str, label: str) -> FieldSpec:
    return FieldSpec(name, label, "integer", "customer", minimum=0)


def _amount(name: str, label: str, group: Group = "customer") -> FieldSpec:
    return FieldSpec(name, label, "number", group, minimum=0)


def _score(name: str, label: str, group: Group = "change") -> FieldSpec:
    return FieldSpec(name, label, "integer", group, minimum=0, maximum=100)


def _segment(name: str, label: str, group: Group = "change") -> FieldSpec:
    return FieldSpec(name, label, "segment", group, choices=SEGMENTS)


def _text(name: str, label: str, group: Group = "order") -> FieldSpec:
    return FieldSpec(name, label, "text", group)


_SPECS = (
    _score("trust_score", "Trust score", "customer"),
    _segment("segment", "Segment", "customer"),
    FieldSpec("is_blocked", "Is blocked", "boolean", "customer"),
    FieldSpec("is_allowlisted", "Is allowlisted", "boolean", "customer"),
    _count("total_orders", "Orders"),
    _amount("total_order_value", "Value of all orders"),
    _count("total_refunds", "Refunds"),
    _amount("total_refund_value", "Value of all refunds"),
    _count("full_refunds", "Full refunds"),
    FieldSpec("return_rate", "Return rate in percent", "number", "customer", minimum=0, maximum=100),
    _count("cancelled_orders", "Cancelled orders"),
    _count("total_disputes", "Disputes"),
    _count("disputes_won", "Disputes won"),
    _count("disputes_lost", "Disputes lost"),
    _count("total_coupons_used", "Coupons used"),
    _count("first_order_coupons", "First-order coupons used"),
    _count("coupon_then_refund", "Orders with a coupon and a refund"),
    _count("linked_accounts_count", "Linked accounts"),
    FieldSpec(
        "account_age_days",
        "Days since the first completed order",
        "integer",
        "customer",
        minimum=0,
        missing="no completed order yet",
    ),
    FieldSpec(
        "days_since_last_order",
        "Days since the last order",
        "integer",
        "customer",
        minimum=0,
        missing="no order yet",
    ),
    FieldSpec("tags", "Tags", "texts", "customer"),
    FieldSpec("email_domain", "E-mail domain", "text", "customer", missing="the customer was erased"),
    _amount("order.total", "Order total", "order"),
    _text("order.currency", "Order currency"),
    _text("order.status", "Order status"),
    FieldSpec("order.item_count", "Items in the order", "integer", "order", minimum=0),
    _text("order.payment_method", "Payment method"),
    _text("order.billing_country", "Billing country"),
    _text("order.shipping_country", "Shipping country"),
    _segment("old_segment", "Segment before"),
    _segment("new_segment", "Segment after"),
    _score("old_score", "Trust score before"),
    _score("new_score", "Trust score after"),
    FieldSpec("score_delta", "Change of the trust score", "integer", "change", minimum=-100, maximum=100),
    _amount("refund.amount", "Refund amount", "refund"),
    _text("dispute.reason", "Dispute reason", "dispute"),
    _amount("dispute.amount", "Dispute amount", "dispute"),
    FieldSpec("dispute.status", "Dispute status", "text", "dispute", choices=get_args(DisputeStatus)),
)
SPECS: Mapping[str, FieldSpec] = {spec.name: spec for spec in _SPECS}
"""Every field a condition may ask for, by name, in the order in which a form shows them."""
FIELDS = frozenset(SPECS)

_ALONE: frozenset[Group] = frozenset(("customer",))
_WITH_ORDER: frozenset[Group] = _ALONE | {"order"}
_WITH_CHANGE: frozenset[Group] = _ALONE | {"change"}
CONTEXTS: Mapping[str, frozenset[Group]] = {
    "score_updated": _WITH_CHANGE,
    "segment_changed": _WITH_CHANGE,
    "customer_blocked": _ALONE,
    "customer_unblocked": _ALONE,
    "customer_allowlisted": _ALONE,
    "customer_allowlist_removed": _ALONE,
    "checkout_blocked": _ALONE,
    "high_risk_order": _WITH_ORDER,
    "order_placed": _WITH_ORDER,
    "order_status_changed": _WITH_ORDER,
    "order_refunded": _WITH_ORDER | {"refund"},
    "order_cancelled": _WITH_ORDER,
    "chargeback_filed": _WITH_ORDER | {"dispute"},
    "chargeback_closed": _WITH_ORDER | {"dispute"},
    "linked_accounts_detected": _ALONE,
    "shipping_anomaly_detected": _ALONE,
    "card_testing_detected": _ALONE,
    "automation_triggered": _ALONE,
}
"""What each event has, by its name."""
TRIGGERS = tuple(name for name in CONTEXTS if name != "automation_triggered")
"""The events that rules may start from."""


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


def _names(group: Group) -> tuple[str, ...]:
    """Without the group's own name before the dot: as the wire has them."""
    return tuple(spec.name.removeprefix(f"{group}.") for spec in _SPECS if spec.group == group)


_CUSTOMER, _ORDER, _DISPUTE = _names("customer"), _names("order"), _names("dispute")
