"""`python -m api`"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import structlog
from aiohttp import web

from api import audit, erasure, idempotency, protocol
from api.app import PARTITIONED, build, state_of
from api.ingest.intake import forget_seen
from api.settings import ApiSettings
from api.store import gate
from shared import db
from shared.service import every, main, running

HOUR = 3600.0


async def run(
    settings: ApiSettings, stop: asyncio.Event, *, listening: Callable[[int], object] = lambda _: None
) -> None:
    """The service, until `stop` is set and every request in hand is answered. `listening` is told the port."""
    async with running("api", "api", settings, stop) as service:
        partitions = db.Partitions(*PARTITIONED)
        state = state_of(service, settings, partitions)

        async def broker_answers() -> bool:
            return service.broker.connected

        service.watch(state.intake.step)
        app = build(
            state,
            settings,
            broker_answers=broker_answers,
            steps=service.steps,
            stuck_seconds=service.stuck_seconds,
        )
        runner, service.port = await protocol.serve(
            app, settings.host, settings.port, idle_seconds=settings.idle_seconds
        )
        structlog.get_logger().info("service.listening", port=service.port)
        listening(service.port)
        # The requests in hand end before the intake that they wait for: work before plumbing.
        service.work("http", _until(stop, runner))
        service.plumbing("intake", state.intake.run())
        keep = {"api.raw_input": settings.raw_input_days}
        service.work("upkeep", every(HOUR, partial(service.upkeep, partitions, keep), stop))
        service.work("forgetting", every(HOUR, partial(_forget, service.pool, settings), stop))
        follow = partial(erasure.follow, service.pool, service.vault, service.broker)
        service.work("erasures", every(settings.erasure_seconds, follow, stop))
        service.work("usage", state.usage.run(settings.last_used_seconds, stop))
        service.work("webhooks_seen", state.webhooks_seen.run(settings.last_used_seconds, stop))
        await service.until_stopped()


async def _forget(pool: db.Pool, settings: ApiSettings) -> None:
    """What is kept row by row, and long enough."""
    await forget_seen(pool, settings.input_seen_days)
    await audit.forget(pool, settings.audit_days)
    await gate.forget(pool, datetime.now(UTC), days=settings.gate_history_days)
    await idempotency.forget(pool)


async def _until(stop: asyncio.Event, runner: web.AppRunner) -> None:
    try:
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main("api", ApiSettings, run)
