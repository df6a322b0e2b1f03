"""A service's life: connect, check, run named tasks, stop on a signal, drain, close pools last."""

import asyncio
import gc
import resource
import signal
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
import uvloop
from aiohttp import web

from shared import db, health, traces
from shared import log as logs
from shared.broker import BROKER_ERRORS, Broker
from shared.consumer import Consumer, Message
from shared.depths import measure
from shared.metrics import STEP_SECONDS
from shared.outbox import Outbox
from shared.pause import pause
from shared.secrets import Vault
from shared.settings import Settings, load
from shared.steps import STUCK_SECONDS, SUSPICIOUS_SECONDS, Step

log = structlog.get_logger()

S = TypeVar("S", bound=Settings)
T = TypeVar("T")

COMMAND_DAYS = 30
"""How long a repeated command gets its first answer."""
SUSPECT_DAYS = 7
"""How long a message's unfinished tries are remembered."""
JOB_DAYS = 30
"""How long it can be read what became of a job."""
WATCH_EVERY = 5.0
"""Seconds between two looks at how long main tasks have been at their steps."""
DEPTHS_EVERY = 15.0
"""Seconds between two looks at the queues: as often as metrics are usually fetched."""
CANCELLED_AGAIN = 1.0
"""Seconds after which a task that goes on is cancelled once more."""


class StoppedError(Exception):
    """It was told to stop before it had begun: there is nothing to finish."""


