"""TrustLens' own format: the body of each event, byte for byte, and the headers that go with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from dispatcher.classify import Answer
from dispatcher.deliveries import Delivery
from dispatcher.endpoints import Target
from dispatcher.send import Sender
from shared.events import Automation, Change, Event, EventData, OrderInfo, Snapshot
from shared.jsontext import dumps, in_currency
from shared.signing import sign, standard_headers

USER_AGENT = f"TrustLens/{version('trustlens-dispatcher')}"
NO_SECRET = Answer(duration_ms=0, phase="connect", error="not sent: no key here opens its signing secret")
TEST_MESSAGE = "This is a test delivery from TrustLens."
SAMPLE = Snapshot(
    email_hash="973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b",  # sha256 of the address
    email="test@example.com",
    trust_score=50,
    segment="normal",
    total_orders=3,
    total_refunds=1,
    return_rate=Decimal("33.3"),
)
_TENTH = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Site:
    url: str
    name: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What the test button sends."""

    recorded_at: datetime


Source = Event | Automation | Trial


def render(source: Source, site: Site, *, include_email: bool) -> bytes:
    """The body. Without e-mail every address in it is null.

    Raises:
        ValueError: no webhook tells of this event, or the event lacks what its webhook tells.
    """
    customer = SAMPLE if isinstance(source, Trial) else source.customer
    body = {
        "event": event_name(source),
        "timestamp": source.recorded_at.astimezone(UTC).isoformat(timespec="seconds"),
        "customer": _customer(customer, include_email=include_email),
        **_fields(source, include_email=include_email),
        "site": {"url": site.url, "name": site.name},
    }
    return dumps(body).encode()


def event_name(source: Source) -> str:
    match source:
        case Event(type=name):
            return name
        case Automation():
            return "automation_triggered"
        case Trial():
            return "test"


def _customer(customer: Snapshot, *, include_email: bool) -> dict[str, object]:
    return {
        "email_hash": customer.email_hash,
        "email": customer.email if include_email else None,
        "trust_score": customer.trust_score,
        "segment": customer.segment,
        "total_orders": customer.total_orders,
        "total_refunds": customer.total_refunds,
        "return_rate": customer.return_rate.quantize(_TENTH),
        "is_blocked": customer.is_blocked,
        "is_allowlisted": customer.is_allowlisted,
    }


def _fields(source: Source, *, include_email: bool) -> dict[str, object]:
    match source:
        case Event():
            return _event_fields(source, include_email=include_email)
        case Automation():
            rule = source.rule
            return {
                "rule": {"id": str(rule.id), "name": rule.name, "trigger": rule.trigger},
                "action": source.action.type,
                "order_id": source.order_id,
            }
        case Trial():
            return {"message": TEST_MESSAGE}


def _event_fields(event: Event, *, include_email: bool) -> dict[str, object]:
    match event.type, event.data:
        case "score_updated", EventData(change=Change() as change):
            return {"new_score": change.new_score, "new_segment": change.new_segment}
        case "customer_blocked", data:
            return {"reason": data.reason or ""}
        case "checkout_blocked", data:
            return {"email": data.email if include_email else None}
        case "high_risk_order", EventData(order=OrderInfo() as order):
            return {"order": _order(order)}
        case "customer_unblocked" | "customer_allowlisted" | "customer_allowlist_removed", _:
            return {}
        case _:
            raise ValueError(f"a {event.type} event without what its webhook tells")


def _order(order: OrderInfo) -> Mapping[str, Any]:
    return {
        "id": order.id,
        "number": order.number,
        "total": in_currency(order.total, order.currency),
        "currency": order.currency,
        "status": order.status,
    }


def digest(body: bytes) -> bytes:
    """Of a body without its timestamp: what burst dedup compares. A Slack body has none, and counts whole."""
    return sha256(_TIMESTAMP.sub(b"", body, count=1)).digest()


_TIMESTAMP = re.compile(rb'"timestamp":"[0-9T:+-]{25}",')
"""As `render` writes it, before anything that a shop or a customer wrote."""


def headers(
    delivery: Delivery, target: Target, *, secret: str | None, next_secret: str | None, body: bytes, now: datetime
) -> dict[str, str]:
    """Headers of one attempt; the signatures are made afresh for each. Custom headers never replace ours.

    X-TrustLens-Signature has exactly one value, as receivers compare the whole header: during a rotation the old
    secret's, with the new one's beside it. Without a secret there is none.
    """
    timestamp = int(now.timestamp())
    ours = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "X-TrustLens-Event": delivery.event,
        **({} if secret is None else _signatures(secret, next_secret, timestamp, body)),
        "X-TrustLens-Delivery": str(delivery.id),
        "X-TrustLens-Webhook-ID": str(delivery.target_id),
        "X-TrustLens-Sequence": str(delivery.sequence),
    }
    if secret is not None and target.standard_webhooks:
        ours |= standard_headers(
            secret, message_id=str(delivery.id), timestamp=timestamp, body=body, next_secret=next_secret
        )
    if not target.headers:
        return ours
    taken = {name.lower() for name in ours}
    return {name: value for name, value in target.headers.items() if name.lower() not in taken} | ours


def _signatures(secret: str, next_secret: str | None, timestamp: int, body: bytes) -> dict[str, str]:
    signed = {"X-TrustLens-Timestamp": str(timestamp), "X-TrustLens-Signature": sign(secret, timestamp, body)}
    if next_secret is not None:
        signed["X-TrustLens-Signature-Next"] = sign(next_secret, timestamp, body)
    return signed


async def send(
    sender: Sender,
    body: bytes,
    *,
    delivery: Delivery,
    target: Target,
    now: datetime,
    trace: Mapping[str, str] = MappingProxyType({}),
) -> Answer:
    """Post it. An endpoint's is signed whatever its format: Slack takes no notice, what stands in for Slack may.

    `trace`: headers by which the receiver's trace goes on with ours.
    """
    secret, next_secret = target.secrets(now)
    if secret is None and not target.unsigned:
        return NO_SECRET
    ours = headers(delivery, target, secret=secret, next_secret=next_secret, body=body, now=now)
    if trace:
        ours |= trace
    return await sender.send(target.url, headers=ours, body=body, timeout=target.timeout)
