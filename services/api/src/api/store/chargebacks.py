"""What a store's orders and disputes come to, by month and brand, and how it looks at them."""

import json
from datetime import date
from uuid import UUID

from api.chargebacks import ChargebackSettings, Counted
from shared.db import Pool

_COUNTED = """
    SELECT 'orders' AS kind, month, card_brand, sum(orders)::bigint AS count
    FROM (
        SELECT month, card_brand, orders FROM scorer.order_months WHERE store_id = $1 AND month BETWEEN $2 AND $3
        UNION ALL
        SELECT month, card_brand, orders FROM scorer.order_month_deltas
        WHERE store_id = $1 AND month BETWEEN $2 AND $3
    ) AS kept
    GROUP BY month, card_brand HAVING sum(orders) > 0
    UNION ALL
    SELECT 'disputes', (date_trunc('month', d.filed_at, 'UTC') AT TIME ZONE 'UTC')::date,
        -- No join: of many disputes the planner would read all orders for the few that do not tell their card.
        CASE WHEN d.card_brand <> '' THEN d.card_brand ELSE coalesce((
            SELECT o.card_brand FROM scorer.orders o WHERE o.store_id = d.store_id AND o.order_id = d.order_id
        ), '') END,
        count(*)
    FROM scorer.disputes d
    WHERE d.store_id = $1 AND d.filed_at >= $2::date::timestamp AT TIME ZONE 'UTC'
        AND d.filed_at < ($3::date + interval '1 month') AT TIME ZONE 'UTC'
    GROUP BY 2, 3
"""


async def count(pool: Pool, store_id: UUID, first: date, last: date) -> Counted:
    """Of the months from `first` to `last`, first days; one round trip, and no order is read but disputed ones."""
    rows = await pool.fetch(_COUNTED, store_id, first, last)
    found = {
        kind: {(row["month"], row["card_brand"]): row["count"] for row in rows if row["kind"] == kind}
        for kind in ("orders", "disputes")
    }
    return Counted(**found)


async def find_settings(pool: Pool, store_id: UUID) -> ChargebackSettings | None:
    """None: there is no such store."""
    found = await pool.fetchval("SELECT chargebacks FROM api.stores WHERE id = $1", store_id)
    return None if found is None else ChargebackSettings.model_validate_json(found)


async def save_settings(pool: Pool, store_id: UUID, changes: ChargebackSettings | None) -> None:
    """What is given of them, beside what was said before; None forgets all that."""
    given = json.dumps(changes.model_dump(mode="json", exclude_unset=True)) if changes else None
    await pool.execute(
        "UPDATE api.stores SET chargebacks = CASE WHEN $2::jsonb IS NULL THEN '{}' ELSE chargebacks || $2 END"
        " WHERE id = $1",
        store_id,
        given,
    )
