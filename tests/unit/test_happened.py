"""An event that is read only in part has the values of the whole one."""

from collections.abc import Collection
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rule_engine.happened import Kept, reader
from shared.events import (
    SEGMENTS,
    Cause,
    Change,
    Dispute,
    DisputeStatus,
    Event,
    EventData,
    OrderInfo,
    Refund,
    Snapshot,
)
from shared.fields import FIELDS, fields_of

GOLDEN = Path(__file__).parent / "golden" / "wire"
TEXT = st.text(max_size=8)
AMOUNT = st.decimals(0, 100_000, places=2)
COUNT = st.integers(0, 1000)

EVENTS = st.builds(
    Event,
    id=st.uuids(),
    type=st.just("order_placed"),
    store_id=st.uuids(),
    occurred_at=st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # hypothesis adds the zone
    recorded_at=st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # as above
    customer=st.builds(
        Snapshot,
        email_hash=st.just("ab" * 32),
        email=st.none() | TEXT,
        email_domain=st.none() | TEXT,
        trust_score=st.integers(0, 100),
        segment=st.sampled_from(SEGMENTS),
        total_order_value=AMOUNT,
        total_orders=COUNT,
        return_rate=st.decimals(0, 100, places=1),
        account_age_days=st.none() | COUNT,
        days_since_last_order=st.none() | COUNT,
        tags=st.lists(TEXT, max_size=3).map(tuple),
    ),
    sequence=COUNT,
    data=st.builds(
        EventData,
        order=st.none()
        | st.builds(OrderInfo, id=COUNT, number=TEXT, total=AMOUNT, currency=TEXT, status=TEXT, payment_method=TEXT),
        refund=st.none() | st.builds(Refund, id=COUNT, amount=AMOUNT),
        dispute=st.none()
        | st.builds(
            Dispute, id=TEXT, amount=AMOUNT, currency=TEXT, reason=TEXT, status=st.sampled_from(get_args(DisputeStatus))
        ),
        change=st.none()
        | st.builds(
            Change,
            old_score=st.integers(0, 100),
            new_score=st.integers(0, 100),
            old_segment=st.sampled_from(SEGMENTS),
            new_segment=st.sampled_from(SEGMENTS),
        ),
    ),
    cause=st.builds(Cause, kind=st.just("fact"), id=st.uuids(), depth=st.integers(0, 5)),
)


def kept(event: Event, body: bytes | None = None) -> Kept:
    place = event.recorded_at, event.sequence, event.id
    return Kept(place, event.customer.email_hash, event.encode() if body is None else body)


def same(event: Event, asked: Collection[str], body: bytes | None = None) -> None:
    happened = reader(asked)(kept(event, body))
    read, wanted = (
        {name: (type(fields.get(name)), fields.get(name)) for name in asked}
        for fields in (happened.fields, fields_of(event))
    )
    assert read == wanted
    assert happened.cause.depth == event.cause.depth
    assert happened.customer.email_hash == event.customer.email_hash
    assert (happened.recorded_at, happened.sequence, happened.id) == (event.recorded_at, event.sequence, event.id)
    order = event.data.order
    assert happened.order == (order and (order.id, order.total, order.currency))


@given(event=EVENTS, asked=st.frozensets(st.sampled_from(sorted(FIELDS)), max_size=8))
def test_its_values_are_those_of_the_whole_event(event: Event, asked: frozenset[str]) -> None:
    same(event, asked)


@given(event=EVENTS)
def test_all_fields_together_are_those_of_the_whole_event(event: Event) -> None:
    same(event, FIELDS)


@pytest.mark.parametrize("path", sorted(GOLDEN.rglob("event*.json")), ids=lambda path: path.stem)
def test_old_events_are_read_as_whole_ones_are(path: Path) -> None:
    body = path.read_bytes()
    same(Event.model_validate_json(body), FIELDS, body)


def test_what_an_older_scorer_did_not_tell_has_its_default() -> None:
    body = (
        b'{"id":"0197f000-0000-7000-8000-000000000001","type":"score_updated",'
        b'"store_id":"0197f000-0000-7000-8000-000000000001","occurred_at":"2026-03-02T12:00:00Z",'
        b'"recorded_at":"2026-03-02T12:00:00Z","customer":{"email_hash":"aa","trust_score":25,"segment":"risk"},'
        b'"sequence":1,"data":{"order":{"id":1,"number":"1","total":"2.50","currency":"USD","status":"on-hold"}},'
        b'"cause":{"kind":"fact","id":"0197f000-0000-7000-8000-000000000001"},"colour":"red"}'
    )
    event = Event.model_validate_json(body)
    same(event, FIELDS, body)
    happened = reader({"total_order_value", "order.item_count"})(kept(event, body))
    assert happened.fields == {"total_order_value": Decimal(0), "order.item_count": 0}


def test_what_is_no_event_is_no_event() -> None:
    place = datetime(2026, 3, 2, tzinfo=UTC), 1, UUID(int=1)
    for body in (b"{", b'{"customer": {}, "data": {}, "cause": {}}', b'{"data": {}}'):
        with pytest.raises(ValidationError):
            reader({"trust_score"})(Kept(place, "aa", body))
