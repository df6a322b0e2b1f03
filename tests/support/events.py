"""Events as the scorer would send them, of which a test says only what it is about."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from shared.events import Cause, Event, EventData, EventType, OrderInfo, Snapshot
from shared.ids import uuid7

T0 = datetime(2026, 3, 2, 12, tzinfo=UTC)
STORE = UUID("0197f000-0000-7000-8000-000000000001")
JANE = "a" * 64


def snapshot(email_hash: str = JANE, **fields: Any) -> Snapshot:
    known: dict[str, Any] = {
        "email": "jane@example.com",
        "email_domain": "example.com",
        "trust_score": 25,
        "segment": "risk",
    }
    return Snapshot(email_hash=email_hash, **(known | fields))


def order(**fields: Any) -> OrderInfo:
    known: dict[str, Any] = {
        "id": 4821,
        "number": "4821",
        "total": Decimal("249.00"),
        "currency": "USD",
        "status": "processing",
    }
    return OrderInfo(**(known | fields))


def event(
    kind: EventType = "score_updated",
    *,
    at: timedelta = timedelta(0),
    store_id: UUID = STORE,
    customer: Snapshot | None = None,
    data: EventData | None = None,
    depth: int = 0,
    sequence: int = 1,
) -> Event:
    """Recorded `at` after T0."""
    return Event(
        id=uuid7(),
        type=kind,
        store_id=store_id,
        occurred_at=T0 + at,
        recorded_at=T0 + at,
        customer=customer or snapshot(),
        sequence=sequence,
        data=data or EventData(),
        cause=Cause(kind="fact", id=uuid7(), depth=depth),
    )
