"""Every exchange and queue, in one place. Arguments are frozen: what must stay changeable is a policy."""

from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractChannel

FACTS = "trustlens.facts"
EVENTS = "trustlens.events"
AUTOMATION = "trustlens.automation"
DIRECT = ""
"""The default exchange: the routing key is the queue's name."""

REDELIVERY_FUSE = 1000
"""Deliveries after which the broker itself gives up. Only a fuse: the services decide what is dead."""


@dataclass(frozen=True, slots=True)
class Queue:
    name: str
    bindings: tuple[tuple[str, str], ...] = ()
    """(exchange, routing key pattern)"""


QUEUES = (
    Queue("scorer.facts", ((FACTS, "live.#"), (AUTOMATION, "#"))),
    Queue("scorer.backfill", ((FACTS, "history.#"),)),
    Queue("scorer.commands"),
    Queue("scorer.actions"),
    Queue("rule-engine.events", ((EVENTS, "#"),)),
    Queue("rule-engine.commands"),
    Queue("dispatcher.events", ((EVENTS, "#"),)),
    Queue("dispatcher.automation", ((AUTOMATION, "#"),)),
    Queue("dispatcher.commands"),
)


def dead(queue: str) -> str:
    """The name of a queue's dead queue."""
    return f"{queue}.dead"


async def declare(channel: AbstractChannel, prefix: str) -> None:
    """Declare everything; idempotent. `prefix` lets several stacks share a broker."""
    exchanges = {
        name: await channel.declare_exchange(prefix + name, aio_pika.ExchangeType.TOPIC, durable=True)
        for name in (FACTS, EVENTS, AUTOMATION)
    }
    for queue in QUEUES:
        await channel.declare_queue(prefix + dead(queue.name), durable=True, arguments={"x-queue-type": "quorum"})
        declared = await channel.declare_queue(
            prefix + queue.name,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-delivery-limit": REDELIVERY_FUSE,
                "x-dead-letter-exchange": DIRECT,
                "x-dead-letter-routing-key": prefix + dead(queue.name),
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            },
        )
        for exchange, key in queue.bindings:
            await declared.bind(exchanges[exchange], key)
