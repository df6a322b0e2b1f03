"""Long work, whichever service does it."""

from collections.abc import Sequence
from uuid import UUID

from api.schemas import (
    Job,
)
from shared.db import Pool


async def find_job(pool: Pool, store_id: UUID, job_id: UUID, schemas: Sequence[str]) -> tuple[str, Job] | None:
    """With the schema of the service that does it."""
    tables = " UNION ALL ".join(
        f"SELECT '{schema}' AS schema, id, kind, state, done, total, error,"
        f" (params->>'skipped')::bigint AS skipped FROM {schema}.jobs"
        " WHERE store_id = $1 AND id = $2"
        for schema in schemas
    )
    row = await pool.fetchrow(tables, store_id, job_id)
    return row and (row["schema"], Job(**row))