@dataclass(slots=True)
class Service:
    """What every service has. `work` ends by itself after `stop`; `plumbing` outlives it and is cancelled."""

    name: str
    schema: str
    settings: Settings
    pool: db.Pool
    broker: Broker
    outbox: Outbox
    vault: Vault
    stop: asyncio.Event
    port: int = 0
    steps: list[Step] = field(default_factory=list)
    """Of the main tasks: while one stands too long, the service is not alive."""
    _work: set["asyncio.Task[None]"] = field(default_factory=set)
    _plumbing: set["asyncio.Task[None]"] = field(default_factory=set)

    def work(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """A long task that returns once `stop` is set and it has finished what it had begun."""
        self._work.add(asyncio.create_task(coroutine, name=name))

    def plumbing(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """A long task that the work needs until its end."""
        self._plumbing.add(asyncio.create_task(coroutine, name=name))

    def consume(
        self, queue: str, parse: Callable[[Message], T], process: Callable[[Sequence[T]], Awaitable[None]]
    ) -> Coroutine[Any, Any, None]:
        """A consumer's long task, for `work`."""
        consumer = Consumer(
            queue=queue,
            schema=self.schema,
            broker=self.broker,
            pool=self.pool,
            parse=parse,
            process=process,
            batch_size=self.settings.batch_size,
        )
        self.watch(consumer.step)
        return consumer.run(self.stop)

    def watch(self, *steps: Step) -> None:
        """Count these among the main tasks' steps."""
        self.steps += steps
        for step in steps:
            STEP_SECONDS.labels(step.task).set_function(partial(_seconds, step))

    @property
    def stuck_seconds(self) -> float:
        """A statement may take as long as it is allowed to."""
        return max(STUCK_SECONDS, self.settings.statement_seconds)

    async def excuse(self) -> None:
        """Let the steps' time begin anew while what they may wait for is away. A long task."""
        while True:
            await asyncio.sleep(WATCH_EVERY)
            await self.look_at_steps()

    async def look_at_steps(self, suspicious: float = SUSPICIOUS_SECONDS) -> None:
        now = time.monotonic()
        slow = any(step.seconds(now) > suspicious for step in self.steps)
        if slow and not (self.broker.connected and await db.accepts(self.settings.database_url)):
            for step in self.steps:
                step.excuse()

    async def look_at_queues(self) -> None:
        """Tell how much waits in all queues, also where those who take from them are gone. A long task."""
        while True:
            try:
                await measure(self.broker)
            except BROKER_ERRORS as error:
                log.info("service.queues_not_seen", error=type(error).__name__)
            await asyncio.sleep(DEPTHS_EVERY)

    async def upkeep(self, partitions: db.Partitions, keep_days: Mapping[str, int]) -> None:
        """What each service does for its tables now and then: partitions ahead, old rows away."""
        now = datetime.now(UTC)
        await partitions.cover_ahead(self.pool, now)
        for table, days in keep_days.items():
            await db.drop_partitions(self.pool, table, now - timedelta(days=days))
        for table, column, days in (
            ("commands_seen", "seen_at", COMMAND_DAYS),
            ("suspects", "last_try_at", SUSPECT_DAYS),
            ("jobs", "finished_at", JOB_DAYS),
        ):
            await self.pool.execute(
                f"DELETE FROM {self.schema}.{table} WHERE {column} < $1", now - timedelta(days=days)
            )

    async def listen(self, app: web.Application) -> None:
        """Serve health and metrics (and whatever `app` has) until the service ends."""
        runner, self.port = await health.serve(app, self.settings.host, self.settings.port)
        self.plumbing("http", _until_cancelled(runner.cleanup))
        log.info("service.listening", port=self.port)

    async def until_stopped(self) -> None:
        """Wait for `stop`; a task that ends before that ends the service with its error."""
        stopping = asyncio.create_task(self.stop.wait(), name="stop")
        tasks = self._work | self._plumbing
        try:
            await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            ended = [task for task in tasks if task.done()]
            if ended and not self.stop.is_set():
                log.error("service.task_ended", task=ended[0].get_name())
                ended[0].result()
                raise RuntimeError(f"the task {ended[0].get_name()} ended by itself")
        finally:
            stopping.cancel()
            self.stop.set()

    async def drain(self) -> None:
        """Let the work finish within the deadline, hand what it sent to the broker, then cancel the rest."""
        log.info("service.draining")
        if self._work:
            _, late = await asyncio.wait(self._work, timeout=self.settings.drain_seconds)
            await _cancel(late)
        try:
            async with asyncio.timeout(self.settings.drain_seconds / 4):
                await self.outbox.drained()
        except TimeoutError:
            log.warning("service.outbox_left", hint="the sweeper of another replica, or the next start, publishes it")
        await _cancel(self._plumbing)
        log.info("service.stopped")


def _seconds(step: Step) -> float:
    return step.seconds(time.monotonic())


async def _until_cancelled(clean_up: Callable[[], Awaitable[None]]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await clean_up()


async def _cancel(tasks: "Collection[asyncio.Task[Any]]") -> None:
    """Until they have ended. Once is not enough: before Python 3.12, a library's `wait_for` whose answer comes in the
    same moment keeps the cancellation to itself.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CANCELLED_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def running(name: str, schema: str, settings: Settings, stop: asyncio.Event) -> AsyncIterator[Service]:
    """The service with its plumbing started; on leaving it is drained and closed.

    Raises:
        SchemaTooOldError: the database lacks migrations this code needs.
        StoppedError: `stop` was set before Postgres answered.
    """
    vault = Vault(settings.secret_keys)
    connecting = db.connect(
        settings.database_url,
        size=settings.pool_size,
        application=name,
        statement_seconds=settings.statement_seconds,
    )
    pool = await _unless(stop, connecting)
    try:
        await db.require_schema(pool)
        broker = Broker(settings.amqp_url, service=name, prefix=settings.name_prefix)
        outbox = Outbox(pool, broker, schema)
        service = Service(name, schema, settings, pool, broker, outbox, vault, stop)
        service.plumbing("broker", broker.run())
        service.plumbing("outbox.publisher", outbox.run_publisher())
        service.plumbing("outbox.sweeper", outbox.run_sweeper())
        service.watch(*outbox.steps)
        service.plumbing("excuses", service.excuse())
        service.plumbing("queues", service.look_at_queues())
        try:
            yield service
        finally:
            stop.set()
            await service.drain()
            await broker.close()
    finally:
        await pool.close()


async def _unless(stop: asyncio.Event, wanted: Coroutine[Any, Any, T]) -> T:
    """
    Raises:
        StoppedError: `stop` was set first.
    """
    tasks = (asyncio.create_task(wanted), asyncio.create_task(stop.wait()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise StoppedError
        return tasks[0].result()
    finally:
        await _cancel(tasks)


async def every(seconds: float, work: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
    """Do it now and then, until `stop`. A transient failure waits for the next turn. A long task."""
    while True:
        try:
            await work()
        except Exception as error:
            if not db.is_transient(error):
                raise
            log.warning("service.turn_skipped", error=type(error).__name__)
        if await pause(seconds, stop):
            return


def main(name: str, kind: type[S], run: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """A service's process: settings from the environment, logs, and `run` until SIGTERM or SIGINT. 1: it failed."""
    settings = load(kind)
    if settings.otlp_endpoint:
        traces.start(name, settings.otlp_endpoint)
    logs.configure(name, level=settings.log_level, form=settings.log_format)
    log.info("service.starting")
    _collect_seldom()
    _open_many()
    try:
        uvloop.run(_until_signalled(settings, run))
    except StoppedError:
        log.info("service.stopped")
    except Exception as error:  # noqa: BLE001  # Python would tell of it in lines of its own, with values
        _tell_end(error)
        raise SystemExit(1) from None
    finally:
        traces.stop()


def _tell_end(error: Exception) -> None:
    """In the error's own words only where they are about the installation: others may repeat a customer's data."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    words = isinstance(error, db.SchemaTooOldError | OSError) or db.is_misconfigured(error)
    log.error(
        "service.failed",
        error=type(error).__name__,
        why=str(error) if words else None,
        trace="".join(traceback.format_tb(error.__traceback__)),
    )


def _collect_seldom() -> None:
    """What was imported lives for ever, and a batch makes more objects than the collector's default waits for.

    Measured on the scorer: 15 % of its time was spent looking for garbage that reference counts had freed already.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _open_many() -> None:
    """As many connections as we may have. The 1,024 that a shell gives us are few: 64 endpoints that hang take them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # where there is no end to it, the system has one of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _until_signalled(settings: S, run: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


def health_app(service: Service) -> web.Application:
    """Health and metrics of a worker: ready = Postgres answers and the broker is connected."""

    async def broker() -> bool:
        return service.broker.connected

    app = web.Application()
    health.add_routes(
        app,
        {"postgres": lambda: db.answers(service.pool), "broker": broker},
        steps=service.steps,
        stuck_seconds=service.stuck_seconds,
    )
    return app
