"""`python -m scorer`"""

import asyncio
from datetime import UTC, datetime
from functools import partial

import structlog
import uvloop

from scorer import commands, store
from scorer.settings import ScorerSettings
from scorer.worker import Scorer, parse_fact
from shared import log
from shared.commands import Commands, parse_asked
from shared.consumer import Consumer
from shared.service import Service, every, health_app, running, stop_on_signals
from shared.settings import load

HOUR = 3600.0


async def run(settings: ScorerSettings, stop: asyncio.Event) -> None:
    """The service, until `stop` is set and everything begun is finished."""
    async with running("scorer", "scorer", settings, stop) as service:
        scorer = Scorer(service.outbox, service.pool, service.vault)
        await service.listen(health_app(service))
        _consume(service, scorer)
        service.work("rescoring", every(settings.rescore_interval, scorer.rescore_all_due, stop))
        service.work("upkeep", every(HOUR, partial(_upkeep, service, scorer, settings), stop))
        await service.until_stopped()


def _consume(service: Service, scorer: Scorer) -> None:
    for queue in ("scorer.facts", "scorer.backfill"):
        facts = Consumer(
            queue=queue,
            schema="scorer",
            broker=service.broker,
            pool=service.pool,
            parse=parse_fact,
            process=scorer.process,
            batch_size=service.settings.batch_size,
        )
        service.work(queue, facts.run(service.stop))
    owner = Commands(outbox=service.outbox, broker=service.broker, schema="scorer", handlers=commands.handlers(scorer))
    asked = Consumer(
        queue="scorer.commands",
        schema="scorer",
        broker=service.broker,
        pool=service.pool,
        parse=parse_asked,
        process=owner.process,
        batch_size=service.settings.batch_size,
    )
    service.work("scorer.commands", asked.run(service.stop))


async def _upkeep(service: Service, scorer: Scorer, settings: ScorerSettings) -> None:
    await scorer.partitions.cover_ahead(service.pool, datetime.now(UTC))
    async with service.pool.acquire() as connection:
        await store.forget_outcomes(connection, settings.outcome_days)


def main() -> None:
    settings = load(ScorerSettings)
    log.configure("scorer", level=settings.log_level, form=settings.log_format)
    structlog.get_logger().info("service.starting")
    uvloop.run(_with_signals(settings))


async def _with_signals(settings: ScorerSettings) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await run(settings, stop)


if __name__ == "__main__":
    main()
