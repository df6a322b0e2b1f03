-- Where the fingerprints of some customers differ from what their facts say now. now_at NULL: no longer used.
-- $1 uuid[] store ids, $2 text[] e-mail hashes (pairs)
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[]) AS w (store_id, email_hash)
),
used AS (
    SELECT store_id, email_hash, hash, min(at) AS now_at
    FROM (
        SELECT w.store_id, w.email_hash, f.hash, o.created_at AS at
        FROM wanted w
        JOIN scorer.orders o ON o.store_id = w.store_id AND o.email_hash = w.email_hash
        CROSS JOIN unnest(o.fingerprints) AS f (hash)
        WHERE NOT o.deleted AND o.status NOT IN ('checkout-draft', 'trash')
        UNION ALL
        SELECT w.store_id, w.email_hash, f.hash, c.at
        FROM wanted w
        JOIN scorer.checkouts c ON c.store_id = w.store_id AND c.email_hash = w.email_hash
        CROSS JOIN unnest(c.fingerprints) AS f (hash)
    ) AS uses
    GROUP BY store_id, email_hash, hash
),
known AS (
    SELECT f.store_id, f.email_hash, f.hash, f.first_at
    FROM wanted w
    JOIN scorer.fingerprints f ON f.store_id = w.store_id AND f.email_hash = w.email_hash
)
SELECT store_id, email_hash, hash, k.first_at AS was_at, u.now_at
FROM used u FULL JOIN known k USING (store_id, email_hash, hash)
WHERE u.now_at IS DISTINCT FROM k.first_at
