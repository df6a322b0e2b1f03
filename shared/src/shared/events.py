"""What crosses the wire: facts (api → scorer), events (scorer → all), automations (rule-engine → dispatcher).

All models are frozen and ignore fields they do not know, so that an older service reads a newer message.
Times are UTC. Amounts are Decimals, strings in JSON. Golden bytes in the tests keep old messages readable.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Discriminator, Field, TypeAdapter

Segment = Literal["vip", "trusted", "normal", "caution", "risk", "critical"]
SEGMENTS: tuple[Segment, ...] = ("vip", "trusted", "normal", "caution", "risk", "critical")
"""Highest first."""
LOWEST_SCORES: Mapping[Segment, int] = {
    "vip": 90,
    "trusted": 70,
    "normal": 50,
    "caution": 40,
    "risk": 20,
    "critical": 0,
}
"""Of each segment, where a store did not change them. So 34 is Risk, and 50 is Normal."""

EventType = Literal[
    "score_updated",
    "segment_changed",
    "customer_blocked",
    "customer_unblocked",
    "customer_allowlisted",
    "customer_allowlist_removed",
    "checkout_blocked",
    "high_risk_order",
    "order_placed",
    "order_status_changed",
    "order_refunded",
    "order_cancelled",
    "chargeback_filed",
    "chargeback_closed",
    "linked_accounts_detected",
    "shipping_anomaly_detected",
    "card_testing_detected",
    "customer_erased",
]
WebhookEvent = Literal[
    "score_updated",
    "customer_blocked",
    "customer_unblocked",
    "customer_allowlisted",
    "customer_allowlist_removed",
    "checkout_blocked",
    "high_risk_order",
    "automation_triggered",
    "test",
]
"""What an endpoint may subscribe to, and `test`, which reaches every endpoint."""


CUSTOMER_ACTIONS = frozenset(
    [
        "block_customer",
        "unblock_customer",
        "allowlist_customer",
        "tag_customer",
        "add_note",
        "recalculate_score",
    ]
)
"""Rules' actions that the scorer does, by command; the dispatcher does the others."""


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    def encode(self) -> bytes:
        """The message body: compact JSON."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


class Cause(Wire):
    """What made an event happen: a fact, a command, a rule. Depth counts rules in the chain."""

    kind: str
    id: UUID
    depth: int = 0


class Refund(Wire):
    id: int
    amount: Decimal
    """Positive, in the order's currency."""
    reason: str = ""


class OrderInfo(Wire):
    """The part of an order that events, conditions and webhook bodies use."""

    id: int
    number: str
    total: Decimal
    currency: str
    status: str
    item_count: int = 0
    payment_method: str = ""
    billing_country: str = ""
    shipping_country: str = ""


CARD_BRANDS = (
    *("amex", "cartes_bancaires", "diners", "discover", "eftpos_au", "jcb", "maestro", "mastercard", "unionpay"),
    "visa",
)
"""As Stripe writes them; which of others' spellings are theirs, the api knows."""


class Coupon(Wire):
    code: str
    """Lower case, as WooCommerce compares them."""
    once: bool = False
    """The store lets each customer use it once only (usage limit per user = 1)."""


class Order(OrderInfo):
    """One version of an order, as the store had it at `modified_at`."""

    created_at: datetime
    modified_at: datetime
    email: str | None = None
    """Normalised. None where the store has none: such an order belongs to nobody."""
    refunds: tuple[Refund, ...] = ()
    coupons: tuple[Coupon, ...] = ()
    product_ids: tuple[int, ...] = ()
    """Distinct, rising."""
    fingerprints: tuple[str, ...] = ()
    """Distinct, rising; see shared.identity.fingerprint. What they were made of is not on the wire."""
    payments: tuple[str, ...] = ()
    """What the payment provider calls this order's payment (charge, payment intent): disputes name it."""
    card_brand: str | None = None
    """One of CARD_BRANDS. None: not known, or no card."""

    def info(self) -> OrderInfo:
        return OrderInfo.model_construct(**{name: getattr(self, name) for name in OrderInfo.model_fields})


class DeletedOrder(Wire):
    """The store deleted it; true until a version of the order that is newer."""

    id: int


class ReportedRefund(Refund):
    """A refund told by itself, by a store whose orders do not list theirs."""

    order_id: int


DisputeStatus = Literal["warning", "open", "under_review", "won", "lost"]
"""`warning` is an inquiry: no money has moved. In the order of a dispute's life."""


class Dispute(Wire):
    """A chargeback as it stood when the fact occurred. Names its order, or at least the payment."""

    id: str
    order_id: int | None = None
    payments: tuple[str, ...] = ()
    """As in Order: the order is found by any of them, also when it arrives later."""
    amount: Decimal
    currency: str
    reason: str = ""
    status: DisputeStatus
    card_brand: str | None = None
    """As in Order."""


def version_digest(told: Order | Dispute) -> bytes:
    """Tells a version from any other. Not by its brand: of versions that are stored nobody had looked for one."""
    plain = told.model_copy(update={"card_brand": None}) if told.card_brand else told
    return sha256(plain.encode()).digest()


class Payment(Wire):
    """A payment by card that was made."""

    payments: tuple[str, ...]
    """Its names, as in Order: the order is found by any of them, also when it arrives later."""
    card_brand: str
    """As in Order."""


