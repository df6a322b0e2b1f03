"""Long work, whichever service does it."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from api.schemas import Job
from shared.db import Pool

_JOB = "id, kind, state, done, total, error, (params->>'skipped')::bigint AS skipped, result"


def _job(row: Mapping[str, Any]) -> Job:
    result = row["result"] and json.loads(row["result"], parse_float=Decimal)
    return Job(**{**row, "result": result})


async def find_job(pool: Pool, store_id: UUID, job_id: UUID, schemas: Sequence[str]) -> tuple[str, Job] | None:
    """With the schema of the service that does it."""
    tables = " UNION ALL ".join(
        f"SELECT '{schema}' AS schema, {_JOB} FROM {schema}.jobs WHERE store_id = $1 AND id = $2" for schema in schemas
    )
    row = await pool.fetchrow(tables, store_id, job_id)
    return row and (row["schema"], _job(row))


async def last_backtest(pool: Pool, store_id: UUID, rule_id: UUID) -> Job | None:
    """Of a rule, whichever its version, or of a draft of it."""
    row = await pool.fetchrow(
        f"SELECT {_JOB} FROM rule_engine.jobs WHERE store_id = $1 AND kind = 'backtest' AND params->>'rule_id' = $2"
        " ORDER BY created_at DESC LIMIT 1",
        store_id,
        str(rule_id),
    )
    return row and _job(row)
