"""The connection to RabbitMQ, where there is none to be had."""

import asyncio
import socket
import threading
import time

import pytest
import uvloop

from shared.broker import Broker

TRIES = 3


@pytest.mark.timeout(30)
def test_a_server_that_hangs_up_before_the_handshake_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        called = threading.Event()
        threading.Thread(target=_hang_up, args=(server, called), daemon=True).start()
        uvloop.run(_tried_again(server.getsockname()[1], called))


def _hang_up(server: socket.socket, called: threading.Event) -> None:
    for _ in range(TRIES):
        server.accept()[0].close()
    called.set()


async def _tried_again(port: int, called: threading.Event) -> None:
    _keep_busy(asyncio.get_running_loop())
    running = asyncio.create_task(Broker(f"amqp://127.0.0.1:{port}/", service="tests").run())
    calling = asyncio.create_task(asyncio.to_thread(called.wait, 10))
    await asyncio.wait({running, calling}, return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), running.exception()
    assert await calling
    while not running.done():  # a library may keep one cancellation to itself
        running.cancel()
        await asyncio.wait({running}, timeout=1)


def _keep_busy(loop: asyncio.AbstractEventLoop) -> None:
    """So that a connection has ended before anybody asks for its first frame: aiormq has a word of its own for that."""
    time.sleep(0.002)
    loop.call_soon(_keep_busy, loop)
