"""Bodies as they may be sent, for the API's description. A test sends each."""

from collections.abc import Mapping
from typing import Any

_ORDER: Mapping[str, Any] = {
    "id": 4821,
    "number": "4821",
    "status": "completed",
    "currency": "EUR",
    "total": "249.00",
    "date_created_gmt": "2026-05-28T16:42:00",
    "date_modified_gmt": "2026-05-30T09:10:00",
    "payment_method": "stripe",
    "transaction_id": "ch_3Q9",
    "customer_ip_address": "203.0.113.9",
    "billing": {
        "email": "jane@example.com",
        "address_1": "Hauptstr. 7",
        "city": "Berlin",
        "postcode": "10115",
        "country": "DE",
        "phone": "030 123456",
    },
    "shipping": {"address_1": "Ring 1", "city": "Wien", "postcode": "1010", "country": "AT"},
    "line_items": [{"product_id": 60, "quantity": 2}],
    "refunds": [{"id": 4900, "reason": "too small", "total": "-49.00"}],
    "coupon_lines": [{"code": "welcome10"}],
    "meta_data": [{"key": "_stripe_intent_id", "value": "pi_3Q9"}],
}


def _event(kind: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    event = {"id": f"shop-{kind}-1", "type": kind, "occurred_at": "2026-05-30T09:10:00Z", "data": data}
    return {"events": [event]}


EVENTS: Mapping[str, Any] = {
    "order": _event("order", _ORDER),
    "order_deleted": _event("order_deleted", {"id": 4821}),
    "refund": _event("refund", {"id": 4900, "order_id": 4821, "amount": "49.00", "reason": "too small"}),
    "dispute": _event(
        "dispute",
        {
            "id": "dp_1",
            "order_id": 4821,
            "payment_intent": "pi_3Q9",
            "amount": "249.00",
            "currency": "EUR",
            "reason": "fraudulent",
            "status": "open",
        },
    ),
    "decline": _event(
        "decline",
        {
            "email": "jane@example.com",
            "ip": "203.0.113.9",
            "fingerprint": "device-1",
            "country": "DE",
            "code": "card_declined",
        },
    ),
    "checkout_attempt": _event(
        "checkout_attempt",
        {
            "email": "jane@example.com",
            "ip": "203.0.113.9",
            "fingerprint": "device-1",
            "amount": "249.00",
            "currency": "EUR",
            "decision": "deny",
            "reason": "customer_blocked",
        },
    ),
    "product": _event("product", {"id": 60, "categories": [{"slug": "shoes", "name": "Shoes"}]}),
}

BLOCK: Mapping[str, Any] = {"block": {"is_blocked": True, "reason": "Three chargebacks"}}
TAG: Mapping[str, Any] = {"tag": {"tag": "wholesale"}}
NOTE: Mapping[str, Any] = {"note": {"text": "Called: the parcel was lost."}}
KEY: Mapping[str, Any] = {"for a help desk": {"name": "Zendesk", "scopes": ["read"]}}
STORE: Mapping[str, Any] = {
    "thresholds": {"min_orders": 5, "segments": {"vip": 95}, "modules": {"coupons": {"enabled": False}}}
}
WEBHOOK: Mapping[str, Any] = {
    "all defaults": {"url": "https://crm.example.com/hooks/trustlens"},
    "retried, of some events": {
        "url": "https://crm.example.com/hooks/trustlens",
        "events": ["customer_blocked", "high_risk_order"],
        "delivery": "retry",
        "filter": {"field": "trust_score", "operator": "<", "value": 30},
    },
}
WEBHOOK_CHANGE: Mapping[str, Any] = {"switch off": {"enabled": False, "disabled_reason": "Moving house"}}
ROTATION: Mapping[str, Any] = {"a day of both": {"overlap": 86400}}
REPLAY: Mapping[str, Any] = {
    "how many it would be": {"from": "2026-05-30T00:00:00Z", "to": "2026-05-31T00:00:00Z", "dry_run": True}
}
RULE: Mapping[str, Any] = {
    "hold what is risky": {
        "name": "Hold orders of risky customers",
        "trigger": "order_placed",
        "conditions": {
            "all": [
                {"field": "trust_score", "operator": "<", "value": 30},
                {"field": "order.total", "operator": ">", "value": 200},
            ]
        },
        "actions": [{"type": "tag_customer", "tag": "risky"}, {"type": "add_note", "text": "Look at the order."}],
    }
}
RULE_CHANGE: Mapping[str, Any] = {"only watch": {"mode": "shadow"}}
RESTORATION: Mapping[str, Any] = {"the first version": {"version": 1}}
STARTERS: Mapping[str, Any] = {"one": {"starters": ["graduated_2_tag"]}}
TRIAL: Mapping[str, Any] = {
    "a draft, on an event that is given": {
        "rule": RULE["hold what is risky"],
        "event": {
            "customer": {"trust_score": 22, "segment": "risk"},
            "data": {"order": {"id": 1, "number": "1", "total": 249, "currency": "EUR", "status": "processing"}},
        },
    }
}
BACKTEST: Mapping[str, Any] = {"a draft, over a month": {"days": 30, "rule": RULE["hold what is risky"]}}
BACKTEST_SAVED: Mapping[str, Any] = {"a week": {"days": 7}}
_INGEST = "https://trustlens.example.com/wp-json/trustlens/v1/ingest/woocommerce/01a20f98-1f0e-7c3a-9d5b-2f64c8a7b1e0"
CONNECT: Mapping[str, Any] = {
    "with the key that is saved": {"delivery_url": _INGEST},
    "with a new one": {
        "delivery_url": _INGEST,
        "url": "https://shop.example",
        "woocommerce": {"key": "ck_0123", "secret": "cs_0123"},
    },
}
SYNC: Mapping[str, Any] = {"all": {}, "a year": {"after": "2025-01-01", "before": "2026-01-01"}}
