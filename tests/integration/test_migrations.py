"""The database's history on a real Postgres."""

import asyncio
import os
import sys
from datetime import timedelta

import asyncpg
import pytest

from shared import db
from shared.migrations import HEAD


async def test_an_older_schema_is_refused_with_what_to_do(pool: asyncpg.Pool) -> None:
    await pool.execute("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(db.SchemaTooOldError, match=f"at migration 0000, this code needs {HEAD}.*trustlens migrate"):
        await db.require_schema(pool)


async def test_a_database_without_any_schema_is_refused(pool: asyncpg.Pool) -> None:
    await pool.execute("DROP TABLE alembic_version")
    with pytest.raises(db.SchemaTooOldError, match="trustlens migrate"):
        await db.require_schema(pool)


async def test_a_newer_schema_is_accepted_because_migrations_go_first(pool: asyncpg.Pool) -> None:
    await pool.execute("UPDATE alembic_version SET version_num = '9999'")
    await db.require_schema(pool)


async def test_two_migrations_at_once_take_turns_and_the_second_finds_nothing_to_do(database_url: str) -> None:
    await _empty(database_url)
    codes = await asyncio.gather(_migrate(database_url), _migrate(database_url))
    assert set(codes) == {0}
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == HEAD
    await connection.close()


async def _migrate(database_url: str) -> int:
    environ = os.environ | {"TRUSTLENS_DATABASE_URL": database_url}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "shared.migrations", env=environ)
    return await process.wait()


async def _empty(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    schemas, functions = "api, scorer, rule_engine, dispatcher", "trustlens_make_partition, trustlens_drop_partitions"
    await connection.execute(f"DROP SCHEMA {schemas} CASCADE; DROP TABLE alembic_version; DROP FUNCTION {functions}")
    await connection.close()


async def test_a_partition_is_made_once_by_whoever_comes_first(pool: asyncpg.Pool) -> None:
    now = await pool.fetchval("SELECT now()")
    await asyncio.gather(*(db.Partitions("scorer.events").cover_ahead(pool, now) for _ in range(4)))
    made = await pool.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'scorer.events'::regclass")
    assert made == 5


async def test_retention_drops_the_partitions_whose_rows_are_all_older(pool: asyncpg.Pool) -> None:
    now = await pool.fetchval("SELECT now()")
    partitions = db.Partitions("scorer.events")
    await partitions.cover(pool, [now - timedelta(weeks=n) for n in range(5)])
    await db.drop_partitions(pool, "scorer.events", db.week_of(now) - timedelta(weeks=1))
    rows = await pool.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'scorer.events'::regclass ORDER BY 1"
    )
    kept = [row["name"] for row in rows]
    weeks = [db.week_of(now) - timedelta(weeks=n) for n in (1, 0)]
    assert kept == [f"scorer.events_{week:%Gw%V}" for week in weeks]


async def test_a_week_that_retention_dropped_is_made_again_for_a_late_message(pool: asyncpg.Pool) -> None:
    now = await pool.fetchval("SELECT now()")
    partitions, late = db.Partitions("scorer.events"), now - timedelta(weeks=3)
    await partitions.cover(pool, [late])
    await db.drop_partitions(pool, "scorer.events", now - timedelta(weeks=1))
    await partitions.cover(pool, [late])
    assert await pool.fetchval("SELECT to_regclass($1) IS NOT NULL", f"scorer.events_{db.week_of(late):%Gw%V}")
