"""What a rule's store has: its thresholds, its endpoints, and what reaches its own servers."""

import json
from uuid import UUID

from rule_engine.validate import Shop
from shared.db import Connection, Pool
from shared.events import LOWEST_SCORES


async def shop(connection: Connection | Pool, store_id: UUID) -> Shop:
    means = await connection.fetchrow(
        "SELECT smtp IS NOT NULL AS mail, woocommerce_api IS NOT NULL AS orders FROM api.stores WHERE id = $1", store_id
    )
    settings = await connection.fetchval("SELECT settings FROM scorer.scoring WHERE store_id = $1", store_id)
    endpoints = await connection.fetch("SELECT id, enabled FROM dispatcher.endpoints WHERE store_id = $1", store_id)
    return Shop(
        lowest={**LOWEST_SCORES, **(json.loads(settings or "{}").get("segments") or {})},
        endpoints={row["id"]: row["enabled"] for row in endpoints},
        has_mail_server=bool(means and means["mail"]),
        has_order_access=bool(means and means["orders"]),
    )
