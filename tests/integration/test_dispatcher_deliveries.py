"""Events and automations in, signed requests and recorded deliveries out; real Postgres, RabbitMQ and HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from cli.verification import Verdict, verify
from dispatcher import store
from dispatcher.settings import DispatcherSettings
from shared.broker import Broker
from shared.events import Event, EventType
from shared.ids import derived, uuid7
from support.dispatcher_shop import SECRET, Shop
from support.dispatching import Received, Receiver, automation, dispatching, event, eventually, local_settings, publish


@pytest.fixture
def settings(database_url: str, amqp_url: str, name_prefix: str, secret_keys: str) -> DispatcherSettings:
    return local_settings(
        database_url=database_url, amqp_url=amqp_url, name_prefix=name_prefix, secret_keys=secret_keys
    )


def verdict(received: Received) -> Verdict:
    return verify(
        received.body,
        signatures=[received.headers["X-TrustLens-Signature"]],
        timestamps=[received.headers["X-TrustLens-Timestamp"]],
        secret=SECRET,
        now=datetime.now(UTC).timestamp(),
    )


async def test_an_event_becomes_one_signed_request_with_the_frozen_body(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint(headers={"Authorization": "Bearer 1"})
    told = event(shop.id)
    async with dispatching(settings):
        await publish(broker, told)
        received = await receiver.next()
        logged = await shop.finished(received.delivery)

    assert verdict(received) is Verdict.VERIFIED
    assert received.delivery == derived(told.id, endpoint_id)
    assert received.headers["X-TrustLens-Event"] == "score_updated"
    assert received.headers["X-TrustLens-Webhook-ID"] == str(endpoint_id)
    assert received.headers["X-TrustLens-Sequence"] == "7"
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Authorization"] == "Bearer 1"
    assert received.headers["User-Agent"].startswith("TrustLens/")
    assert received.body == await shop.pool.fetchval("SELECT body FROM dispatcher.bodies")
    assert (logged["status"], logged["attempts"], logged["last_status_code"]) == ("delivered", 1, 200)
    (attempt,) = await shop.attempts(received.delivery)
    assert (attempt["address"], attempt["answer"], attempt["phase"]) == ("127.0.0.1", b"thanks", None)


async def test_the_same_event_again_sends_nothing_more(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    await shop.endpoint()
    told = event(shop.id)
    async with dispatching(settings):
        await publish(broker, told, told)
        await receiver.next()
        await publish(broker, told, told, event(shop.id, "customer_blocked"))
        assert (await receiver.next()).headers["X-TrustLens-Event"] == "customer_blocked"
        await shop.idle()
    assert receiver.nothing_more()
    assert await shop.pool.fetchval("SELECT count(*) FROM dispatcher.deliveries") == 2


async def test_an_endpoint_gets_the_events_it_subscribed_to(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    await shop.endpoint("/defaults", events=[])
    await shop.endpoint("/allowlist", events=["customer_allowlisted"])
    await shop.endpoint("/off", enabled=False)
    kinds: tuple[EventType, ...] = (
        "order_placed",
        "customer_unblocked",
        "customer_allowlisted",
        "high_risk_order",
        "checkout_blocked",
    )
    async with dispatching(settings):
        await publish(broker, *(event(shop.id, kind) for kind in kinds))
        received = [await receiver.next() for _ in range(3)]
        await shop.idle()
    assert {(r.path, r.headers["X-TrustLens-Event"]) for r in received} == {
        ("/allowlist", "customer_allowlisted"),
        ("/defaults", "high_risk_order"),
        ("/defaults", "checkout_blocked"),
    }
    assert receiver.nothing_more()


async def test_a_settings_webhook_that_fails_is_logged_and_not_tried_again(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    receiver.statuses["/hook"] = 302
    receiver.headers["Location"] = "/elsewhere"
    await shop.endpoint()
    async with dispatching(settings):
        await publish(broker, event(shop.id))
        received = await receiver.next()
        logged = await shop.finished(received.delivery)
    assert (logged["status"], logged["last_status_code"], logged["last_error"]) == ("failed", 302, "answered 302")
    assert receiver.nothing_more()


async def test_a_rule_webhook_is_tried_four_times_under_one_id_and_is_then_exhausted(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    receiver.statuses["/rule"] = 500
    target_id = await shop.rule_target()
    fired = automation(shop.id, target_id)
    async with dispatching(settings):
        await publish(broker, fired)
        received = [await receiver.next() for _ in range(4)]
        logged = await shop.finished(derived(fired.id, target_id))
    assert {r.delivery for r in received} == {derived(fired.id, target_id)}
    assert [verdict(r) for r in received] == [Verdict.VERIFIED] * 4
    assert len({r.body for r in received}) == 1
    assert (logged["status"], logged["attempts"], logged["rule_id"]) == ("exhausted", 4, fired.rule.id)
    assert [row["number"] for row in await shop.attempts(logged["id"])] == [1, 2, 3, 4]
    assert receiver.nothing_more()


async def test_a_retry_that_succeeds_ends_the_delivery(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    receiver.statuses["/hook"] = 503
    await shop.endpoint(delivery="retry")
    async with dispatching(settings):
        await publish(broker, event(shop.id))
        first = await receiver.next()
        receiver.statuses.clear()
        logged = await shop.finished(first.delivery)
    assert logged["status"] == "delivered"
    assert logged["attempts"] > 1


async def test_410_ends_a_retried_delivery_and_disables_its_endpoint(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    receiver.statuses["/hook"] = 410
    endpoint_id = await shop.endpoint(delivery="retry")
    async with dispatching(settings):
        await publish(broker, event(shop.id))
        logged = await shop.finished((await receiver.next()).delivery)
        await publish(broker, event(shop.id))
        endpoint = await store.endpoint(shop.pool, shop.vault, shop.id, endpoint_id)
        await shop.idle()
    assert (logged["status"], logged["reason"], logged["attempts"]) == ("exhausted", "gone", 1)
    assert endpoint is not None
    assert not endpoint.target.enabled
    assert endpoint.disabled_reason == "the endpoint answered 410 Gone"
    assert receiver.nothing_more()


async def test_subscribers_of_automations_get_each_once_and_the_target_only_its_own(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    target_id = await shop.endpoint("/target", events=["automation_triggered"])
    subscriber_id = await shop.endpoint("/subscriber", events=["automation_triggered"])
    fired, tagged = automation(shop.id, target_id), automation(shop.id, None, action="tag_customer")
    async with dispatching(settings):
        await publish(broker, fired)
        received = {(r.path, r.delivery) for r in [await receiver.next(), await receiver.next()]}
        await publish(broker, tagged)
        received |= {(r.path, r.delivery) for r in [await receiver.next(), await receiver.next()]}
        await shop.idle()
    assert received == {
        ("/target", derived(fired.id, target_id)),
        ("/subscriber", derived(fired.id, subscriber_id)),
        ("/target", derived(tagged.id, target_id)),
        ("/subscriber", derived(tagged.id, subscriber_id)),
    }
    assert receiver.nothing_more()


async def test_an_action_without_a_target_is_seen_in_the_log(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    fired = automation(shop.id, uuid7())
    async with dispatching(settings):
        await publish(broker, fired)
        assert fired.action.target_id
        logged = await shop.finished(derived(fired.id, fired.action.target_id))
    assert (logged["status"], logged["reason"], logged["attempts"]) == ("suppressed", "no_target", 0)


async def test_what_waits_for_the_target_of_a_rule_that_is_deleted_is_not_sent(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    receiver.statuses["/rule"] = 500
    target_id = await shop.rule_target()
    fired = automation(shop.id, target_id)
    async with dispatching(settings.model_copy(update={"retry_delays": (60, 60, 60)})):
        await publish(broker, fired)
        await eventually(
            partial(shop.pool.fetchval, "SELECT true FROM dispatcher.deliveries WHERE status = 'retrying'")
        )
        await shop.pool.execute("DELETE FROM rule_engine.targets")
        await shop.pool.execute("UPDATE dispatcher.deliveries SET due_at = now()")
        logged = await shop.finished(derived(fired.id, target_id))
    assert (logged["status"], logged["reason"], logged["attempts"]) == ("suppressed", "no_target", 1)
    await receiver.next()
    assert receiver.nothing_more()


async def test_an_event_of_long_ago_is_not_sent_any_more(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint()
    old = event(shop.id, at=datetime.now(UTC) - timedelta(minutes=6))
    async with dispatching(settings):
        await publish(broker, old)
        logged = await shop.finished(derived(old.id, endpoint_id))
    assert (logged["status"], logged["reason"]) == ("suppressed", "expired")
    assert receiver.nothing_more()


async def test_what_a_killed_dispatcher_had_leased_is_sent_again_under_the_same_id(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint()
    told = event(shop.id)
    async with dispatching(settings):
        await publish(broker, told)
        await shop.finished((await receiver.next()).delivery)
    await _leased_by_the_dead(shop, told)
    async with dispatching(settings):
        again = await receiver.next()
        logged = await shop.finished(again.delivery)
    assert again.delivery == derived(told.id, endpoint_id)
    assert logged["status"] == "delivered"


async def _leased_by_the_dead(shop: Shop, told: Event) -> None:
    """As kill -9 leaves a row between its insert and its record, a lease later."""
    await shop.pool.execute("DELETE FROM dispatcher.attempts")
    await shop.pool.execute(
        "UPDATE dispatcher.deliveries SET status = 'pending', attempts = 0, due_at = now(), finished_at = NULL,"
        " lease = $2, leased_until = now() - interval '1 s' WHERE source_id = $1",
        told.id,
        uuid7(),
    )


async def test_a_burst_beyond_the_lane_arrives_completely(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    await shop.endpoint()
    told = [event(shop.id, sequence=n, score=n % 100) for n in range(300)]
    async with dispatching(settings):
        await publish(broker, *told)
        received = {(await receiver.next()).delivery for _ in told}
        await shop.idle()
    assert len(received) == 300
    assert receiver.nothing_more()


async def test_stopping_finishes_what_is_in_flight_and_releases_the_rest(
    settings: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    await shop.endpoint()
    may_answer = asyncio.Event()
    receiver.before_answer = may_answer.wait
    told = [event(shop.id, sequence=n, score=n) for n in range(6)]
    async with dispatching(settings.model_copy(update={"in_flight": 2})):
        await publish(broker, *told)
        await receiver.next()
        await receiver.next()

        async def all_inserted() -> bool:
            return bool(await shop.pool.fetchval("SELECT count(*) = 6 FROM dispatcher.deliveries"))

        await eventually(all_inserted)
        asyncio.get_running_loop().call_later(0.2, may_answer.set)
    rows = await shop.pool.fetch("SELECT status, lease, count(*) AS n FROM dispatcher.deliveries GROUP BY 1, 2")
    assert {(row["status"], row["lease"], row["n"]) for row in rows} == {("delivered", None, 2), ("pending", None, 4)}
