"""Messages on the wire: the bytes of today parse and come out again unchanged, whatever we change later."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.commands import Answer, Command, Refusal
from shared.events import (
    FACT,
    SEGMENTS,
    ActionRef,
    Automation,
    Category,
    Cause,
    Change,
    CheckoutAttempt,
    CheckoutAttemptFact,
    Coupon,
    CouponFact,
    Decline,
    DeclineFact,
    DeletedOrder,
    Dispute,
    DisputeFact,
    Event,
    EventData,
    EventType,
    Fact,
    Order,
    OrderDeletedFact,
    OrderFact,
    OrderInfo,
    Payment,
    PaymentFact,
    Product,
    ProductFact,
    Refund,
    RefundFact,
    ReportedRefund,
    RuleRef,
    Snapshot,
    Wire,
    version_digest,
)

GOLDEN = Path(__file__).parent / "golden" / "wire"
FIRST = GOLDEN / "0001"
"""Bytes as they were written before there were eight modules."""
AT = datetime(2026, 6, 5, 14, 23, 0, 123456, tzinfo=UTC)
HASH = "a3f2" * 16


def numbered(n: int) -> UUID:
    return UUID(f"0197f3c0-0000-7000-8000-{n:012}")


CUSTOMER = Snapshot(
    email_hash=HASH,
    email="jane@example.com",
    email_domain="example.com",
    trust_score=34,
    segment="risk",
    is_blocked=True,
    is_allowlisted=False,
    total_orders=12,
    total_order_value=Decimal("1380.00"),
    total_refunds=5,
    total_refund_value=Decimal("575.00"),
    full_refunds=2,
    return_rate=Decimal("41.7"),
    cancelled_orders=1,
    account_age_days=451,
    days_since_last_order=8,
    tags=("watch", "wholesale"),
)
ORDER = OrderInfo(
    id=4821,
    number="4821-B",
    total=Decimal("249.00"),
    currency="USD",
    status="processing",
    item_count=3,
    payment_method="stripe",
    billing_country="US",
    shipping_country="CA",
)
FINGERPRINTS = ("01" * 16, "02" * 16, "04" * 16)
FIRST_ORDER = Order(
    **dict(ORDER),
    created_at=AT - timedelta(days=1),
    modified_at=AT,
    email="jane@example.com",
    refunds=(Refund(id=9001, amount=Decimal("10.50"), reason="too small"), Refund(id=9002, amount=Decimal(5))),
)
FULL_ORDER = FIRST_ORDER.model_copy(
    update={
        "coupons": (Coupon(code="welcome10", once=True), Coupon(code="spring")),
        "product_ids": (55, 60),
        "fingerprints": FINGERPRINTS,
        "payments": ("ch_3Q9", "pi_3Q9"),
    }
)
OF_DATA: dict[str, Any] = {"id": numbered(1), "store_id": numbered(2), "occurred_at": AT}
DISPUTE = Dispute(
    id="dp_1",
    order_id=4821,
    payments=("ch_3Q9", "pi_3Q9"),
    amount=Decimal("249.00"),
    currency="USD",
    reason="fraudulent",
    status="under_review",
)
FACTS: dict[str, Fact] = {
    "fact_order": OrderFact(**OF_DATA, data=FULL_ORDER),
    "fact_order_deleted": OrderDeletedFact(**OF_DATA, data=DeletedOrder(id=4821)),
    "fact_refund": RefundFact(
        **OF_DATA, data=ReportedRefund(id=9001, order_id=4821, amount=Decimal("10.50"), reason="too small")
    ),
    "fact_order_of_a_card": OrderFact(**OF_DATA, data=FULL_ORDER.model_copy(update={"card_brand": "visa"})),
    "fact_dispute": DisputeFact(**OF_DATA, data=DISPUTE),
    "fact_dispute_of_a_card": DisputeFact(**OF_DATA, data=DISPUTE.model_copy(update={"card_brand": "visa"})),
    "fact_payment": PaymentFact(**OF_DATA, data=Payment(payments=("ch_3Q9", "pi_3Q9"), card_brand="visa")),
    "fact_decline": DeclineFact(
        **OF_DATA,
        data=Decline(email="jane@example.com", fingerprints=FINGERPRINTS[2:], code="card_declined", country="US"),
    ),
    "fact_checkout_attempt": CheckoutAttemptFact(
        **OF_DATA,
        data=CheckoutAttempt(
            email="jane@example.com",
            fingerprints=FINGERPRINTS[2:],
            amount=Decimal("249.00"),
            currency="USD",
            decision="deny",
            reason="velocity",
        ),
    ),
    "fact_product": ProductFact(
        **OF_DATA,
        data=Product(id=60, categories=(Category(slug="shoes", name="Shoes"), Category(slug="new", name="New"))),
    ),
    "fact_coupon": CouponFact(**OF_DATA, data=Coupon(code="welcome10", once=True)),
}
EVENT = Event(
    id=numbered(3),
    type="order_refunded",
    store_id=numbered(2),
    occurred_at=AT,
    recorded_at=AT + timedelta(seconds=2),
    customer=CUSTOMER,
    sequence=17,
    data=EventData(
        order=ORDER,
        refund=Refund(id=9001, amount=Decimal("10.50"), reason="too small"),
        dispute=DISPUTE,
        change=Change(old_score=41, new_score=34, old_segment="caution", new_segment="risk"),
        old_status="completed",
        reason="Rule: Serial returner",
        email="jane@example.com",
    ),
    cause=Cause(kind="fact", id=numbered(1), depth=1),
)
ERASED = EVENT.model_copy(
    update={
        "type": "score_updated",
        "customer": CUSTOMER.model_copy(update={"email": None, "email_domain": None}),
        "data": EventData(),
    }
)
AUTOMATION = Automation(
    id=numbered(4),
    store_id=numbered(2),
    occurred_at=AT,
    recorded_at=AT + timedelta(seconds=2),
    event_id=numbered(3),
    customer=CUSTOMER,
    sequence=17,
    rule=RuleRef(id=numbered(5), version=3, name="Serial returner", trigger="order_refunded"),
    action=ActionRef(position=1, type="send_webhook", target_id=numbered(6)),
    order_id=4821,
    cause=Cause(kind="rule", id=numbered(5), depth=2),
)
AUTOMATION_WITH_WORDS = AUTOMATION.model_copy(
    update={
        "action": ActionRef(
            position=2, type="send_email", params={"to": "owner@shop.example", "subject": "Look", "text": "At this."}
        )
    }
)
COMMAND = Command(
    id=numbered(7),
    type="rule.create",
    store_id=numbered(2),
    actor="key:tl_1a2b",
    deadline=AT + timedelta(seconds=5),
    data={"name": "Serial returner", "conditions": None, "actions": [{"type": "send_webhook", "timeout": 10}]},
)
RULE_S_COMMAND = Command(
    id=numbered(8),
    type="customer.update",
    store_id=numbered(2),
    actor=f"rule:{numbered(5)}",
    cause=Cause(kind="rule", id=numbered(5), depth=2),
    data={"email_hash": HASH, "is_blocked": True, "reason": "Rule: Serial returner"},
)
ANSWER = Answer(body={"id": str(numbered(5)), "conditions": None, "version": 1})
REFUSED = Answer(
    refusal=Refusal(
        status=400,
        code="rest_invalid_param",
        message="Invalid parameter(s): url",
        params={"url": "must begin with https://"},
    )
)
TODAY: dict[str, Wire] = {
    **FACTS,
    "event": EVENT,
    "event_of_an_erased_customer": ERASED,
    "automation": AUTOMATION,
    "automation_with_words": AUTOMATION_WITH_WORDS,
    "command": COMMAND,
    "command_of_a_rule": RULE_S_COMMAND,
    "answer": ANSWER,
    "refused_answer": REFUSED,
}
DIGESTS = (
    (FULL_ORDER, "bd0fba086741ba7a6460edfaf8b90a1305f475e0b8f6aa422b45a64270fdc22e"),
    (DISPUTE, "8a3e7cc0ae019c37bf05c5000a1ae4c791633f4f0b9d334826517bb46bdb508e"),
)
"""As migration 0006 had them."""
WITHOUT_DISPUTE = EVENT.data.model_copy(update={"dispute": None})
THEN: dict[str, Wire] = {
    "fact": OrderFact(**OF_DATA, data=FIRST_ORDER),
    "event": EVENT.model_copy(update={"data": WITHOUT_DISPUTE}),
    "event_of_an_erased_customer": ERASED,
    "automation": AUTOMATION,
}


def parsed(like: Wire, body: bytes) -> Wire:
    return FACT.validate_json(body) if isinstance(like, Fact) else type(like).model_validate_json(body)


@pytest.mark.parametrize("name", TODAY)
def test_the_bytes_of_today_mean_the_same_and_are_written_the_same(name: str) -> None:
    golden = (GOLDEN / f"{name}.json").read_bytes()
    assert parsed(TODAY[name], golden) == TODAY[name]
    assert TODAY[name].encode() == golden


@pytest.mark.parametrize("name", THEN)
def test_the_bytes_of_the_first_version_still_mean_the_same(name: str) -> None:
    assert parsed(THEN[name], (FIRST / f"{name}.json").read_bytes()) == THEN[name]


@pytest.mark.parametrize("name", TODAY)
def test_a_field_that_a_newer_sender_adds_is_ignored(name: str) -> None:
    golden = (GOLDEN / f"{name}.json").read_bytes()
    newer = golden.replace(b"{", b'{"added_in_2027":{"x":[1]},', 1)
    assert parsed(TODAY[name], newer) == TODAY[name]


def test_there_are_golden_bytes_of_every_kind_of_fact() -> None:
    assert {type(fact) for fact in FACTS.values()} == set(get_args(Fact))


@pytest.mark.parametrize(("version", "digest"), DIGESTS)
def test_a_version_has_the_digest_that_it_was_stored_with_before_cards_had_brands(
    version: Order | Dispute, digest: str
) -> None:
    """Else every order and dispute that comes again after an upgrade would be news."""
    assert version_digest(version).hex() == digest
    assert version_digest(version.model_copy(update={"card_brand": "visa"})).hex() == digest


def test_a_field_added_deep_inside_is_ignored() -> None:
    golden = (GOLDEN / "event.json").read_bytes()
    newer = golden.replace(b'"customer":{', b'"customer":{"added_in_2027":1,').replace(
        b'"order":{', b'"order":{"added_in_2027":[],'
    )
    assert newer.count(b"added_in_2027") == 2
    assert Event.model_validate_json(newer) == EVENT


# NUL and lone surrogates never get in: the api refuses them.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=2)
times = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=9))]))
counts = st.integers(0, 10**9)


def models(model: type[Wire], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(model, **fields)


orders = models(OrderInfo, id=counts, number=texts, total=amounts, currency=texts, status=texts, item_count=counts)
snapshots = models(
    Snapshot,
    email_hash=texts,
    email=st.none() | texts,
    email_domain=st.none() | texts,
    trust_score=st.integers(0, 100),
    segment=st.sampled_from(SEGMENTS),
    is_blocked=st.booleans(),
    total_orders=counts,
    total_order_value=amounts,
    return_rate=amounts,
    account_age_days=st.none() | counts,
    tags=st.lists(texts, max_size=4).map(tuple),
)
changes = models(
    Change,
    old_score=counts,
    new_score=counts,
    old_segment=st.sampled_from(SEGMENTS),
    new_segment=st.sampled_from(SEGMENTS),
)
refunds = models(Refund, id=counts, amount=amounts, reason=texts)
events = models(
    Event,
    id=st.uuids(),
    type=st.sampled_from(get_args(EventType)),
    store_id=st.uuids(),
    occurred_at=times,
    recorded_at=times,
    customer=snapshots,
    sequence=counts,
    data=models(
        EventData,
        order=st.none() | orders,
        refund=st.none() | refunds,
        change=st.none() | changes,
        old_status=st.none() | texts,
        reason=st.none() | texts,
        email=st.none() | texts,
    ),
    cause=models(Cause, kind=st.sampled_from(["fact", "command", "rule", "sweep"]), id=st.uuids(), depth=counts),
)


@given(events)
def test_an_event_survives_the_wire(event: Event) -> None:
    assert Event.model_validate_json(event.encode()) == event
