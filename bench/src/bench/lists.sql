-- Customers $2 to $3 of the store $1, as a shop has them: most have bought once or twice and stand at 50; few are
-- blocked, allowlisted or tagged. What is by chance follows from the number.
INSERT INTO scorer.customers (store_id, email_hash, email, email_domain, trust_score, segment, own_score, is_blocked,
    is_allowlisted, tags, total_orders, completed_orders, total_order_value, total_refunds, return_rate, first_order_at,
    last_order_at, sequence, created_at, updated_at)
SELECT $1, encode(sha256(int8send(n)), 'hex'), 'c' || n || '@bench.example', 'bench.example', c.score,
       CASE WHEN c.score >= 90 THEN 'vip' WHEN c.score >= 70 THEN 'trusted' WHEN c.score >= 50 THEN 'normal'
            WHEN c.score >= 40 THEN 'caution' WHEN c.score >= 20 THEN 'risk' ELSE 'critical' END,
       c.score, chance % 50 = 0, chance % 97 = 1 AND chance % 50 > 0,
       CASE WHEN chance % 100 = 3 THEN '{wholesale}' WHEN chance % 1000 = 5 THEN '{b2b,wholesale}' ELSE '{}' END::text[],
       o.orders, o.orders, 50 * o.orders, o.orders / 10, (chance % 3 = 0)::int * (chance % 1000) / 10.0,
       at, at + chance % 400 * interval '1 day', 2 * o.orders, at, now()
FROM generate_series($2::bigint, $3::bigint) AS n,
     LATERAL (SELECT abs(hashint8(n))::bigint AS chance, now() - interval '600 days' + n * interval '40 seconds' AS at) AS x,
     LATERAL (SELECT (CASE WHEN chance % 10 < 5 THEN 50 WHEN chance % 10 < 8 THEN 70 + chance % 31
                      ELSE chance / 10 % 101 END)::int AS score) AS c,
     LATERAL (SELECT (1 + chance / 7 % (1 + chance / 3 % 60))::int AS orders) AS o
