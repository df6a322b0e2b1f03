"""The bytes of all nine webhooks, against readable golden files, and the headers that go with them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import get_args
from uuid import UUID

import pytest

from cli.verification import Verdict, verify
from dispatcher.deliveries import Delivery
from dispatcher.destinations.webhook import Site, Source, Trial, digest, event_name, headers, render
from dispatcher.endpoints import Target
from shared.events import (
    ActionRef,
    Automation,
    Cause,
    Change,
    Event,
    EventData,
    EventType,
    OrderInfo,
    RuleRef,
    Snapshot,
    WebhookEvent,
)

GOLDEN = Path(__file__).parent / "golden" / "webhooks"
SITE = Site(url="https://yourstore.com", name="Café “Your Store”")
AT = datetime(2026, 6, 5, 14, 23, 0, 987654, tzinfo=UTC)
ID = UUID("00000000-0000-7000-8000-000000000001")
CUSTOMER = Snapshot(
    email_hash="a3f2" * 16,
    email="jane@example.com",
    email_domain="example.com",
    trust_score=34,
    segment="risk",
    total_orders=12,
    total_refunds=5,
    return_rate=Decimal("41.7"),
    total_order_value=Decimal("1380.00"),
    tags=("vip list",),
)
DATA: dict[EventType, EventData] = {
    "score_updated": EventData(change=Change(old_score=52, new_score=34, old_segment="normal", new_segment="risk")),
    "customer_blocked": EventData(reason="Rule: Serial returner"),
    "customer_unblocked": EventData(),
    "customer_allowlisted": EventData(),
    "customer_allowlist_removed": EventData(),
    "checkout_blocked": EventData(email="jane@example.com"),
    "high_risk_order": EventData(
        order=OrderInfo(
            id=4821, number="4821", total=Decimal(249), currency="USD", status="processing", billing_country="US"
        )
    ),
}


def event(kind: EventType, data: EventData, **changes: object) -> Event:
    fields = {
        "id": ID,
        "type": kind,
        "store_id": ID,
        "occurred_at": AT - timedelta(hours=1),
        "recorded_at": AT,
        "customer": CUSTOMER,
        "sequence": 7,
        "data": data,
        "cause": Cause(kind="fact", id=ID),
    }
    return Event.model_validate(fields | changes)


AUTOMATION = Automation(
    id=ID,
    store_id=ID,
    occurred_at=AT,
    recorded_at=AT,
    event_id=ID,
    customer=CUSTOMER,
    sequence=8,
    rule=RuleRef(id=ID, version=3, name="Watch returns", trigger="segment_changed"),
    action=ActionRef(position=0, type="send_webhook", target_id=ID),
    order_id=4821,
    cause=Cause(kind="rule", id=ID, depth=1),
)


SOURCES: list[Source] = [*(event(kind, data) for kind, data in DATA.items()), AUTOMATION, Trial(AT)]


def compact(readable: str) -> bytes:
    """A golden file's bytes on the wire: its tokens as they stand, without the blanks between them."""
    lines = (line.strip() for line in readable.splitlines())
    return "".join(line.replace('": ', '":', 1) for line in lines).encode()


@pytest.mark.parametrize("source", SOURCES, ids=event_name)
def test_the_body_is_byte_for_byte_the_golden_one(source: Source) -> None:
    golden = (GOLDEN / f"{event_name(source)}.json").read_text(encoding="utf-8")
    assert render(source, SITE, include_email=True) == compact(golden)


def test_there_is_a_golden_file_for_each_of_the_nine_events() -> None:
    names = {path.stem for path in GOLDEN.glob("*.json")}
    assert names == set(get_args(WebhookEvent)) == {event_name(source) for source in SOURCES}


@pytest.mark.parametrize("source", SOURCES, ids=event_name)
def test_without_e_mail_no_address_is_left_and_all_keys_stay(source: Source) -> None:
    body = render(source, SITE, include_email=False)
    assert b"@" not in body
    assert list(json.loads(body)) == list(json.loads(render(source, SITE, include_email=True)))
    assert json.loads(body)["customer"]["email"] is None


def test_after_erasure_the_e_mail_is_null() -> None:
    erased = event("customer_unblocked", EventData(), customer=CUSTOMER.model_copy(update={"email": None}))
    assert json.loads(render(erased, SITE, include_email=True))["customer"]["email"] is None


def test_a_checkout_blocked_without_a_known_e_mail_says_null() -> None:
    body = json.loads(render(event("checkout_blocked", EventData()), SITE, include_email=True))
    assert body["email"] is None


def test_a_block_without_a_reason_has_an_empty_one() -> None:
    body = json.loads(render(event("customer_blocked", EventData()), SITE, include_email=True))
    assert body["reason"] == ""


def test_an_automation_without_an_order_says_null() -> None:
    body = json.loads(render(AUTOMATION.model_copy(update={"order_id": None}), SITE, include_email=True))
    assert body["order_id"] is None


