"""What the api asks of the dispatcher, through RabbitMQ."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from cli.verification import Verdict, verify
from dispatcher import store
from dispatcher.breaker import PROBES, Breaker
from dispatcher.settings import DispatcherSettings
from shared.broker import Broker
from shared.commands import Answer, Asker, Refusal
from shared.ids import derived, uuid7
from support.dispatcher_shop import SECRET, Shop
from support.dispatching import Receiver, dispatching, event, local_settings, publish

DOWN_SINCE = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)


@pytest.fixture
def settings(database_url: str, amqp_url: str, name_prefix: str, secret_keys: str) -> DispatcherSettings:
    return local_settings(
        database_url=database_url, amqp_url=amqp_url, name_prefix=name_prefix, secret_keys=secret_keys
    )


@pytest.fixture
async def dispatcher(settings: DispatcherSettings) -> AsyncIterator[None]:
    async with dispatching(settings):
        yield


async def ask(broker: Broker, shop: Shop, command: str, data: Mapping[str, Any]) -> Answer:
    return await Asker(broker).ask("dispatcher.commands", command, store_id=shop.id, actor="key:test", data=data)


async def answered(broker: Broker, shop: Shop, command: str, data: Mapping[str, Any]) -> dict[str, Any]:
    answer = await ask(broker, shop, command, data)
    assert answer.refusal is None
    body: dict[str, Any] = answer.body
    return body


async def refused(broker: Broker, shop: Shop, command: str, data: Mapping[str, Any]) -> Refusal:
    refusal = (await ask(broker, shop, command, data)).refusal
    assert refusal is not None
    return refusal


async def test_an_endpoint_needs_only_a_url_and_its_secret_is_shown_once(
    dispatcher: None, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    made = await answered(broker, shop, "webhook.create", {"url": f"{receiver.url}/hook"})
    await publish(broker, told := event(shop.id))
    received = await receiver.next()

    secret = made.pop("secret")
    assert len(secret) >= 32
    assert {**made, "created_at": None, "updated_at": None} == {
        "id": received.headers["X-TrustLens-Webhook-ID"],
        "url": f"{receiver.url}/hook",
        "description": "",
        "events": ["score_updated", "customer_blocked", "checkout_blocked", "high_risk_order"],
        "enabled": True,
        "disabled_reason": None,
        "delivery": "fire_and_log",
        "format": "trustlens",
        "include_email": True,
        "timeout": 10,
        "headers": {},
        "filter": None,
        "permanent_codes": [],
        "standard_webhooks": False,
        "overlap_until": None,
        "outage_since": None,
        "next_probe_at": None,
        "created_at": None,
        "updated_at": None,
    }
    signature, timestamp = received.headers["X-TrustLens-Signature"], received.headers["X-TrustLens-Timestamp"]
    now = datetime.now(UTC).timestamp()
    judged = verify(received.body, signatures=[signature], timestamps=[timestamp], secret=secret, now=now)
    assert judged is Verdict.VERIFIED
    assert json.loads(received.body)["new_score"] == told.customer.trust_score


async def test_no_table_holds_a_secret_or_a_header_in_plain_text(
    dispatcher: None, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    asked = {"url": receiver.url, "headers": {"Authorization": "Bearer confidential"}}
    made = await answered(broker, shop, "webhook.create", asked)
    rows = [
        *await shop.pool.fetch("SELECT e::text FROM dispatcher.endpoints e"),
        *await shop.pool.fetch("SELECT c::text FROM dispatcher.commands_seen c"),
    ]
    text = "".join(row[0] for row in rows)
    assert made["secret"] not in text
    assert "confidential" not in text
    assert made["headers"] == {"Authorization": "***"}


async def test_a_given_secret_is_never_shown_and_doubted_when_it_is_short(
    dispatcher: None, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    long = await answered(broker, shop, "webhook.create", {"url": receiver.url, "secret": SECRET})
    short = await answered(broker, shop, "webhook.create", {"url": receiver.url, "secret": "short"})
    assert "secret" not in long
    assert "warnings" not in long
    assert "secret" not in short
    assert short["warnings"] == ["secret: shorter than 32 characters, it can be guessed"]


async def test_a_filter_is_judged_whenever_it_or_its_events_change_and_not_otherwise(
    dispatcher: None, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    asked = {
        "url": receiver.url,
        "events": ["high_risk_order", "customer_blocked"],
        "filter": {"field": "order.total", "operator": ">", "value": 200},
    }
    made = await answered(broker, shop, "webhook.create", asked)
    assert made["warnings"] == [
        "filter.field: order.total needs an order, and customer_blocked has none: it is not met then"
    ]
    narrowed = {"id": made["id"], "fields": {"events": ["customer_blocked"]}}
    refusal = await refused(broker, shop, "webhook.update", narrowed)
    assert refusal.params == {"filter.field": "order.total needs an order, and customer_blocked has none"}

    await shop.pool.execute("UPDATE dispatcher.endpoints SET events = '{customer_blocked}' WHERE id = $1", made["id"])
    off = await answered(broker, shop, "webhook.update", {"id": made["id"], "fields": {"enabled": False}})
    assert (off["enabled"], off["filter"]) == (False, asked["filter"])


async def test_each_bad_field_is_refused_by_name(dispatcher: None, broker: Broker, shop: Shop) -> None:
    asked = {"url": "http://10.0.0.1/", "events": ["order_placed"], "timeout": 31, "format": "teams", "nonsense": 1}
    refusal = await refused(broker, shop, "webhook.create", asked)
    assert (refusal.status, refusal.code) == (400, "rest_invalid_param")
    assert set(refusal.params) == {"url", "events", "timeout", "format", "nonsense"}
    assert refusal.params["url"] == "leads to an address that is refused: private"
    assert refusal.params["events"] == "has an unknown event: order_placed"


async def test_an_endpoint_whose_url_may_not_be_called_any_more_can_still_be_switched_off(
    dispatcher: None, broker: Broker, shop: Shop
) -> None:
    made = await answered(broker, shop, "webhook.create", {"url": "https://crm.example/hook"})
    closed = "http://10.0.0.1/hook"
    await shop.pool.execute("UPDATE dispatcher.endpoints SET url = $2 WHERE id = $1", UUID(made["id"]), closed)
    off = await answered(broker, shop, "webhook.update", {"id": made["id"], "fields": {"enabled": False}})
    assert (off["enabled"], off["url"]) == (False, closed)
    refusal = await refused(broker, shop, "webhook.update", {"id": made["id"], "fields": {"url": closed}})
    assert set(refusal.params) == {"url"}


async def test_a_test_delivery_is_made_at_once_and_logged_like_any_other(
    dispatcher: None, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint(events=["customer_blocked"], enabled=False)
    result = await answered(broker, shop, "webhook.test", {"id": str(endpoint_id)})
    received = await receiver.next()
    row = await shop.finished(UUID(result["delivery_id"]))

    assert received.headers["X-TrustLens-Event"] == "test"
    assert received.headers["X-TrustLens-Delivery"] == result["delivery_id"]
    body = json.loads(received.body)
    assert (body["customer"]["email"], body["message"]) == (
        "test@example.com",
        "This is a test delivery from TrustLens.",
    )
    assert {**result, "duration_ms": 0, "delivery_id": ""} == {
        "delivery_id": "",
        "ok": True,
        "status_code": 200,
        "duration_ms": 0,
        "body": "thanks",
        "error": None,
    }
    assert (row["event"], row["status"], row["attempts"], row["endpoint_id"]) == ("test", "delivered", 1, endpoint_id)
    assert len(await shop.attempts(row["id"])) == 1


async def test_a_test_delivery_tells_where_it_failed(
    dispatcher: None, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    receiver.statuses["/hook"] = 500
    answers_500, unreachable = await shop.endpoint(), await shop.endpoint()
    await shop.pool.execute("UPDATE dispatcher.endpoints SET url = 'http://127.0.0.1:1/' WHERE id = $1", unreachable)
    failed = await answered(broker, shop, "webhook.test", {"id": str(answers_500)})
    broken = await answered(broker, shop, "webhook.test", {"id": str(unreachable)})
    assert (failed["ok"], failed["status_code"], failed["error"]) == (False, 500, None)
    assert (broken["ok"], broken["status_code"]) == (False, None)
    assert broken["error"] == {"phase": "connect", "message": "no connection: Connection refused"}
    assert (await shop.finished(UUID(broken["delivery_id"])))["status"] == "failed"


async def test_an_unknown_endpoint_cannot_be_tested(dispatcher: None, broker: Broker, shop: Shop) -> None:
    refusal = await refused(broker, shop, "webhook.test", {"id": str(uuid7())})
    assert (refusal.status, refusal.code) == (404, "trustlens_webhook_not_found")


async def test_an_answer_that_comes_after_its_endpoint_was_deleted_leaves_no_breaker_behind(
    dispatcher: None, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint()
    receiver.statuses["/hook"] = 500
    deleted = asyncio.Event()

    async def delete_meanwhile() -> None:
        receiver.before_answer = None
        await answered(broker, shop, "webhook.delete", {"id": str(endpoint_id)})
        deleted.set()

    receiver.before_answer = delete_meanwhile
    told = event(shop.id)
    await publish(broker, told)
    await receiver.next()
    await deleted.wait()
    await shop.endpoint("/other")  # what its answer leads to is recorded after the other's
    await publish(broker, event(shop.id, sequence=8, score=33))
    assert (await shop.finished((await receiver.next()).delivery))["status"] == "delivered"
    assert (await shop.finished(derived(told.id, endpoint_id)))["reason"] == "the endpoint was deleted"
    assert await shop.pool.fetchval("SELECT count(*) FROM dispatcher.breakers") == 0


async def test_an_endpoint_that_could_not_be_created_is_refused_before_it_is(
    dispatcher: None, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    assert await answered(broker, shop, "webhook.validate", {"url": receiver.url}) == {}
    refusal = await refused(broker, shop, "webhook.validate", {"url": "ftp://x"})
    assert refusal.params == {"url": "must begin with https://"}
    unfit = {"field": "trust_score", "operator": "<", "value": "30"}
    for command in ("webhook.validate", "webhook.create"):
        refusal = await refused(broker, shop, command, {"url": receiver.url, "filter": unfit})
        assert refusal.params == {"filter.value": "trust_score is a whole number"}
    assert await shop.pool.fetchval("SELECT count(*) FROM dispatcher.endpoints") == 0


async def test_why_an_endpoint_is_off_is_not_said_of_one_that_is_on(
    dispatcher: None, broker: Broker, shop: Shop
) -> None:
    asked = {"id": str(await shop.endpoint())}
    for fields in ({"disabled_reason": "moved"}, {"enabled": True, "disabled_reason": "moved"}):
        refusal = await refused(broker, shop, "webhook.update", asked | {"fields": fields})
        assert refusal.params == {"disabled_reason": "says why an endpoint is off, and this one is on"}
    off = {"enabled": False, "disabled_reason": "moved"}
    assert (await answered(broker, shop, "webhook.update", asked | {"fields": off}))["disabled_reason"] == "moved"
    on = await answered(broker, shop, "webhook.update", asked | {"fields": {"enabled": True}})
    assert (on["enabled"], on["disabled_reason"]) == (True, None)


async def test_an_endpoint_that_is_down_is_shown_so_also_when_it_is_changed(
    dispatcher: None, broker: Broker, shop: Shop
) -> None:
    endpoint_id = await shop.endpoint()
    down = Breaker(failures=5, opened_at=DOWN_SINCE, probe_at=DOWN_SINCE + PROBES[0])
    async with shop.pool.acquire() as connection:
        await store.ensure_breakers(connection, [endpoint_id], [endpoint_id], endpoints=[])
        await store.save_breakers(connection, {endpoint_id: down})
    shown = await answered(broker, shop, "webhook.update", {"id": str(endpoint_id), "fields": {"timeout": 5}})
    assert (shown["outage_since"], shown["next_probe_at"]) == ("2026-06-05 14:23:00", "2026-06-05 14:24:00")


async def test_an_overlap_that_there_is_not_cannot_be_ended(dispatcher: None, broker: Broker, shop: Shop) -> None:
    asked = {"id": str(await shop.endpoint())}
    assert (await refused(broker, shop, "webhook.end_overlap", asked)).status == 409
    await answered(broker, shop, "webhook.rotate", asked)
    await shop.pool.execute("UPDATE dispatcher.endpoints SET overlap_until = now()")
    assert (await refused(broker, shop, "webhook.end_overlap", asked)).code == "trustlens_no_rotation"
    await answered(broker, shop, "webhook.rotate", asked)
    await answered(broker, shop, "webhook.end_overlap", asked)
