"""Postgres: the pool, what counts as transient, the schema check, weekly partitions."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog
import tenacity

from shared import traces
from shared.migrations import HEAD
from shared.secrets import NoKeyError

log = structlog.get_logger()

Pool = asyncpg.Pool
Connection = asyncpg.Connection

_DATA_CLASSES = ("21", "22", "23", "54")
"""SQLSTATE classes that blame the data: cardinality, data exception, constraint violation, program limit exceeded."""
_SETTINGS_CLASSES = ("28", "3D")
"""SQLSTATE classes that no waiting mends: a wrong password, a database that does not exist."""


class MeanwhileError(Exception):
    """Somebody else committed a part of this work while we decided it: decide it again, and find that part done.

    Named here, beside is_transient, because nothing failed: neither the infrastructure nor the data is to blame.
    """


IDLE_SECONDS = 15.0
"""How long Postgres waits for the next statement of a transaction before it ends it, and lets go of its locks. Between
two statements we only compute, for milliseconds: who needs longer is frozen, or cut off without a word, and holds
everybody up who wants the same rows. *Measured* by `make faults`: a scorer that stood still for 70 s stopped the other
one, too.
"""


_TRANSIENT = (
    MeanwhileError,
    NoKeyError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class SchemaTooOldError(Exception):
    """The database lacks migrations that this code needs. Run `trustlens migrate`."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed later: the infrastructure failed, not the data.

    Codes outside the data classes (a missing table, say) blame a deployment, never a message; so does a key
    that is missing from TRUSTLENS_SECRET_KEYS.
    """
    if isinstance(error, asyncpg.PostgresError):
        return not (error.sqlstate or "").startswith(_DATA_CLASSES)
    if isinstance(error, ValueError):  # asyncpg.DataError is a ValueError and an InterfaceError
        return False
    return isinstance(error, _TRANSIENT)


def is_misconfigured(error: BaseException) -> bool:
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_SETTINGS_CLASSES)


def _may_connect_later(error: BaseException) -> bool:
    return is_transient(error) and not is_misconfigured(error)


def _tell_waiting(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("db.waiting", attempt=state.attempt_number, error=type(error).__name__)


@tenacity.retry(
    retry=tenacity.retry_if_exception(_may_connect_later),
    wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5),
    stop=tenacity.stop_after_delay(120),
    before_sleep=_tell_waiting,
    reraise=True,
)
async def connect(
    url: str, *, size: int, application: str, statement_seconds: float = 60, idle_seconds: float = IDLE_SECONDS
) -> "asyncpg.Pool":
    """A pool of at most `size` connections, once the server answers (waits up to two minutes)."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        timeout=10,
        command_timeout=statement_seconds,
        reset=_nothing_to_reset,
        init=_traced if traces.on() else None,
        # Compiling a plan takes longer than any of our statements saves by it.
        server_settings={
            "application_name": f"trustlens {application}",
            "timezone": "UTC",
            "jit": "off",
            "idle_in_transaction_session_timeout": f"{idle_seconds * 1000:.0f}",
        },
    )


async def _traced(connection: "asyncpg.Connection") -> None:
    connection.add_query_logger(traces.statement)


async def _nothing_to_reset(_: "asyncpg.Connection") -> None:
    """Before this is called, a transaction that was left open is ended.

    What else asyncpg would reset, by a statement after every use, nobody here sets: we listen to nothing, set
    parameters and take advisory locks for transactions only, and open cursors only in them.
    """


async def require_schema(pool: "asyncpg.Pool | asyncpg.Connection") -> None:
    """
    Raises:
        SchemaTooOldError: the database is behind this code. A newer one is fine: migrations go first.
    """
    migrated = await pool.fetchval("SELECT to_regclass('public.alembic_version') IS NOT NULL")
    version = await pool.fetchval("SELECT version_num FROM public.alembic_version") if migrated else None
    if version is None or version < HEAD:
        raise SchemaTooOldError(
            f"the database is at migration {version}, this code needs {HEAD}: run `trustlens migrate`"
        )


async def accepts(url: str) -> bool:
    """Whether Postgres takes a new connection within five seconds: our pool may have none to spare."""
    try:
        connection = await asyncpg.connect(url, timeout=5)
    except Exception as error:
        if not is_transient(error):
            raise
        return False
    connection.terminate()
    return True


async def answers(pool: "asyncpg.Pool") -> bool:
    """Whether Postgres answers within a second."""
    try:
        async with asyncio.timeout(1):
            return bool(await pool.fetchval("SELECT true"))
    except Exception as error:
        if not is_transient(error):
            raise
        return False


def columns(rows: Sequence[Sequence[object]], width: int) -> list[list[object]]:
    """Rows as one array per column, which is what unnest takes."""
    return [[row[column] for row in rows] for column in range(width)]


class Partitions:
    """Weekly partitions of one service's big tables: made four weeks ahead, a missing one on the spot."""

    AHEAD = timedelta(weeks=4)

    def __init__(self, *tables: str) -> None:
        self._tables = tables
        self._made: set[datetime] = set()

    async def cover(self, connection: "asyncpg.Connection | asyncpg.Pool", times: Iterable[datetime]) -> None:
        """Make the partitions that rows of these times need, where they are missing.

        Only weeks that retention cannot have dropped meanwhile are taken from memory.
        """
        this_week = week_of(datetime.now(UTC))
        missing = {week for week in map(week_of, times) if week < this_week or week not in self._made}
        for week in sorted(missing):
            for table in self._tables:
                await connection.execute("SELECT trustlens_make_partition($1, $2)", table, week)
        self._made |= missing

    async def cover_ahead(self, pool: "asyncpg.Pool", now: datetime) -> None:
        await self.cover(pool, (now + timedelta(weeks=n) for n in range(self.AHEAD // timedelta(weeks=1) + 1)))


async def drop_partitions(pool: "asyncpg.Pool", table: str, before: datetime) -> None:
    """Retention: drop a table's partitions whose rows are all older."""
    await pool.execute("SELECT trustlens_drop_partitions($1, $2)", table, before)


def week_of(at: datetime) -> datetime:
    """Monday 00:00 UTC of the week that a time lies in."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())
