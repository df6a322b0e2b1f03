"""The connection to RabbitMQ, and what becomes of it on a bad network."""

import asyncio
from urllib.parse import urlsplit

from local_stack.rabbitmq import AMQP_HEADER
from shared.broker import Broker
from support.cable import Cable

FRAME_HEADER, FRAME_END = 7, 1
"""Bytes (AMQP 0-9-1 §2.3.5): the last four of the header say how many are between them."""


async def first_frame(amqp_url: str) -> int:
    """How long Connection.Start is."""
    server = urlsplit(amqp_url)
    reader, writer = await asyncio.open_connection(server.hostname, server.port)
    writer.write(AMQP_HEADER)
    head = await reader.readexactly(FRAME_HEADER)
    writer.close()
    return FRAME_HEADER + int.from_bytes(head[3:]) + FRAME_END


async def test_a_connection_that_ends_in_its_handshake_is_made_again(amqp_url: str, name_prefix: str) -> None:
    start = await first_frame(amqp_url)
    cable = Cable(amqp_url, breaks_after=[0, 1, start - 1, start, start + 1])
    await cable.plug()
    broker = Broker(cable.url, service="tests", prefix=name_prefix)
    running = asyncio.create_task(broker.run())
    connected = asyncio.create_task(broker._up.wait())

    await asyncio.wait({running, connected}, return_when=asyncio.FIRST_COMPLETED)

    assert connected.done(), running.exception()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await cable.pull()
