"""A Postgres and a RabbitMQ of the bench's own, tracks to run on, and the scorer as the real service.

The service that is measured has one core for itself; the servers and this process share the others.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg

from api.stores import create_store
from bench import metrics
from bench.metrics import Reading
from bench.progress import Show
from cli import progress
from local_stack import passwords, ports
from local_stack.errors import StackError
from local_stack.folder import CHECKOUT, Folder
from local_stack.postgres import DATABASE
from local_stack.services import SERVICES, STOP_SIGNALS, ServiceProcess
from local_stack.stack import Stack
from shared import db, migrations, topology
from shared.broker import Broker, Outgoing
from shared.secrets import Vault

FOLDER = Folder(CHECKOUT / ".local" / "bench" / "stack")
POSTGRES_SETTINGS = {
    "shared_buffers": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 2**22}MB",  # a quarter, as advised
    "max_wal_size": "4GB",
    "maintenance_work_mem": "512MB",
    "random_page_cost": "1.1",  # no disk of today turns
}
"""As an operator would set it for this load; fsync and synchronous_commit are on."""
STORES = 8
PUBLISH_CHUNK = 500
LOOK_SECONDS = 0.5
MEASURED = ("scorer", "dispatcher", "rule-engine", "api", "sync")
"""Services that scenarios start."""


@dataclass(frozen=True, slots=True)
class Shop:
    """A store that exists in every track."""

    id: UUID
    key: bytes
    """Hashes its e-mails and fingerprints."""


@dataclass(frozen=True, slots=True)
class Site:
    """Servers that run."""

    stack: Stack
    shops: Sequence[Shop]
    scorer_core: int
    other_cores: frozenset[int]

    @property
    def secret_keys(self) -> str:
        return passwords.kept(self.stack.folder).secret_key

    @property
    def vault(self) -> Vault:
        return Vault(self.secret_keys)


@dataclass(frozen=True, slots=True)
class Track:
    """A database and queues of one run's own."""

    site: Site
    database_url: str
    prefix: str
    broker: Broker


@contextmanager
def alone(folder: Folder) -> Iterator[None]:
    """A second run beside this one would stop its services, and answer its clients from another database: by 401.

    Raises:
        StackError: there is one.
    """
    folder.create()
    with (folder.path / "bench").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed, or we are gone
        except BlockingIOError:
            raise StackError("Another bench runs in this checkout: wait until it has ended.") from None
        yield


@contextmanager
def site(folder: Folder = FOLDER) -> Iterator[Site]:
    """Started, with empty tables and STORES shops; stopped at the end.

    Raises:
        StackError: another run uses it.
    """
    with alone(folder):
        yield from _site(folder)


def _site(folder: Folder) -> Iterator[Site]:
    scorer_core, others = _cores()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, others)  # and of all that is started here
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRUSTLENS_")}
    stack = Stack(folder, environ=environ, services=(), postgres_settings=POSTGRES_SETTINGS)
    try:
        _stop_services(folder)  # of a run that was killed
        _forget_other_schemas(stack)
        stack.up(progress.step)
        keys = passwords.kept(folder).secret_key
        yield Site(stack, asyncio.run(_shops(stack.database_url, keys)), scorer_core, frozenset(others))
    finally:
        _stop_services(folder)
        stack.down(progress.step)
        os.sched_setaffinity(0, before)


def _stop_services(folder: Folder) -> None:
    for name in MEASURED:
        service_process(folder, name).process.stop(STOP_SIGNALS)


