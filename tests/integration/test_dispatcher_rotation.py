"""A secret is rotated while deliveries go on: receivers with the old one, with the new one, and with the library."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from dispatcher.settings import DispatcherSettings
from shared.broker import Broker
from shared.commands import Asker
from support.dispatcher_shop import SECRET, Shop
from support.dispatching import Received, Receiver, dispatching, event, local_settings, publish
from support.seed.verify import verify_trustlens_webhook

NEW = "another secret of thirty-two characters"


@pytest.fixture
async def dispatcher(
    database_url: str, amqp_url: str, name_prefix: str, secret_keys: str
) -> AsyncIterator[DispatcherSettings]:
    settings = local_settings(
        database_url=database_url, amqp_url=amqp_url, name_prefix=name_prefix, secret_keys=secret_keys
    )
    async with dispatching(settings):
        yield settings


async def ask(broker: Broker, shop: Shop, command: str, data: Mapping[str, Any]) -> Any:
    answer = await Asker(broker).ask("dispatcher.commands", command, store_id=shop.id, actor="key:test", data=data)
    assert answer.refusal is None, answer.refusal
    return answer.body


async def delivered(broker: Broker, shop: Shop, sequence: int) -> Received:
    await publish(broker, event(shop.id, sequence=sequence, score=sequence))
    return await shop.receiver.next()


def seed_accepts(received: Received, secret: str, header: str = "X-TrustLens-Signature") -> bool:
    timestamp = received.headers["X-TrustLens-Timestamp"]
    signature = received.headers.get(header, "")
    return bool(verify_trustlens_webhook(received.body, signature, timestamp, secret))


async def overlap_is_over(shop: Shop, endpoint_id: UUID) -> None:
    """As a day later: the end of the overlap is moved here, since the receiver's own clock must stay."""
    await shop.pool.execute("UPDATE dispatcher.endpoints SET overlap_until = now() WHERE id = $1", endpoint_id)
    await shop.pool.execute("UPDATE dispatcher.revisions SET revision = revision + 1 WHERE store_id = $1", shop.id)


async def test_the_old_secret_is_accepted_until_the_overlap_ends_and_the_new_one_from_then_on(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint()
    before = await delivered(broker, shop, 1)
    await ask(broker, shop, "webhook.rotate", {"id": str(endpoint_id), "secret": NEW})
    during = [await delivered(broker, shop, n) for n in range(2, 6)]
    await overlap_is_over(shop, endpoint_id)
    after = await delivered(broker, shop, 6)

    assert all(seed_accepts(received, SECRET) for received in [before, *during])
    assert all(seed_accepts(received, NEW, "X-TrustLens-Signature-Next") for received in during)
    assert seed_accepts(after, NEW)
    assert not seed_accepts(after, SECRET)
    assert "X-TrustLens-Signature-Next" not in before.headers
    assert "X-TrustLens-Signature-Next" not in after.headers


async def test_the_overlap_can_be_ended_at_once(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint()
    made = await ask(broker, shop, "webhook.rotate", {"id": str(endpoint_id)})
    assert seed_accepts(await delivered(broker, shop, 1), SECRET)
    await ask(broker, shop, "webhook.end_overlap", {"id": str(endpoint_id)})
    after = await delivered(broker, shop, 2)
    assert seed_accepts(after, made["secret"])
    assert not seed_accepts(after, SECRET)


async def test_a_rotation_without_overlap_changes_the_secret_now(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint()
    await ask(broker, shop, "webhook.rotate", {"id": str(endpoint_id), "secret": NEW, "overlap": 0})
    received = await delivered(broker, shop, 1)
    assert seed_accepts(received, NEW)
    assert "X-TrustLens-Signature-Next" not in received.headers


async def test_a_second_rotation_within_the_overlap_keeps_the_oldest_secret_and_drops_the_one_between(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint()
    between = await ask(broker, shop, "webhook.rotate", {"id": str(endpoint_id)})
    await ask(broker, shop, "webhook.rotate", {"id": str(endpoint_id), "secret": NEW})
    received = await delivered(broker, shop, 1)
    assert seed_accepts(received, SECRET)
    assert seed_accepts(received, NEW, "X-TrustLens-Signature-Next")
    assert not seed_accepts(received, between["secret"], "X-TrustLens-Signature-Next")


async def test_a_rotation_after_one_that_is_over_begins_with_its_secret(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    endpoint_id = await shop.endpoint()
    first = await ask(broker, shop, "webhook.rotate", {"id": str(endpoint_id)})
    await overlap_is_over(shop, endpoint_id)
    await ask(broker, shop, "webhook.rotate", {"id": str(endpoint_id), "secret": NEW})
    received = await delivered(broker, shop, 1)
    assert seed_accepts(received, first["secret"])
    assert seed_accepts(received, NEW, "X-TrustLens-Signature-Next")


def library_accepts(received: Received, secret: str) -> bool:
    try:
        Webhook(secret).verify(received.body, received.headers)
    except WebhookVerificationError:
        return False
    return True


async def test_the_published_library_accepts_what_it_asked_for_before_during_and_after_a_rotation(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    made = await ask(broker, shop, "webhook.create", {"url": f"{receiver.url}/standard", "standard_webhooks": True})
    endpoint_id, old = UUID(made["id"]), made["secret"]
    before = await delivered(broker, shop, 1)
    new = (await ask(broker, shop, "webhook.rotate", {"id": made["id"]}))["secret"]
    during = await delivered(broker, shop, 2)
    await overlap_is_over(shop, endpoint_id)
    after = await delivered(broker, shop, 3)

    assert old.startswith("whsec_")
    assert new.startswith("whsec_")
    accepted = [[library_accepts(received, secret) for secret in (old, new)] for received in (before, during, after)]
    assert accepted == [[True, False], [True, True], [False, True]]
    assert before.headers["webhook-id"] == before.headers["X-TrustLens-Delivery"]
    assert seed_accepts(before, old), "ours beside it, by the same secret as text"


async def test_standard_headers_cannot_be_asked_for_while_a_secret_of_another_kind_signs(
    dispatcher: DispatcherSettings, broker: Broker, shop: Shop, receiver: Receiver
) -> None:
    made = await ask(broker, shop, "webhook.create", {"url": receiver.url, "standard_webhooks": True})
    off = {"id": made["id"], "fields": {"standard_webhooks": False}}
    await ask(broker, shop, "webhook.update", off)
    await ask(broker, shop, "webhook.rotate", {"id": made["id"], "secret": NEW})
    on = {"id": made["id"], "fields": {"standard_webhooks": True}}
    answer = await Asker(broker).ask(
        "dispatcher.commands", "webhook.update", store_id=shop.id, actor="key:test", data=on
    )
    assert answer.refusal is not None
    assert set(answer.refusal.params) == {"standard_webhooks"}
