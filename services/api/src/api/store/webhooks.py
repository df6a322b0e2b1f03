"""Endpoints."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from api.schemas import ALL_IDS, Endpoint, EndpointListing
from api.store.breakers import NEXT_PROBE
from shared.db import Pool
from shared.secrets import Vault
from shared.targets import MASK

Row = Mapping[str, Any]

_ENDPOINT = (
    "id, url, description, events, enabled, disabled_reason, delivery, format, include_email, timeout, headers,"
    " filter, permanent_codes, standard_webhooks,"
    " CASE WHEN overlap_until > now() THEN overlap_until END AS overlap_until, b.opened_at AS outage_since,"
    f" {NEXT_PROBE} AS next_probe_at, created_at, updated_at"
    " FROM dispatcher.endpoints LEFT JOIN dispatcher.breakers b ON b.target_id = id"
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
    row = await pool.fetchrow(f"SELECT {_ENDPOINT} WHERE store_id = $1 AND id = $2", store_id, endpoint_id)
    return row and _endpoint(row, vault)


async def list_endpoints(
    pool: Pool, vault: Vault, store_id: UUID, listing: EndpointListing
) -> tuple[list[Endpoint], int]:
    matching = "store_id = $1 AND id BETWEEN $2 AND $3"
    given = (store_id, *(listing.id or ALL_IDS))
    rows = await pool.fetch(
        f"SELECT {_ENDPOINT} WHERE {matching} ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5",
        *given,
        listing.page.size,
        listing.page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) FROM dispatcher.endpoints WHERE {matching}", *given)
    return [_endpoint(row, vault) for row in rows], total