def _cores() -> tuple[int, set[int]]:
    """(the measured service's, the others'); the same one where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-1], set(allowed[:-1] or allowed)


def _forget_other_schemas(stack: Stack) -> None:
    """Databases that other migrations made are of no use, and hold nothing that cannot be made again."""
    versions = sorted((Path(migrations.__file__).parent / "versions").glob("*.sql"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in versions)).hexdigest()
    noted = stack.folder.path / "schema"
    if noted.exists() and noted.read_text() == digest:
        return
    stack.postgres.stop()
    shutil.rmtree(stack.folder.postgres, ignore_errors=True)
    noted.write_text(digest)


async def _shops(database_url: str, secret_keys: str) -> list[Shop]:
    connection = await asyncpg.connect(database_url)
    vault = Vault(secret_keys)
    try:
        for number in range(await connection.fetchval("SELECT count(*) FROM api.stores"), STORES):
            await create_store(connection, vault, url=f"https://shop{number}.example", name=f"Shop {number}")
        rows = await connection.fetch("SELECT id, hash_key FROM api.stores ORDER BY created_at, id LIMIT $1", STORES)
    finally:
        await connection.close()
    return [Shop(row["id"], vault.open(row["hash_key"])) for row in rows]


# Tracks ---------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def track(site: Site, *, template: str = DATABASE) -> AsyncIterator[Track]:
    """A copy of the template, and queues without messages."""
    prefix = f"bench{uuid4().hex[:8]}."
    async with copied_database(site, template) as url, _connected(site, prefix) as broker:
        yield Track(site, url, prefix, broker)


@asynccontextmanager
async def copied_database(site: Site, template: str) -> AsyncIterator[str]:
    name = f"bench_{uuid4().hex[:12]}"
    administrator = await asyncpg.connect(database_url(site, "postgres"))
    try:
        # Copying files writes no log of each page; it ends with a checkpoint, so no later one disturbs the run.
        statement = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"
        with nullcontext() if template == DATABASE else progress.step(f"copying {template}"):
            await administrator.execute(statement)
        yield database_url(site, name)
        await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await administrator.close()


def database_url(site: Site, name: str) -> str:
    return f"{site.stack.database_url.rpartition('/')[0]}/{name}"


@asynccontextmanager
async def _connected(site: Site, prefix: str) -> AsyncIterator[Broker]:
    """With the topology declared under the prefix; deleted at the end."""
    broker = Broker(site.stack.amqp_url, service="bench", prefix=prefix)
    running = asyncio.create_task(broker.run(), name="broker")
    try:
        channel = await broker.channel(1)
        yield broker
        for queue in topology.QUEUES:
            await channel.queue_delete(prefix + queue.name)
            await channel.queue_delete(prefix + topology.dead(queue.name))
        for exchange in (topology.FACTS, topology.EVENTS, topology.AUTOMATION):
            await channel.exchange_delete(prefix + exchange)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def fill(track: Track, messages: Sequence[Outgoing], show: Show = lambda _: None) -> None:
    """Publish all of it, confirmed."""
    for begin in range(0, len(messages), PUBLISH_CHUNK):
        chunk = messages[begin : begin + PUBLISH_CHUNK]
        if len(await track.broker.publish(chunk)) < len(chunk):
            raise StackError("RabbitMQ did not confirm what was published.")
        show(begin + len(chunk))


# The scorer -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScorerProcess:
    """The service, running."""

    process: ServiceProcess
    pid: int
    track: Track

    async def read(self) -> Reading:
        return await asyncio.to_thread(metrics.read, self.process.url)

    def peak_memory(self) -> int:
        return metrics.peak_memory(self.pid)

    async def scored(self, facts: int, show: Show = lambda _: None, *, lane: str = "live") -> Reading:
        """What it tells once it has committed so many facts."""
        while True:
            reading = await self.read()
            done = reading.value("trustlens_scorer_facts_total", lane=lane)
            show(done)
            if done >= facts:
                return reading
            if self.process.process.pid() is None:
                raise StackError(f"The scorer ended:\n{self.process.process.last_lines()}")
            await asyncio.sleep(LOOK_SECONDS)

    async def published(self) -> None:
        """Once nothing of what it committed waits for its publishing."""
        async with connected(self.track) as pool:
            while await pool.fetchval("SELECT EXISTS (SELECT FROM scorer.outbox)"):  # noqa: ASYNC110  # a table has no event
                await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def scorer(track: Track) -> AsyncIterator[ScorerProcess]:
    """`python -m scorer` on this track, on its own core; ready."""
    service = service_process(track.site.stack.folder, "scorer")
    since = service.launch(environment(track))
    pid = service.process.pid()
    if pid is None:
        raise StackError(f"The scorer did not start:\n{service.process.last_lines(since)}")
    os.sched_setaffinity(pid, {track.site.scorer_core})  # before it has threads
    try:
        await asyncio.to_thread(service.wait_ready, since)
        yield ScorerProcess(service, pid, track)
    finally:
        await asyncio.to_thread(service.process.stop, STOP_SIGNALS)


def service_process(folder: Folder, name: str) -> ServiceProcess:
    folder.create()
    service = next(service for service in SERVICES if service.name == name)
    return ServiceProcess(service, folder, ports.remembered(folder, [name])[name])


def environment(track: Track) -> dict[str, str]:
    return {
        **track.site.stack.environ,
        "TRUSTLENS_DATABASE_URL": track.database_url,
        "TRUSTLENS_AMQP_URL": track.site.stack.amqp_url,
        "TRUSTLENS_SECRET_KEYS": track.site.secret_keys,
        "TRUSTLENS_NAME_PREFIX": track.prefix,
        "TRUSTLENS_LOG_FORMAT": "json",
    }


@asynccontextmanager
async def on_scorer_core(site: Site) -> AsyncIterator[None]:
    """This process where the scorer would be, for comparison."""
    os.sched_setaffinity(0, {site.scorer_core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, site.other_cores)


@asynccontextmanager
async def connected(track: Track) -> AsyncIterator[asyncpg.Pool]:
    pool = await db.connect(track.database_url, size=4, application="bench")
    yield pool
    pool.terminate()
