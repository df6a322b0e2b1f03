"""How many messages wait in the queues and lie dead beside them, as the broker tells whoever asks."""

from shared.broker import Broker
from shared.metrics import QUEUE_MESSAGES
from shared.topology import QUEUES, dead


async def measure(broker: Broker) -> None:
    """Set the gauges of all queues. Waits for the connection.

    Raises:
        BROKER_ERRORS: the connection broke, or there is no such queue.
    """
    channel = await broker.channel(prefetch=1)
    try:
        for name in (name for queue in QUEUES for name in (queue.name, dead(queue.name))):
            declared = await channel.queue_declare(broker.prefix + name, passive=True)
            QUEUE_MESSAGES.labels(name).set(declared.message_count or 0)
    finally:
        if not channel.is_closed:
            await channel.close()