@pytest.mark.parametrize(
    ("total", "currency", "written"),
    [
        ("249", "USD", "249.00"),
        ("249.5", "EUR", "249.50"),
        ("0", "EUR", "0.00"),
        ("1234567890.12", "EUR", "1234567890.12"),
        ("3000", "JPY", "3000.00"),
        ("1.25", "KWD", "1.250"),
        ("1E+3", "EUR", "1000.00"),
    ],
)
def test_a_total_is_a_number_with_the_decimals_of_its_currency(total: str, currency: str, written: str) -> None:
    order = OrderInfo(id=1, number="A-1", total=Decimal(total), currency=currency, status="processing")
    body = render(event("high_risk_order", EventData(order=order)), SITE, include_email=True)
    assert f'"number":"A-1","total":{written},"currency":"{currency}"'.encode() in body


def test_the_timestamp_is_utc_whatever_zone_the_event_was_written_in() -> None:
    elsewhere = event("customer_unblocked", EventData(), recorded_at=AT.astimezone(timezone(timedelta(hours=9))))
    assert json.loads(render(elsewhere, SITE, include_email=True))["timestamp"] == "2026-06-05T14:23:00+00:00"


def test_an_event_without_what_its_webhook_tells_is_refused() -> None:
    with pytest.raises(ValueError, match="score_updated"):
        render(event("score_updated", EventData()), SITE, include_email=True)


DELIVERY = Delivery(
    recorded_at=AT,
    id=UUID("00000000-0000-5000-8000-000000000002"),
    store_id=ID,
    target_id=UUID("00000000-0000-7000-8000-000000000003"),
    endpoint_id=None,
    rule_id=ID,
    event="automation_triggered",
    source_id=ID,
    shape="trustlens",
    email_hash="ab",
    sequence=8,
    mode="retry",
    max_attempts=4,
)


def sent_headers(
    body: bytes = b"{}",
    *,
    custom: Mapping[str, str] | None = None,
    secret: str = "s" * 32,
    next_secret: str | None = None,
    standard: bool = False,
) -> dict[str, str]:
    target = Target(
        DELIVERY.target_id, "https://receiver.example/", 10, secret, custom or {}, standard_webhooks=standard
    )
    return headers(DELIVERY, target, secret=secret, next_secret=next_secret, body=body, now=AT)


def test_the_headers_are_the_seeds_and_the_signature_verifies() -> None:
    sent = sent_headers(b'{"a":1}', custom={"Authorization": "Bearer x"})
    assert list(sent) == [
        "Authorization",
        "Content-Type",
        "User-Agent",
        "X-TrustLens-Event",
        "X-TrustLens-Timestamp",
        "X-TrustLens-Signature",
        "X-TrustLens-Delivery",
        "X-TrustLens-Webhook-ID",
        "X-TrustLens-Sequence",
    ]
    assert sent["X-TrustLens-Timestamp"] == str(int(AT.timestamp()))
    assert sent["X-TrustLens-Delivery"] == str(DELIVERY.id)
    assert sent["X-TrustLens-Webhook-ID"] == str(DELIVERY.target_id)
    judged = verify(
        b'{"a":1}',
        signatures=[sent["X-TrustLens-Signature"]],
        timestamps=[sent["X-TrustLens-Timestamp"]],
        secret="s" * 32,
        now=AT.timestamp(),
    )
    assert judged is Verdict.VERIFIED


def test_a_custom_header_never_replaces_ours() -> None:
    custom = {"x-trustlens-signature": "sha256=forged", "CONTENT-TYPE": "text/plain"}
    sent = sent_headers(custom=custom)
    assert not custom.keys() & sent.keys()
    assert sent["Content-Type"] == "application/json"


def test_during_a_rotation_the_new_secret_s_signature_is_beside_the_old_one_s() -> None:
    alone, rotating, after = sent_headers(), sent_headers(next_secret="n" * 32), sent_headers(secret="n" * 32)
    assert rotating == alone | {"X-TrustLens-Signature-Next": after["X-TrustLens-Signature"]}


def test_standard_webhooks_headers_are_added_only_on_request() -> None:
    secret = "whsec_" + "YWJj" * 8
    more = sent_headers(secret=secret, standard=True).keys() - sent_headers(secret=secret).keys()
    assert more == {"webhook-id", "webhook-timestamp", "webhook-signature"}


def test_the_digest_leaves_out_the_timestamp_and_nothing_else() -> None:
    body = render(SOURCES[0], SITE, include_email=True)
    later = body.replace(b"2026-06-05T14:23:00+00:00", b"2026-06-05T14:23:04+00:00", 1)
    assert digest(later) == digest(body)
    assert digest(body.replace(b'"new_score":34', b'"new_score":35')) != digest(body)


def test_a_shop_that_is_named_like_a_timestamp_cannot_hide_a_change() -> None:
    def named(stamp: str) -> bytes:
        name = f'"timestamp":"{stamp}",'
        return digest(render(SOURCES[0], Site(url=SITE.url, name=name), include_email=True))

    assert named("2026-06-05T14:23:00+00:00") != named("2026-06-05T14:23:01+00:00")
