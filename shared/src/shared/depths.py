"""How many messages wait in queues and lie dead beside them, as the broker tells whoever asks."""

from collections.abc import Sequence

from shared.broker import Broker
from shared.metrics import QUEUE_MESSAGES
from shared.topology import dead


async def measure(broker: Broker, queues: Sequence[str]) -> None:
    """Set the gauges of these queues and of their dead ones. Waits for the connection.

    Raises:
        BROKER_ERRORS: the connection broke, or there is no such queue.
    """
    channel = await broker.channel(prefetch=1)
    try:
        for name in (*queues, *map(dead, queues)):
            declared = await channel.queue_declare(broker.prefix + name, passive=True)
            QUEUE_MESSAGES.labels(name).set(declared.message_count or 0)
    finally:
        if not channel.is_closed:
            await channel.close()
