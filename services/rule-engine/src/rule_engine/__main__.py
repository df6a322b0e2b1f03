"""`python -m rule_engine`"""

import asyncio
from collections.abc import Sequence
from functools import partial

from rule_engine import commands, erasure, trials
from rule_engine.settings import RuleEngineSettings
from rule_engine.store import cooldowns
from rule_engine.worker import RuleEngine, parse_event
from shared.commands import Commands, parse_asked
from shared.events import Event
from shared.jobs import Jobs
from shared.service import Service, every, health_app, main, running

HOUR = 3600.0
COOLDOWN_DAYS = 31
"""The longest cooldown is 30 days."""
BACKTESTS_AT_ONCE = 2
"""So that a long one does not hold up the next store's."""


async def run(settings: RuleEngineSettings, stop: asyncio.Event) -> None:
    """The service, until `stop` is set and everything begun is finished."""
    async with running("rule-engine", "rule_engine", settings, stop) as service:
        engine = RuleEngine(service.outbox, service.pool)
        await service.listen(health_app(service))
        _consume(service, engine, settings)
        _backtest(service, settings)
        service.work("upkeep", every(HOUR, partial(_upkeep, service, engine, settings), stop))
        await service.until_stopped()


def _consume(service: Service, engine: RuleEngine, settings: RuleEngineSettings) -> None:
    owner = Commands(
        outbox=service.outbox,
        broker=service.broker,
        schema="rule_engine",
        handlers=commands.handlers(service.vault, settings.reach) | trials.handlers(settings.reach),
        background=trials.background(service.pool, settings.reach)
        | commands.background(service.pool, service.vault, settings.reach),
        vault=service.vault,
    )

    async def process(batch: Sequence[Event]) -> None:
        await engine.process(batch)
        for event in batch:
            if event.type == "customer_erased":
                await erasure.forget(service.pool, service.vault, event)

    service.work("rule-engine.events", service.consume("rule-engine.events", parse_event, process))
    service.work("rule-engine.commands", service.consume("rule-engine.commands", parse_asked, owner.process))


def _backtest(service: Service, settings: RuleEngineSettings) -> None:
    jobs = Jobs(service.pool, service.outbox, "rule_engine", {trials.BACKTEST: trials.page})
    for n in range(BACKTESTS_AT_ONCE):
        queued = partial(jobs.run_queued, service.stop)
        service.work(f"jobs.{n}", every(settings.jobs_interval, queued, service.stop))


async def _upkeep(service: Service, engine: RuleEngine, settings: RuleEngineSettings) -> None:
    keep = {"rule_engine.evaluations": settings.skipped_days, "rule_engine.firings": settings.firing_days}
    await service.upkeep(engine.partitions, keep)
    await cooldowns.forget_cooldowns(service.pool, COOLDOWN_DAYS)
    await cooldowns.forget_hours(service.pool, COOLDOWN_DAYS)


if __name__ == "__main__":
    main("rule-engine", RuleEngineSettings, run)
