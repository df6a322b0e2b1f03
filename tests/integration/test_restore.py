"""The runbook's lines that dump and restore, as they stand there."""

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg

from local_stack.folder import CHECKOUT
from local_stack.postgres import wheel_programs
from shared import db

OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")


def documented(*programs: str) -> str:
    """The lines of the local stack that call these, in their order."""
    called = "|".join(programs)
    return "\n".join(re.findall(rf"^\$PG/(?:{called}) .+$", OPERATIONS, re.MULTILINE))


def run(lines: str, database_url: str, folder: Path) -> None:
    """The database's name is no other in the runbook; here each test has one of its own."""
    own = lines.replace("DATABASE trustlens", f"DATABASE {database_url.rpartition('/')[2]}")
    environ = os.environ | {"PG": str(wheel_programs()), "TRUSTLENS_DATABASE_URL": database_url}
    subprocess.run(["bash", "-euc", own], cwd=folder, env=environ, check=True)


async def test_what_was_dumped_is_all_there_again_and_what_came_after_it_is_gone(
    database_url: str, tmp_path: Path
) -> None:
    assert documented("pg_dump", "psql", "pg_restore").count("\n") == 2
    kept, lost = uuid4(), uuid4()
    record = "INSERT INTO scorer.input_outcomes (input_id, outcome, at) VALUES ($1, 'applied', now())"

    first = await asyncpg.connect(database_url)
    await first.execute(record, kept)
    run(documented("pg_dump"), database_url, tmp_path)
    await first.execute(record, lost)
    run(documented("psql", "pg_restore"), database_url, tmp_path)  # beside a connection that is left open

    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        await db.require_schema(pool)
        assert [row["input_id"] for row in await pool.fetch("SELECT input_id FROM scorer.input_outcomes")] == [kept]
        await db.Partitions("scorer.events").cover(pool, [datetime.now(UTC)])
