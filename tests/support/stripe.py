"""Stripe's events, in the shapes that its API sends, and its signature."""

import hashlib
import hmac
from datetime import datetime
from typing import Any

CREATED = 1_780_000_000


def event(kind: str, thing: dict[str, Any], *, event_id: str = "evt_1", created: Any = CREATED) -> dict[str, Any]:
    return {
        "id": event_id,
        "object": "event",
        "api_version": "2026-04-22",
        "created": created,
        "data": {"object": thing},
        "livemode": True,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }


def dispute(**changes: Any) -> dict[str, Any]:
    return {
        "id": "dp_1",
        "object": "dispute",
        "amount": 24900,
        "balance_transactions": [],
        "charge": "ch_3Q9",
        "created": CREATED,
        "currency": "eur",
        "evidence": {"customer_name": "Jane Roe", "billing_address": "Hauptstr. 7", "uncategorized_text": None},
        "evidence_details": {"due_by": CREATED + 700_000, "has_evidence": False, "submission_count": 0},
        "is_charge_refundable": False,
        "livemode": True,
        "metadata": {},
        "payment_intent": "pi_3Q9",
        "reason": "fraudulent",
        "status": "needs_response",
    } | changes


BILLING = {"address": {"city": None, "country": "FR"}, "email": "Jane@Example.com", "name": "Jane Roe", "phone": None}
CARD = {"brand": "visa", "country": "DE", "exp_month": 4, "exp_year": 2030, "fingerprint": "Xt5EWL", "last4": "0002"}


def intent(**error: Any) -> dict[str, Any]:
    """A payment intent whose card was declined."""
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 24900,
        "currency": "eur",
        "last_payment_error": {
            "charge": "ch_1",
            "code": "card_declined",
            "decline_code": "insufficient_funds",
            "message": "Your card has insufficient funds.",
            "payment_method": {"id": "pm_1", "billing_details": BILLING, "card": CARD, "type": "card"},
            "type": "card_error",
        }
        | error,
        "latest_charge": "ch_1",
        "metadata": {"order_id": "4821", "customer_email": "meta@example.com"},
        "receipt_email": None,
        "status": "requires_payment_method",
    }


def charge(**changes: Any) -> dict[str, Any]:
    """The same as a charge tells it."""
    return {
        "id": "ch_1",
        "object": "charge",
        "amount": 24900,
        "billing_details": BILLING,
        "currency": "eur",
        "failure_code": "card_declined",
        "failure_message": "Your card has insufficient funds.",
        "metadata": {},
        "outcome": {"network_status": "declined_by_network", "reason": "insufficient_funds", "type": "issuer_declined"},
        "payment_intent": "pi_1",
        "payment_method_details": {"card": CARD, "type": "card"},
        "receipt_email": None,
        "status": "failed",
    } | changes


def v1(raw: bytes, secret: str, seconds: int) -> str:
    return hmac.new(secret.encode(), f"{seconds}.".encode() + raw, hashlib.sha256).hexdigest()


def signature(raw: bytes, secret: str, at: datetime) -> str:
    seconds = int(at.timestamp())
    return f"t={seconds},v1={v1(raw, secret, seconds)},v0={'0' * 64}"
