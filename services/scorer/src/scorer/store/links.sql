-- Whom some customers are linked to: those with fingerprints in common, hubs left out.
-- $1 uuid[] store ids, $2 text[] e-mail hashes, $3 int[] the scores below which their stores call somebody Critical
-- A fingerprint's first byte is its kind: 4 (IP) and 6 (device) are weak, they say too little alone.
WITH mine AS MATERIALIZED (
    SELECT f.store_id, f.email_hash, f.hash, f.first_at, w.critical_below, get_byte(f.hash, 0) AS kind, h.customers > 50 AS hub
    FROM unnest($1::uuid[], $2::text[], $3::int[]) AS w (store_id, email_hash, critical_below)
    JOIN scorer.fingerprints f ON f.store_id = w.store_id AND f.email_hash = w.email_hash
    JOIN scorer.link_hashes h ON h.store_id = f.store_id AND h.hash = f.hash
    WHERE h.customers > 1
),
common AS (
    SELECT m.store_id, m.email_hash, m.critical_below, o.email_hash AS other, m.kind,
           -- Both, and at least one more, first used it within the same 24 hours.
           CASE WHEN m.kind IN (4, 6) AND abs(extract(epoch FROM m.first_at - o.first_at)) <= 86400 THEN (
               SELECT count(*) >= 3 FROM scorer.fingerprints t
               WHERE t.store_id = m.store_id AND t.hash = m.hash
                 AND t.first_at BETWEEN greatest(m.first_at, o.first_at) - interval '24 hours'
                                    AND least(m.first_at, o.first_at) + interval '24 hours')
           ELSE false END AS crowded
    FROM mine m
    JOIN scorer.fingerprints o ON o.store_id = m.store_id AND o.hash = m.hash AND o.email_hash <> m.email_hash
    WHERE NOT m.hub
),
linked AS (
    SELECT store_id, email_hash, critical_below, other, array_agg(DISTINCT kind) AS kinds
    FROM common
    GROUP BY store_id, email_hash, critical_below, other
    HAVING bool_or(kind NOT IN (4, 6)) OR count(DISTINCT kind) > 1 OR bool_or(crowded)
),
ranked AS (
    SELECT l.store_id, l.email_hash, l.other, l.kinds, c.is_blocked, c.own_score, c.first_coupon_at,
           -- By nothing that moves without touching the linked: other scores of theirs are no business of this one.
           row_number() OVER (PARTITION BY l.store_id, l.email_hash
               ORDER BY c.is_blocked DESC, coalesce(c.own_score < l.critical_below, false) DESC, l.other) AS rank
    FROM linked l
    JOIN scorer.customers c ON c.store_id = l.store_id AND c.email_hash = l.other
),
gathered AS (
    SELECT store_id, email_hash, count(*) AS linked_accounts,
           jsonb_agg(jsonb_build_array(other, kinds, is_blocked, own_score) ORDER BY rank)
               FILTER (WHERE rank <= 20) AS linked,
           min(first_coupon_at) AS linked_coupon_at,
           (array_agg(other ORDER BY first_coupon_at, other) FILTER (WHERE first_coupon_at IS NOT NULL))[1]
               AS linked_coupon_by
    FROM ranked
    GROUP BY store_id, email_hash
),
hubs AS (
    SELECT store_id, email_hash, array_agg(DISTINCT kind) AS kinds FROM mine WHERE hub GROUP BY store_id, email_hash
)
SELECT store_id, email_hash, coalesce(g.linked_accounts, 0) AS linked_accounts, g.linked, g.linked_coupon_at,
       g.linked_coupon_by, h.kinds AS hub_kinds
FROM gathered g FULL JOIN hubs h USING (store_id, email_hash)
