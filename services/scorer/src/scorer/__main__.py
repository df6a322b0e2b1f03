"""`python -m scorer`"""

import asyncio
from functools import partial

from scorer import commands, sweep
from scorer.settings import ScorerSettings
from scorer.store import published, stats
from scorer.worker import Scorer, parse
from shared.commands import Commands, parse_asked
from shared.service import Service, every, health_app, main, running

HOUR = 3600.0


async def run(settings: ScorerSettings, stop: asyncio.Event) -> None:
    """The service, until `stop` is set and everything begun is finished."""
    async with running("scorer", "scorer", settings, stop) as service:
        scorer = Scorer(service.outbox, service.pool, service.vault)
        await service.listen(health_app(service))
        service.watch(scorer.rescoring)
        _consume(service, scorer)
        service.work("rescoring", every(settings.rescore_interval, partial(sweep.rescore_all_due, scorer), stop))
        service.work("sweep", sweep.sweep_nightly(scorer, settings.sweep_hour, stop))
        service.work("jobs", every(settings.jobs_interval, partial(sweep.do_jobs, scorer, stop), stop))
        service.work("stats", every(settings.fold_interval, partial(stats.fold_all, service.pool), stop))
        service.work("upkeep", every(HOUR, partial(_upkeep, service, scorer, settings), stop))
        await service.until_stopped()


def _consume(service: Service, scorer: Scorer) -> None:
    owner = Commands(
        outbox=service.outbox,
        broker=service.broker,
        schema="scorer",
        handlers=commands.handlers(scorer),
        vault=service.vault,
    )
    service.work("scorer.facts", service.consume("scorer.facts", parse, scorer.process))
    service.work("scorer.backfill", service.consume("scorer.backfill", parse, scorer.process_history))
    service.work("scorer.commands", service.consume("scorer.commands", parse_asked, owner.process))
    service.work("scorer.actions", service.consume("scorer.actions", parse_asked, owner.process))  # of rules


async def _upkeep(service: Service, scorer: Scorer, settings: ScorerSettings) -> None:
    keep = {"scorer.events": settings.event_days, "scorer.timeline": settings.timeline_days}
    await service.upkeep(scorer.partitions, keep)
    async with service.pool.acquire() as connection:
        await published.forget_outcomes(connection, settings.outcome_days)


if __name__ == "__main__":
    main("scorer", ScorerSettings, run)
