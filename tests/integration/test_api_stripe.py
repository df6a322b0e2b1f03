"""What Stripe sends to the api, on a real Postgres and a real RabbitMQ, and what the scorer makes of it."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore
from shared.broker import Broker
from shared.events import FACT, DeclineFact, DisputeFact
from support.api_client import BASE, Answer, ApiClient, serving
from support.queues import take
from support.stripe import charge, dispute, event, intent, signature

FIRST = event("charge.dispute.created", dispute())


async def deliver(api: ApiClient, body: Any, *, at: datetime | None = None, header: str | None = None) -> Answer:
    """As Stripe sends it: signed, just now."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = signature(raw, api.store.stripe_secret, at or datetime.now(UTC)) if header is None else header
    headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signed}
    return await api.post(f"/ingest/stripe/{api.store.id}", key="", data=io.BytesIO(raw), headers=headers)


async def stored(pool: asyncpg.Pool) -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM api.raw_input")
    return count


async def test_a_dispute_is_answered_202_and_reaches_the_scorer_and_again_200(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    first, again = await deliver(api, FIRST), await deliver(api, FIRST, at=datetime.now(UTC) + timedelta(seconds=60))

    assert (first.status, first.json["status"]) == (202, "accepted")
    assert (again.status, again.json["status"]) == (200, "duplicate")
    fact = FACT.validate_json((await take(broker, "scorer.facts"))[0].body)
    assert isinstance(fact, DisputeFact)
    assert (str(fact.id), fact.data.payments) == (first.json["id"], ("ch_3Q9", "pi_3Q9"))
    assert await stored(pool) == 1


async def test_a_declined_card_of_which_two_events_tell_is_one_decline(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    both = event("charge.failed", charge()), event("payment_intent.payment_failed", intent(), event_id="evt_2")

    assert [(await deliver(api, one)).status for one in both] == [202, 200]
    fact = FACT.validate_json((await take(broker, "scorer.facts"))[0].body)
    assert isinstance(fact, DeclineFact)
    assert (fact.data.email, fact.data.code) == ("jane@example.com", "insufficient_funds")
    assert await stored(pool) == 1


async def test_nothing_of_a_dispute_s_evidence_is_kept(api: ApiClient, pool: asyncpg.Pool) -> None:
    await deliver(api, FIRST)

    kept = await pool.fetchrow("SELECT source, topic, body FROM api.raw_input")
    assert (kept["source"], kept["topic"]) == ("stripe", "dispute")
    assert json.loads(kept["body"])["data"]["id"] == "dp_1"
    assert b"Jane" not in kept["body"]
    assert b"Hauptstr" not in kept["body"]


@pytest.mark.parametrize("kind", ["invoice.paid", "charge.succeeded", "charge.refunded", "customer.created"])
async def test_an_event_of_no_use_is_answered_200_so_that_stripe_keeps_the_endpoint(
    api: ApiClient, pool: asyncpg.Pool, kind: str
) -> None:
    answer = await deliver(api, event(kind, {"id": "x"}))

    assert (answer.status, answer.json["status"]) == (200, "ignored")
    assert await stored(pool) == 0


@pytest.mark.parametrize("header", ["", "t=1,v1=00", "nonsense", "é", "t=1," + "v1=0," * 1000])
async def test_a_missing_or_wrong_signature_is_401(api: ApiClient, pool: asyncpg.Pool, header: str) -> None:
    answer = await deliver(api, FIRST, header=header)

    assert (answer.status, answer.json["code"]) == (401, "trustlens_bad_signature")
    assert await stored(pool) == 0


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_a_signature_of_another_time_is_401_and_says_so(api: ApiClient, minutes: int) -> None:
    answer = await deliver(api, FIRST, at=datetime.now(UTC) + timedelta(minutes=minutes))

    assert answer.status == 401
    assert "another time" in answer.json["message"]


async def test_the_secret_that_stripe_made_takes_the_place_of_ours_at_once_and_is_not_shown(
    api_settings: ApiSettings, api_store: CreatedStore
) -> None:
    given = "whsec_fromStripesDashboard0123456789"
    raw = json.dumps(FIRST).encode()

    async with serving(api_settings.model_copy(update={"command_seconds": 0.1}), api_store) as api:
        changed = await api.request("PATCH", f"{BASE}/store", json={"stripe_secret": given})
        old = await deliver(api, raw)
        new = await deliver(api, raw, header=signature(raw, given, datetime.now(UTC)))

    assert (old.status, new.status) == (401, 202)
    assert changed.status == 503  # no scorer runs here to tell the rest of the settings; the secret is kept
    assert given not in changed.text


@pytest.mark.parametrize("given", ["", "short", "x" * 201, "whsec_ with blanks in it", None, 5])
async def test_what_is_no_secret_is_refused(api: ApiClient, given: Any) -> None:
    answer = await api.request("PATCH", f"{BASE}/store", json={"stripe_secret": given})

    assert (answer.status, list(answer.json["data"]["params"])) == (400, ["stripe_secret"])


async def test_another_store_s_secret_and_an_unknown_store_are_refused(api: ApiClient) -> None:
    raw = json.dumps(FIRST).encode()
    other = signature(raw, api.store.woocommerce_secret, datetime.now(UTC))

    assert (await deliver(api, raw, header=other)).status == 401
    unknown = await api.post("/ingest/stripe/00000000-0000-0000-0000-000000000001", key="", data=raw)
    assert (unknown.status, unknown.json["code"]) == (404, "trustlens_store_not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"<html>", "body"),
        (b"[]", "body"),
        (b"{" + b" " * (1024 * 1024) + b"}", "body"),
        (b'{"type": "charge.failed", "a":' * 40 + b"1" + b"}" * 40, "body"),
        (event("charge.dispute.closed", dispute(amount=float("nan"))), "data.object.amount"),
        (event("charge.dispute.closed", dispute(status="argued")), "data.object.status"),
        (event("charge.dispute.closed", dispute(id="a\0b")), "data.object.id"),
    ],
)
async def test_a_bad_body_is_400_and_nothing_is_stored(
    api: ApiClient, pool: asyncpg.Pool, body: Any, field: str
) -> None:
    answer = await deliver(api, body)

    assert (answer.status, answer.json["code"]) == (400, "rest_invalid_param")
    assert field in " ".join(answer.json["data"]["params"]) or field == "body"
    assert await stored(pool) == 0
