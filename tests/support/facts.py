"""Facts as the api would send them, of which a test says only what it is about. Times are days before NOW."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from shared.events import (
    Category,
    CheckoutAttempt,
    CheckoutAttemptFact,
    Coupon,
    CouponFact,
    Decline,
    DeclineFact,
    DeletedOrder,
    DenyReason,
    Dispute,
    DisputeFact,
    DisputeStatus,
    Order,
    OrderDeletedFact,
    OrderFact,
    Payment,
    PaymentFact,
    Product,
    ProductFact,
    Refund,
    RefundFact,
    ReportedRefund,
)
from shared.identity import FingerprintKind, fingerprint
from shared.ids import uuid7

NOW = datetime(2026, 6, 5, 12, tzinfo=UTC)
JANE, JOHN = "jane@example.com", "john@example.com"
STORE = UUID(int=1)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def mark(kind: FingerprintKind, value: object) -> str:
    """A fingerprint of a value; equal values are in common."""
    return fingerprint(b"key", kind, str(value))


def order(
    order_id: int,
    email: str | None = JANE,
    *,
    store_id: UUID = STORE,
    status: str = "completed",
    total: str = "100.00",
    refunds: Sequence[str] | dict[int, str] = (),
    reason: str = "",
    coupons: Sequence[str] = (),
    products: Sequence[int] = (),
    marks: Sequence[str] = (),
    payments: Sequence[str] = (),
    at: float | datetime = 10,
    modified: float | datetime | None = None,
    **more: Any,
) -> OrderFact:
    """Ordered `at`, last changed `modified` (days ago, or times)."""
    made = at if isinstance(at, datetime) else ago(at)
    changed = modified if isinstance(modified, datetime) else made if modified is None else ago(modified)
    amounts = refunds if isinstance(refunds, dict) else {1000 * order_id + n: each for n, each in enumerate(refunds)}
    known: dict[str, Any] = {
        "id": order_id,
        "number": str(order_id),
        "total": Decimal(total),
        "currency": "EUR",
        "status": status,
        "created_at": made,
        "modified_at": changed,
        "email": email,
        "refunds": tuple(Refund(id=n, amount=Decimal(amount), reason=reason) for n, amount in amounts.items()),
        "coupons": tuple(Coupon(code=code) for code in coupons),
        "product_ids": tuple(sorted(products)),
        "fingerprints": tuple(sorted(marks)),
        "payments": tuple(payments),
    }
    return OrderFact(id=uuid7(), store_id=store_id, occurred_at=changed, data=Order(**(known | more)))


def deleted(order_id: int, *, store_id: UUID = STORE, at: float = 1) -> OrderDeletedFact:
    return OrderDeletedFact(id=uuid7(), store_id=store_id, occurred_at=ago(at), data=DeletedOrder(id=order_id))


def refund(
    order_id: int, amount: str = "10.00", *, number: int = 1, store_id: UUID = STORE, at: float = 1, reason: str = ""
) -> RefundFact:
    data = ReportedRefund(id=number, order_id=order_id, amount=Decimal(amount), reason=reason)
    return RefundFact(id=uuid7(), store_id=store_id, occurred_at=ago(at), data=data)


def dispute(
    order_id: int | None = None,
    status: DisputeStatus = "open",
    *,
    name: str = "dp_1",
    payments: Sequence[str] = (),
    amount: str = "100.00",
    store_id: UUID = STORE,
    at: float = 5,
) -> DisputeFact:
    data = Dispute(
        id=name,
        order_id=order_id,
        payments=tuple(payments),
        amount=Decimal(amount),
        currency="EUR",
        reason="fraudulent",
        status=status,
    )
    return DisputeFact(id=uuid7(), store_id=store_id, occurred_at=ago(at), data=data)


def payment(card_brand: str, *names: str, store_id: UUID = STORE, at: float = 5) -> PaymentFact:
    data = Payment(payments=names, card_brand=card_brand)
    return PaymentFact(id=uuid7(), store_id=store_id, occurred_at=ago(at), data=data)


def decline(
    email: str | None = JANE, *, minute: float = 0, store_id: UUID = STORE, marks: Sequence[str] = ()
) -> DeclineFact:
    """So many minutes before NOW."""
    at = NOW - timedelta(minutes=minute)
    data = Decline(email=email, fingerprints=tuple(marks), code="card_declined", country="DE")
    return DeclineFact(id=uuid7(), store_id=store_id, occurred_at=at, data=data)


def attempt(
    email: str | None = JANE,
    reason: DenyReason | None = None,
    *,
    denied: bool = True,
    minute: float = 0,
    store_id: UUID = STORE,
    marks: Sequence[str] = (),
) -> CheckoutAttemptFact:
    """Denied if there is a reason, unless the store does not enforce it; so many minutes before NOW."""
    data = CheckoutAttempt(
        email=email, fingerprints=tuple(marks), decision="deny" if reason and denied else "allow", reason=reason
    )
    return CheckoutAttemptFact(id=uuid7(), store_id=store_id, occurred_at=NOW - timedelta(minutes=minute), data=data)


def coupon(code: str, *, once: bool = False, store_id: UUID = STORE, at: float = 100) -> CouponFact:
    return CouponFact(id=uuid7(), store_id=store_id, occurred_at=ago(at), data=Coupon(code=code, once=once))


def product(number: int, *slugs: str, store_id: UUID = STORE, at: float = 100) -> ProductFact:
    categories = tuple(Category(slug=slug, name=slug.title()) for slug in slugs)
    return ProductFact(
        id=uuid7(), store_id=store_id, occurred_at=ago(at), data=Product(id=number, categories=categories)
    )
