"""Dead messages through the API, on a real broker: looked at, put back, sent back."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from api import dead
from api.errors import ApiError
from api.stores import create_store
from shared.broker import Broker, Outgoing
from shared.ids import derived, uuid7
from shared.secrets import Vault
from shared.topology import DIRECT
from support.api_client import ApiClient
from support.owner import owning
from support.queues import depth, put, take


async def bury(
    broker: Broker, queue: str, body: bytes, *, message_id: str | None = None, reason: str = "rejected"
) -> str:
    """As the consumer does it; returns the message's own id."""
    message_id = message_id or str(uuid7())
    headers = {
        "x-trustlens-reason": reason,
        "x-trustlens-error": "ValueError at somewhere:1",
        "x-trustlens-service": "scorer",
        "x-trustlens-message-id": message_id,
        "x-trustlens-at": "2026-06-05T14:23:00+00:00",
    }
    copy = Outgoing(derived(message_id, queue), DIRECT, f"{queue}.dead", body, headers)
    assert await broker.publish([copy]) == [copy]
    return message_id


def of(api: ApiClient, **fields: Any) -> bytes:
    return json.dumps({"store_id": str(api.store.id), **fields}).encode()


async def listed(api: ApiClient, query: str = "") -> list[Any]:
    answer = await api.get(f"/dead{query}")
    assert answer.status == 200, answer.text
    messages: list[Any] = answer.json
    return messages


async def test_dead_messages_are_listed_queue_by_queue_the_oldest_first(api: ApiClient, broker: Broker) -> None:
    later = await bury(broker, "dispatcher.events", of(api))
    first, second = [await bury(broker, "scorer.facts", of(api, n=n)) for n in range(2)]

    assert [message["id"] for message in await listed(api)] == [first, second, later]
    assert (await listed(api))[0] == {
        "id": first,
        "queue": "scorer.facts",
        "reason": "rejected",
        "error": "ValueError at somewhere:1",
        "service": "scorer",
        "at": "2026-06-05 14:23:00",
        "size": len(of(api, n=0)),
    }
    assert [message["id"] for message in await listed(api, "?queue=dispatcher.events")] == [later]
    page = await api.get("/dead?per_page=2&page=2")
    assert ([message["id"] for message in page.json], page.headers["X-WP-Total"]) == ([later], "3")
    assert (await api.get("/dead?queue=scorer.fact")).status == 400


async def test_looking_takes_nothing_away_and_keeps_the_order_however_often(api: ApiClient, broker: Broker) -> None:
    ids = [await bury(broker, "scorer.facts", of(api, n=n)) for n in range(5)]
    for _ in range(2 * dead.WORN + 5):  # more than RabbitMQ 4 stands of the same message
        assert [message["id"] for message in await listed(api)] == ids
    assert await depth(broker, "scorer.facts.dead") == 5
    found = await take(broker, "scorer.facts.dead", 5)
    assert [one.headers["x-trustlens-message-id"] for one in found] == ids
    assert max(int(str(one.headers.get("x-delivery-count", 0))) for one in found) <= dead.WORN
    assert found[0].headers["x-trustlens-at"] == "2026-06-05T14:23:00+00:00"


async def test_those_who_look_at_once_all_find_everything(api: ApiClient, broker: Broker) -> None:
    ids = [await bury(broker, "scorer.facts", of(api, n=n)) for n in range(20)]
    for found in await asyncio.gather(*(listed(api, "?per_page=100") for _ in range(8))):
        assert [message["id"] for message in found] == ids


async def test_a_body_is_shown_to_who_asks_for_it(api: ApiClient, broker: Broker) -> None:
    message_id = await bury(broker, "scorer.facts", b"no JSON \xff")
    shown = (await api.get(f"/dead/{message_id}")).json
    assert (shown["id"], shown["body"], shown["size"]) == (message_id, "no JSON \ufffd", 9)
    assert "body" not in (await listed(api))[0]


async def test_another_store_s_messages_are_not_there(api: ApiClient, broker: Broker) -> None:
    theirs = await bury(broker, "scorer.facts", json.dumps({"store_id": str(uuid7())}).encode())
    nobody_s = await bury(broker, "scorer.facts", b"{}")
    assert [message["id"] for message in await listed(api)] == [nobody_s]
    assert (await api.get(f"/dead/{theirs}")).status == 404
    assert (await api.post(f"/dead/{theirs}/redrive")).status == 404
    assert await depth(broker, "scorer.facts.dead") == 2


