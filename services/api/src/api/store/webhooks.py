"""Endpoints."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from api.paging import Page
from api.schemas import (
    Endpoint,
)
from shared.db import Pool
from shared.secrets import Vault
from shared.targets import MASK

Row = Mapping[str, Any]

_ENDPOINT = (
    "id, url, description, events, enabled, disabled_reason, delivery, format, include_email, timeout, headers,"
    " filter, permanent_codes, standard_webhooks,"
    " CASE WHEN overlap_until > now() THEN overlap_until END AS overlap_until, created_at, updated_at"
)


def _endpoint(row: Row, vault: Vault) -> Endpoint:
    headers = json.loads(vault.open(row["headers"])) if row["headers"] else {}
    condition = json.loads(row["filter"]) if row["filter"] else None
    return Endpoint(
        **{
            **row,
            "headers": dict.fromkeys(headers, MASK),
            "filter": condition,
            "permanent_codes": sorted(row["permanent_codes"]),
        }
    )


async def find_endpoint(pool: Pool, vault: Vault, store_id: UUID, endpoint_id: UUID) -> Endpoint | None:
    row = await pool.fetchrow(
        f"SELECT {_ENDPOINT} FROM dispatcher.endpoints WHERE store_id = $1 AND id = $2", store_id, endpoint_id
    )
    return row and _endpoint(row, vault)


async def list_endpoints(pool: Pool, vault: Vault, store_id: UUID, page: Page) -> tuple[list[Endpoint], int]:
    rows = await pool.fetch(
        f"SELECT {_ENDPOINT} FROM dispatcher.endpoints WHERE store_id = $1"
        " ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3",
        store_id,
        page.size,
        page.offset,
    )
    total = await pool.fetchval("SELECT count(*) FROM dispatcher.endpoints WHERE store_id = $1", store_id)
    return [_endpoint(row, vault) for row in rows], total
