"""Endpoints that hang hold nothing but their own lanes."""

import asyncio
from collections import Counter

import pytest

from dispatcher.settings import DispatcherSettings
from shared.broker import Broker
from support import dispatcher_parts
from support.dispatcher_parts import World
from support.dispatcher_shop import Shop
from support.dispatching import dispatching, event, local_settings, publish

CAP = 4
HUNG, HEALTHY, EVENTS = 10, 40, 30


@pytest.fixture
def settings(database_url: str, amqp_url: str, name_prefix: str, secret_keys: str) -> DispatcherSettings:
    urls = {"database_url": database_url, "amqp_url": amqp_url, "name_prefix": name_prefix, "secret_keys": secret_keys}
    return local_settings(**urls).model_copy(update={"in_flight": CAP})


class Hanging:
    """Answers nobody until it is let go, and counts who waits."""

    def __init__(self) -> None:
        self.waiting: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._go = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.waiting[path] += 1
        self.most[path] = max(self.most[path], self.waiting[path])
        await self._go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.waiting[path] -= 1
        writer.close()

    def let_go(self) -> None:
        self._go.set()


async def test_every_healthy_endpoint_gets_everything_while_a_fifth_of_them_hang(
    settings: DispatcherSettings, broker: Broker, shop: Shop
) -> None:
    hanging = Hanging()
    server = await asyncio.start_server(hanging.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hung = [await shop.endpoint(f"/hung/{n}", timeout=30) for n in range(HUNG)]
    await shop.pool.execute(
        "UPDATE dispatcher.endpoints SET url = replace(url, $2, $3) WHERE id = ANY($1::uuid[])",
        hung,
        shop.receiver.url,
        f"http://127.0.0.1:{port}",
    )
    healthy = [await shop.endpoint(f"/healthy/{n}") for n in range(HEALTHY)]
    async with dispatching(settings):
        await publish(broker, *(event(shop.id, sequence=n, score=n) for n in range(EVENTS)))
        received = Counter([(await shop.receiver.next()).path for _ in range(HEALTHY * EVENTS)])
        assert received == {f"/healthy/{n}": EVENTS for n in range(HEALTHY)}
        assert len(received) == len(healthy)
        assert hanging.most.total() <= HUNG * CAP
        assert set(hanging.most.values()) == {CAP}
        leased = await shop.pool.fetch(
            "SELECT target_id, count(*) AS n FROM dispatcher.deliveries WHERE lease IS NOT NULL"
            " AND target_id = ANY($1::uuid[]) GROUP BY 1",
            hung,
        )
        assert {row["n"] for row in leased} == {2 * CAP}, "the rest waits in the database"
        hanging.let_go()
        await shop.idle()
    server.close()
    assert shop.receiver.nothing_more()
    assert await shop.pool.fetchval("SELECT count(*) = $1 FROM dispatcher.deliveries WHERE status = 'delivered'", 1500)


async def test_a_target_that_takes_one_message_per_second_gets_the_first_ones_singly_too(shop: Shop) -> None:
    endpoint_id = await shop.endpoint(format="slack")
    slack = "https://hooks.slack.com/services/T0/B0/x"
    await shop.pool.execute("UPDATE dispatcher.endpoints SET url = $2 WHERE id = $1", endpoint_id, slack)
    world = World()
    async with dispatcher_parts.dispatcher(shop, world) as one:
        await one.worker.process_events([event(shop.id, sequence=n, score=n) for n in range(5)])
        await world.asked.wait()
        assert len(world.requests) == 1
        await one.traffic.finish(within=5)
    assert await shop.pool.fetchval("SELECT count(*) FROM dispatcher.deliveries WHERE lease IS NULL") == 5