async def test_of_several_stores_none_sees_a_message_that_names_none(
    api: ApiClient, broker: Broker, pool: asyncpg.Pool, vault: Vault
) -> None:
    nobody_s = await bury(broker, "scorer.facts", b'{"email": "jane@exam')
    async with pool.acquire() as connection:
        await create_store(connection, vault, url="https://other.example", name="Other")
    assert await listed(api) == []
    assert (await api.get(f"/dead/{nobody_s}")).status == 404
    assert (await api.post(f"/dead/{nobody_s}/redrive")).status == 404
    assert await depth(broker, "scorer.facts.dead") == 1


async def test_a_message_goes_back_to_its_queue_and_leaves_the_dead(api: ApiClient, broker: Broker) -> None:
    before, message_id, after = [await bury(broker, "scorer.facts", of(api, n=n)) for n in range(3)]
    answer = await api.post(f"/dead/{message_id}/redrive")
    assert (answer.status, answer.json["id"], answer.json["queue"]) == (200, message_id, "scorer.facts")

    (found,) = await take(broker, "scorer.facts")
    assert found.body == of(api, n=1)
    assert [message["id"] for message in await listed(api)] == [before, after]
    assert (await api.post(f"/dead/{message_id}/redrive")).status == 404


async def test_an_id_that_is_dead_in_two_queues_is_told_apart_by_the_queue(api: ApiClient, broker: Broker) -> None:
    message_id = str(uuid7())
    for queue in ("rule-engine.events", "dispatcher.events"):
        await bury(broker, queue, of(api), message_id=message_id)
    answer = await api.post(f"/dead/{message_id}/redrive?queue=dispatcher.events")
    assert answer.json["queue"] == "dispatcher.events"
    assert [message["queue"] for message in await listed(api)] == ["rule-engine.events"]


async def test_a_message_that_its_owner_buries_is_listed_with_the_reason_and_dies_again_if_nothing_changed(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, until: Any
) -> None:
    async def there() -> bool:
        return await depth(broker, "dispatcher.commands.dead") == 1

    async with owning("dispatcher", pool, broker, {}):
        await put(broker, "dispatcher.commands", [b"not a command"])
        await until(there)
        (message,) = await listed(api)
        assert (message["reason"], message["service"]) == ("unparseable", "dispatcher")
        assert message["error"].startswith("Invalid JSON")
        died = datetime.fromisoformat(message["at"]).replace(tzinfo=UTC)
        assert abs((datetime.now(UTC) - died).total_seconds()) < 60
        assert (await api.post(f"/dead/{message['id']}/redrive")).status == 200
        await until(there)
    assert [again["id"] for again in await listed(api)] == [message["id"]]


async def test_what_is_not_confirmed_stays_dead(api: ApiClient, broker: Broker) -> None:
    message_id = await bury(broker, "scorer.facts", of(api))
    channel = await broker.channel(prefetch=0)
    await channel.queue_delete(broker.prefix + "scorer.facts")  # so that the copy cannot be routed
    answer = await api.post(f"/dead/{message_id}/redrive")
    assert (answer.status, answer.json["code"]) == (503, "trustlens_no_answer")
    assert [message["id"] for message in await listed(api)] == [message_id]


class DyingBroker(Broker):
    """Its connection breaks as soon as something is published and confirmed."""

    async def publish(self, messages: Sequence[Outgoing]) -> list[Outgoing]:
        confirmed = await super().publish(messages)
        await self.close()
        return confirmed


async def test_whoever_dies_between_confirm_and_ack_leaves_the_message_in_both_places(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, amqp_url: str, until: Any
) -> None:
    async def returned() -> bool:
        return await depth(broker, "scorer.facts.dead") == 1

    message_id = await bury(broker, "scorer.facts", of(api))
    dying = DyingBroker(amqp_url, service="dying", prefix=broker.prefix)
    running = asyncio.create_task(dying.run())
    with pytest.raises(ApiError) as refused:
        await dead.redrive(pool, dying, api.store.id, message_id, ["scorer.facts"])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert refused.value.code == "trustlens_no_answer"
    assert (await take(broker, "scorer.facts"))[0].body == of(api)
    await until(returned)
    assert [message["id"] for message in await listed(api)] == [message_id]


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b"[" * 100_000, b'{"store_id": 7}', b"\xff"])
async def test_a_body_of_any_kind_names_no_store(body: bytes) -> None:
    assert dead._store_of(body) is None
