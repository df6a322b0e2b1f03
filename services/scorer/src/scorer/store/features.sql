-- The features of some customers at one time, from the facts alone: one row for each, also without any fact.
-- Each has a number n: grouping and joining by it costs half of what the hashes would.
-- $1 uuid[] store ids, $2 text[] e-mail hashes, $3 text[] their stores' currencies, $4 timestamptz now
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY AS w (store_id, email_hash, ours, n)
),
orders AS MATERIALIZED (
    SELECT w.n, o.store_id, o.order_id, o.total, o.refund_count, o.full_refund_count, o.refund_value,
           o.coupons, o.categories, o.disputed, o.modified_at, o.created_at,
           -- A time that cannot be meant is none. Stores' clocks may be ahead of ours by some minutes.
           CASE WHEN o.created_at BETWEEN '2000-01-01 00:00:00+00' AND $4::timestamptz + interval '10 minutes'
               THEN o.created_at END AS at,
           CASE WHEN o.fingerprints[1] < '\x02' THEN o.fingerprints[1] END AS address,
           o.currency = w.ours AS ours,
           o.billing_country <> o.shipping_country AND o.billing_country <> '' AND o.shipping_country <> '' AS abroad,
           o.status IN ('completed', 'refunded') AS completed,
           o.status = 'cancelled' AS cancelled,
           o.status NOT IN ('checkout-draft', 'pending', 'failed', 'cancelled', 'trash') AS counted
    FROM wanted w
    JOIN scorer.orders o ON o.store_id = w.store_id AND o.email_hash = w.email_hash
    WHERE NOT o.deleted
),
totals AS (
    SELECT n,
           count(*) FILTER (WHERE counted) AS total_orders,
           count(*) FILTER (WHERE completed) AS completed_orders,
           count(*) FILTER (WHERE cancelled) AS cancelled_orders,
           count(*) FILTER (WHERE counted AND refund_count > 0) AS refunded_orders,
           sum(refund_count) FILTER (WHERE counted) AS total_refunds,
           sum(full_refund_count) FILTER (WHERE counted) AS full_refunds,
           sum(total) FILTER (WHERE counted AND ours) AS total_order_value,
           sum(refund_value) FILTER (WHERE counted AND ours) AS total_refund_value,
           count(*) FILTER (WHERE counted AND NOT ours) AS foreign_orders,
           min(at) FILTER (WHERE completed) AS first_completed_at,
           min(at) FILTER (WHERE counted) AS first_order_at,
           max(at) FILTER (WHERE counted) AS last_order_at,
           min(created_at) FILTER (WHERE counted AND created_at > $4::timestamptz + interval '10 minutes')
               - interval '10 minutes' AS next_order_at,
           (array_agg(order_id ORDER BY modified_at DESC, order_id DESC)
               FILTER (WHERE counted AND refund_count > 0))[:20] AS refunded_ids,
           (array_agg(order_id ORDER BY modified_at DESC, order_id DESC)
               FILTER (WHERE counted AND full_refund_count > 0))[:20] AS fully_refunded_ids,
           (array_agg(order_id ORDER BY created_at DESC, order_id DESC)
               FILTER (WHERE counted AND refund_count = 0))[:20] AS clean_ids,
           (array_agg(order_id ORDER BY created_at DESC, order_id DESC)
               FILTER (WHERE cancelled))[:20] AS cancelled_ids,
           jsonb_agg(jsonb_build_array(order_id, created_at, coupons, refund_count > 0) ORDER BY created_at, order_id)
               FILTER (WHERE counted AND coupons IS NOT NULL) AS coupon_orders,
           -- The last 30 days.
           count(DISTINCT address) FILTER (WHERE counted AND recent) AS recent_addresses,
           (array_agg(order_id ORDER BY at DESC, order_id DESC)
               FILTER (WHERE counted AND recent AND address IS NOT NULL))[:20] AS recent_address_ids,
           (array_agg(order_id ORDER BY at DESC, order_id DESC)
               FILTER (WHERE counted AND recent AND abroad))[:20] AS abroad_ids,
           min(at) FILTER (WHERE counted AND recent) AS oldest_recent_at
    FROM (SELECT *, at > $4::timestamptz - interval '30 days' AS recent FROM orders) AS o
    GROUP BY n
),
-- Orders within one hour, counting back from each of the last 90 days.
hours AS (
    SELECT n, order_id, at, count(*) OVER (
        PARTITION BY n ORDER BY at
        RANGE BETWEEN interval '1 hour' PRECEDING AND CURRENT ROW) AS within
    FROM orders
    WHERE counted AND at > $4::timestamptz - interval '90 days 1 hour'
),
bursts AS (
    SELECT n, max(within) AS most, max(at) FILTER (WHERE within >= 5) AS last_at
    FROM hours
    WHERE at > $4::timestamptz - interval '90 days'
    GROUP BY n
),
burst_orders AS (
    SELECT h.n, (array_agg(h.order_id ORDER BY h.at DESC, h.order_id DESC))[:20] AS ids
    FROM bursts b JOIN hours h USING (n)
    WHERE b.last_at IS NOT NULL AND h.at BETWEEN b.last_at - interval '1 hour' AND b.last_at
    GROUP BY h.n
),
-- The last three orders with an address, and whether each went where no order had gone before.
placed AS (
    SELECT n, order_id, at,
           row_number() OVER (PARTITION BY n ORDER BY at DESC, order_id DESC) AS latest,
           row_number() OVER (PARTITION BY n ORDER BY at, order_id) AS nth,
           row_number() OVER (PARTITION BY n, address ORDER BY at, order_id) AS use
    FROM orders
    WHERE counted AND at IS NOT NULL AND address IS NOT NULL
),
new_addresses AS (
    SELECT n, array_agg(order_id ORDER BY at DESC, order_id DESC) AS ids
    FROM placed
    WHERE latest <= 3 AND nth > 1 AND use = 1 AND at > $4::timestamptz - interval '30 days'
    GROUP BY n
),
in_categories AS (
    SELECT o.n, o.store_id, c.slug, count(*) AS orders,
           count(*) FILTER (WHERE refund_count > 0) AS refunded,
           (array_agg(order_id ORDER BY modified_at DESC, order_id DESC) FILTER (WHERE refund_count > 0))[:20] AS ids
    FROM orders o CROSS JOIN unnest(o.categories) AS c (slug)
    WHERE counted
    GROUP BY o.n, o.store_id, c.slug
    HAVING count(*) >= 3
),
by_category AS (
    SELECT i.n,
           jsonb_agg(jsonb_build_array(i.slug, coalesce(c.name, i.slug), i.orders, i.refunded, i.ids) ORDER BY i.slug)
               AS categories
    FROM in_categories i LEFT JOIN scorer.categories c USING (store_id, slug)
    GROUP BY i.n
),
-- Coupons of theirs of which the store says that one may use them once only.
limited AS (
    SELECT o.n, array_agg(DISTINCT c.code) AS once_codes
    FROM (SELECT n, store_id, coupons FROM orders WHERE counted AND coupons IS NOT NULL) AS o
    CROSS JOIN jsonb_array_elements(o.coupons) AS used (coupon)
    JOIN scorer.coupons c ON c.store_id = o.store_id AND c.code = used.coupon ->> 0
    WHERE c.once
    GROUP BY o.n
),
disputed AS (
    SELECT o.n,
           jsonb_agg(jsonb_build_array(d.dispute_id, d.status) ORDER BY d.opened_at, d.dispute_id) AS disputes
    FROM (SELECT * FROM orders WHERE disputed) AS o
    JOIN scorer.disputes d ON d.store_id = o.store_id AND d.order_id = o.order_id
    GROUP BY o.n
),
checkouts AS (
    SELECT w.n, c.kind, c.reason, c.at, count(*) FILTER (WHERE c.kind = 'decline') OVER (
        PARTITION BY w.n ORDER BY c.at
        RANGE BETWEEN interval '10 minutes' PRECEDING AND CURRENT ROW) AS declines
    FROM wanted w
    JOIN scorer.checkouts c ON c.store_id = w.store_id AND c.email_hash = w.email_hash
    WHERE c.at > $4::timestamptz - interval '30 days 10 minutes'
),
tested AS (
    SELECT n,
           max(at) FILTER (WHERE kind = 'attempt' AND reason IN ('lockout', 'velocity') AND believed) AS last_lockout_at,
           max(at) FILTER (WHERE kind = 'attempt' AND reason = 'freeze' AND believed) AS last_freeze_at,
           max(at) FILTER (WHERE kind = 'decline' AND declines >= 3 AND believed) AS last_decline_burst_at,
           (array_agg(declines ORDER BY at DESC, declines DESC)
               FILTER (WHERE kind = 'decline' AND declines >= 3 AND believed))[1] AS declines_in_burst,
           min(at) FILTER (WHERE NOT believed) - interval '10 minutes' AS next_checkout_at
    FROM (SELECT *, at <= $4::timestamptz + interval '10 minutes' AS believed FROM checkouts) AS c
    GROUP BY n
)
SELECT w.store_id, w.email_hash,
       coalesce(t.total_orders, 0) AS total_orders,
       coalesce(t.completed_orders, 0) AS completed_orders,
       coalesce(t.cancelled_orders, 0) AS cancelled_orders,
       coalesce(t.refunded_orders, 0) AS refunded_orders,
       coalesce(t.total_refunds, 0)::bigint AS total_refunds,
       coalesce(t.full_refunds, 0)::bigint AS full_refunds,
       coalesce(t.total_order_value, 0) AS total_order_value,
       coalesce(t.total_refund_value, 0) AS total_refund_value,
       coalesce(t.foreign_orders, 0) AS foreign_orders,
       t.first_completed_at, t.first_order_at, t.last_order_at, t.next_order_at,
       t.refunded_ids, t.fully_refunded_ids, t.clean_ids, t.cancelled_ids,
       coalesce(b.most, 0) AS most_orders_in_an_hour, b.last_at AS last_burst_at, bo.ids AS burst_ids,
       t.coupon_orders, l.once_codes, bc.categories,
       coalesce(t.recent_addresses, 0) AS recent_addresses, t.recent_address_ids, t.abroad_ids, t.oldest_recent_at,
       na.ids AS new_address_ids, d.disputes,
       c.last_lockout_at, c.last_freeze_at, c.last_decline_burst_at, c.next_checkout_at,
       coalesce(c.declines_in_burst, 0) AS declines_in_burst
FROM wanted w
LEFT JOIN totals t USING (n)
LEFT JOIN bursts b USING (n)
LEFT JOIN burst_orders bo USING (n)
LEFT JOIN new_addresses na USING (n)
LEFT JOIN by_category bc USING (n)
LEFT JOIN limited l USING (n)
LEFT JOIN disputed d USING (n)
LEFT JOIN tested c USING (n)
