"""`python -m rule_engine`"""

import asyncio
from datetime import UTC, datetime
from functools import partial

import structlog
import uvloop

from rule_engine import commands, store
from rule_engine.settings import RuleEngineSettings
from rule_engine.worker import RuleEngine, parse_event
from shared import log
from shared.commands import Commands, parse_asked
from shared.consumer import Consumer
from shared.service import Service, every, health_app, running, stop_on_signals
from shared.settings import load

DAY = 86400.0
COOLDOWN_DAYS = 31
"""The longest cooldown is 30 days."""


async def run(settings: RuleEngineSettings, stop: asyncio.Event) -> None:
    """The service, until `stop` is set and everything begun is finished."""
    async with running("rule-engine", "rule_engine", settings, stop) as service:
        engine = RuleEngine(service.outbox, service.pool)
        await service.listen(health_app(service))
        _consume(service, engine, settings)
        service.work("upkeep", every(DAY, partial(_upkeep, service, engine), stop))
        await service.until_stopped()


def _consume(service: Service, engine: RuleEngine, settings: RuleEngineSettings) -> None:
    events = Consumer(
        queue="rule-engine.events",
        schema="rule_engine",
        broker=service.broker,
        pool=service.pool,
        parse=parse_event,
        process=engine.process,
        batch_size=settings.batch_size,
    )
    service.work("rule-engine.events", events.run(service.stop))
    owner = Commands(
        outbox=service.outbox,
        broker=service.broker,
        schema="rule_engine",
        handlers=commands.handlers(service.vault, settings.reach),
        vault=service.vault,
    )
    asked = Consumer(
        queue="rule-engine.commands",
        schema="rule_engine",
        broker=service.broker,
        pool=service.pool,
        parse=parse_asked,
        process=owner.process,
        batch_size=settings.batch_size,
    )
    service.work("rule-engine.commands", asked.run(service.stop))


async def _upkeep(service: Service, engine: RuleEngine) -> None:
    await engine.partitions.cover_ahead(service.pool, datetime.now(UTC))
    await store.forget_cooldowns(service.pool, COOLDOWN_DAYS)


def main() -> None:
    settings = load(RuleEngineSettings)
    log.configure("rule-engine", level=settings.log_level, form=settings.log_format)
    structlog.get_logger().info("service.starting")
    uvloop.run(_with_signals(settings))


async def _with_signals(settings: RuleEngineSettings) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await run(settings, stop)


if __name__ == "__main__":
    main()