class Decline(Wire):
    """A payment that was declined at the checkout."""

    email: str | None = None
    """Normalised. Without one it belongs to nobody and is not kept by the scorer."""
    fingerprints: tuple[str, ...] = ()
    code: str = ""
    country: str = ""


DenyReason = Literal["customer_blocked", "lockout", "velocity", "freeze", "coupon_abuse"]


class CheckoutAttempt(Wire):
    """A submission of the checkout form, and what the gate answered."""

    email: str | None = None
    """As in Decline."""
    fingerprints: tuple[str, ...] = ()
    amount: Decimal | None = None
    currency: str = ""
    decision: Literal["allow", "deny"] = "allow"
    reason: DenyReason | None = None
    """Why it was denied; with `allow`, why it would have been."""


class Category(Wire):
    slug: str
    name: str


class Product(Wire):
    """What the store's catalogue says of a product when the fact occurred."""

    id: int
    categories: tuple[Category, ...] = ()


class _Fact(Wire):
    """Something that happened in a store, accepted by the api. `id` is the accepted input's."""

    id: UUID
    store_id: UUID
    occurred_at: datetime


class OrderFact(_Fact):
    type: Literal["order"] = "order"
    data: Order


class OrderDeletedFact(_Fact):
    type: Literal["order_deleted"] = "order_deleted"
    data: DeletedOrder


class RefundFact(_Fact):
    type: Literal["refund"] = "refund"
    data: ReportedRefund


class DisputeFact(_Fact):
    type: Literal["dispute"] = "dispute"
    data: Dispute


class PaymentFact(_Fact):
    type: Literal["payment"] = "payment"
    data: Payment


class DeclineFact(_Fact):
    type: Literal["decline"] = "decline"
    data: Decline


class CheckoutAttemptFact(_Fact):
    type: Literal["checkout_attempt"] = "checkout_attempt"
    data: CheckoutAttempt


class ProductFact(_Fact):
    type: Literal["product"] = "product"
    data: Product


class CouponFact(_Fact):
    """What the store says of a coupon, whoever used it: later versions of WooCommerce keep no limit with an order."""

    type: Literal["coupon"] = "coupon"
    data: Coupon


Fact = (
    OrderFact
    | OrderDeletedFact
    | RefundFact
    | DisputeFact
    | PaymentFact
    | DeclineFact
    | CheckoutAttemptFact
    | ProductFact
    | CouponFact
)
FACT: TypeAdapter[Fact] = TypeAdapter(Annotated[Fact, Discriminator("type")])
"""Parses any of them."""


class Snapshot(Wire):
    """A customer with every field that a condition may ask for, at the moment of an event."""

    email_hash: str
    email: str | None = None
    """None after erasure."""
    email_domain: str | None = None
    trust_score: int
    segment: Segment
    is_blocked: bool = False
    is_allowlisted: bool = False
    total_orders: int = 0
    total_order_value: Decimal = Decimal(0)
    total_refunds: int = 0
    total_refund_value: Decimal = Decimal(0)
    full_refunds: int = 0
    return_rate: Decimal = Decimal(0)
    """Percent, one decimal."""
    cancelled_orders: int = 0
    total_disputes: int = 0
    disputes_won: int = 0
    disputes_lost: int = 0
    total_coupons_used: int = 0
    first_order_coupons: int = 0
    coupon_then_refund: int = 0
    linked_accounts_count: int = 0
    account_age_days: int | None = None
    days_since_last_order: int | None = None
    tags: tuple[str, ...] = ()


class Change(Wire):
    """A score that moved, or stayed: old and new."""

    old_score: int
    new_score: int
    old_segment: Segment
    new_segment: Segment


class EventData(Wire):
    """What an event tells beyond its customer; each type fills its own part."""

    order: OrderInfo | None = None
    refund: Refund | None = None
    dispute: Dispute | None = None
    change: Change | None = None
    old_status: str | None = None
    reason: str | None = None
    email: str | None = None


class Event(Wire):
    """Something that became true of a customer, committed by the scorer."""

    id: UUID
    type: str
    """An EventType; on the wire any text, so that a service passes over the events of a newer scorer."""
    store_id: UUID
    occurred_at: datetime
    """When it happened in the store."""
    recorded_at: datetime
    """The scorer's clock at the commit; the same at every redelivery."""
    customer: Snapshot
    sequence: int
    """Rises by one with each event of a customer."""
    data: EventData
    cause: Cause


class RuleRef(Wire):
    id: UUID
    version: int
    name: str
    trigger: str


class ActionRef(Wire):
    position: int
    """From 0, in the rule's order."""
    type: str
    target_id: UUID | None = None
    """For send_webhook and send_slack: an endpoint's id, or the id of the action's own target."""
    params: Mapping[str, str] = Field(default_factory=dict)
    """What else the action was given, as the rule has it: to, subject, text, reason. No secret is among them."""


class Automation(Wire):
    """One action of a rule that fired. `id` follows from event, rule and position."""

    type: Literal["automation"] = "automation"
    """Tells it from facts: the scorer reads both from one queue."""
    id: UUID
    store_id: UUID
    occurred_at: datetime
    recorded_at: datetime
    event_id: UUID
    customer: Snapshot
    sequence: int
    rule: RuleRef
    action: ActionRef
    order_id: int | None = None
    cause: Cause


TO_SCORER: TypeAdapter[Fact | Automation] = TypeAdapter(Annotated[Fact | Automation, Discriminator("type")])
"""Parses what comes to the scorer: facts, and for the timeline what rules did."""
