-- The features of some customers at one time, from the facts alone.
-- $1 uuid[] store ids, $2 text[] e-mail hashes (pairs), $3 timestamptz now
WITH wanted AS (
    SELECT store_id, email_hash FROM unnest($1::uuid[], $2::text[]) AS w (store_id, email_hash)
),
orders AS (
    SELECT o.store_id, o.email_hash, o.order_id, o.status, o.total, o.created_at, o.modified_at,
           o.status NOT IN ('checkout-draft', 'pending', 'failed', 'cancelled', 'trash') AS counted,
           coalesce(r.refunds, 0) AS refunds, coalesce(r.full_refunds, 0) AS full_refunds,
           coalesce(r.value, 0) AS refund_value
    FROM wanted w
    JOIN scorer.orders o USING (store_id, email_hash)
    LEFT JOIN LATERAL (
        SELECT count(*) AS refunds, count(*) FILTER (WHERE abs(r.amount - o.total) <= 0.01) AS full_refunds,
               sum(r.amount) AS value
        FROM scorer.refunds r
        WHERE r.store_id = o.store_id AND r.order_id = o.order_id AND o.refund_count > 0
    ) r ON true
),
hours AS (
    SELECT store_id, email_hash, count(*) OVER (
        PARTITION BY store_id, email_hash ORDER BY created_at
        RANGE BETWEEN interval '1 hour' PRECEDING AND CURRENT ROW) AS within
    FROM orders
    WHERE counted AND created_at > $3::timestamptz - interval '90 days' AND created_at <= $3::timestamptz
),
busiest AS (
    SELECT store_id, email_hash, max(within) AS most FROM hours GROUP BY store_id, email_hash
)
SELECT o.store_id, o.email_hash,
       count(*) FILTER (WHERE counted) AS total_orders,
       count(*) FILTER (WHERE status IN ('completed', 'refunded')) AS completed_orders,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled_orders,
       count(*) FILTER (WHERE counted AND refunds > 0) AS refunded_orders,
       coalesce(sum(refunds) FILTER (WHERE counted), 0)::bigint AS total_refunds,
       coalesce(sum(o.full_refunds) FILTER (WHERE counted), 0)::bigint AS full_refunds,
       coalesce(sum(total) FILTER (WHERE counted), 0) AS total_order_value,
       coalesce(sum(refund_value) FILTER (WHERE counted), 0) AS total_refund_value,
       coalesce(max(b.most), 0) AS most_orders_in_an_hour,
       min(created_at) FILTER (WHERE status IN ('completed', 'refunded')) AS first_completed_at,
       min(created_at) FILTER (WHERE counted) AS first_order_at,
       max(created_at) FILTER (WHERE counted) AS last_order_at,
       (array_agg(order_id ORDER BY modified_at DESC, order_id DESC) FILTER (WHERE counted AND refunds > 0))[:20] AS refunded_ids,
       (array_agg(order_id ORDER BY modified_at DESC, order_id DESC)
           FILTER (WHERE counted AND o.full_refunds > 0))[:20] AS fully_refunded_ids,
       (array_agg(order_id ORDER BY created_at DESC, order_id DESC) FILTER (WHERE counted AND refunds = 0))[:20] AS clean_ids,
       (array_agg(order_id ORDER BY created_at DESC, order_id DESC) FILTER (WHERE status = 'cancelled'))[:20] AS cancelled_ids
FROM orders o
LEFT JOIN busiest b USING (store_id, email_hash)
GROUP BY o.store_id, o.email_hash
