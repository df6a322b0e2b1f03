-- A store full of numbered people, the same ones that people.py makes. One function per table, called in chunks.
-- $customers people have ten orders each: order j is the ((j - 1) % customers + 1)th person's, so that one person's
-- orders lie on ten pages, as they would. Who shares an IP address began on other days.
CREATE SCHEMA bench;

CREATE TABLE bench.population (
    store_id uuid NOT NULL,
    customers bigint NOT NULL,
    began timestamptz NOT NULL,              -- of the first orders
    inner_key bytea NOT NULL,                -- of HMAC-SHA256: the store's key ^ 0x36…, ^ 0x5c… (RFC 2104)
    outer_key bytea NOT NULL
);

CREATE FUNCTION bench.hmac(message bytea) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(p.outer_key || sha256(p.inner_key || message)) FROM bench.population p
$$;

CREATE FUNCTION bench.fingerprint(code int, kind text, value text) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT set_byte('\x00', 0, code)
        || substr(bench.hmac(convert_to(kind, 'UTF8') || '\x00' || convert_to(value, 'UTF8')), 1, 15)
$$;

CREATE UNLOGGED TABLE bench.people (
    number bigint PRIMARY KEY,
    email text NOT NULL,
    email_hash text NOT NULL,
    first_at timestamptz NOT NULL,           -- of the first order
    fingerprints bytea[] NOT NULL            -- rising, as an order has them
);

CREATE FUNCTION bench.add_people(low bigint, high bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO bench.people (number, email, email_hash, first_at, fingerprints)
    SELECT n, 'c' || n || '@bench.example',
           encode(bench.hmac(convert_to('c' || n || '@bench.example', 'UTF8')), 'hex'),
           p.began + make_interval(days => (n * 37 % 100)::int, secs => n % 86400),
           ARRAY[
               bench.fingerprint(1, 'shipping_address', 'house ' || h),
               bench.fingerprint(2, 'billing_address', 'house ' || h),
               bench.fingerprint(3, 'phone', 'phone ' || n),
               bench.fingerprint(4, 'ip', 'ip ' || n / 20),
               bench.fingerprint(6, 'device', 'device ' || n)
           ]
    FROM bench.population p, generate_series(low, high) AS n,
         LATERAL (SELECT n - (n % 10 = 0)::int AS h) AS house
$$;

CREATE FUNCTION bench.add_customers(low bigint, high bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO scorer.customers (store_id, email_hash, email, email_domain, trust_score, segment, own_score,
        total_orders, completed_orders, total_order_value, first_completed_at, first_order_at, last_order_at, sequence,
        linked_accounts_count, next_change_at, created_at, updated_at)
    SELECT p.store_id, c.email_hash, c.email, 'bench.example', 85, 'trusted', 85, 10, 10, 1000, c.first_at, c.first_at,
           c.first_at + interval '360 days', 20, (c.number % 10 IN (0, 9))::int, now() + interval '30 days', c.first_at, now()
    FROM bench.population p, bench.people c
    WHERE c.number BETWEEN low AND high
$$;

CREATE FUNCTION bench.add_fingerprints(low bigint, high bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO scorer.fingerprints (store_id, hash, email_hash, first_at)
    SELECT p.store_id, f.hash, c.email_hash, c.first_at
    FROM bench.population p, bench.people c, unnest(c.fingerprints) AS f (hash)
    WHERE c.number BETWEEN low AND high
$$;

CREATE FUNCTION bench.add_link_hashes() RETURNS void LANGUAGE sql AS $$
    INSERT INTO scorer.link_hashes (store_id, hash, customers)
    SELECT store_id, hash, least(count(*), 51) FROM scorer.fingerprints GROUP BY store_id, hash
$$;

CREATE FUNCTION bench.add_orders(low bigint, high bigint) RETURNS void LANGUAGE sql AS $$
    WITH made AS (
        SELECT p.store_id, j AS order_id, c.email_hash, c.fingerprints,
               c.first_at + (j - 1) / p.customers * interval '40 days' AS at, t.turn, (t.turn % 10 = 5)::int AS refunds
        FROM bench.population p, generate_series(low, high) AS j
        JOIN bench.people c ON c.number = (j - 1) % (SELECT customers FROM bench.population) + 1
        -- So that what every tenth order has is had by each person once.
        CROSS JOIN LATERAL (SELECT j + (j - 1) / p.customers AS turn) AS t
    ),
    ordered AS (
        INSERT INTO scorer.orders (store_id, order_id, email_hash, number, status, currency, total, item_count,
            payment_method, billing_country, shipping_country, created_at, modified_at, refund_count, full_refund_count,
            refund_value, listed_refunds, digest, announced, disputed, coupons, product_ids, categories, fingerprints)
        SELECT store_id, order_id, email_hash, order_id::text, 'completed', 'GBP', 20 + order_id % 180, 1, 'stripe',
               'GB', 'GB', at, at, refunds, 0, refunds, refunds, sha256(int8send(order_id)), true, turn % 50 = 0,
               CASE WHEN turn % 10 = 3 THEN '[["save10", false]]'::jsonb END,
               ARRAY[order_id % 5000 + 1], ARRAY['c' || order_id % 50], fingerprints
        FROM made
    ),
    refunded AS (
        INSERT INTO scorer.refunds (store_id, order_id, refund_id, amount, reason)
        SELECT store_id, order_id, order_id, 1, '' FROM made WHERE refunds > 0
    ),
    paid AS (
        INSERT INTO scorer.payments (store_id, payment, order_id)
        SELECT store_id, 'pi_' || order_id, order_id FROM made WHERE turn % 2 = 0
    ),
    disputed AS (
        INSERT INTO scorer.disputes (store_id, dispute_id, order_id, payments, amount, currency, reason, status,
            opened_at, modified_at, digest, told)
        SELECT store_id, 'dp_' || order_id, order_id, ARRAY['pi_' || order_id], 20 + order_id % 180, 'GBP', '', 'won',
               at, at, sha256(int8send(order_id)), 'won'
        FROM made WHERE turn % 50 = 0
    ),
    tried AS (
        INSERT INTO scorer.checkouts (store_id, id, email_hash, kind, at, decision, code, country, fingerprints)
        SELECT store_id, gen_random_uuid(), email_hash, 'attempt', at, 'allow', '', '', fingerprints
        FROM made WHERE turn % 20 = 1
    ),
    -- Of orders that never came.
    deleted AS (
        INSERT INTO scorer.deleted_orders (store_id, order_id, deleted_at)
        SELECT store_id, 1000000000 + order_id, at FROM made WHERE turn % 20 = 7
    )
    INSERT INTO scorer.reported_refunds (store_id, order_id, refund_id, amount, reason, reported_at)
    SELECT store_id, 2000000000 + order_id, order_id, 10, '', at FROM made WHERE turn % 20 = 9
$$;

CREATE FUNCTION bench.add_products(count bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO scorer.products (store_id, product_id, categories, modified_at, digest)
    SELECT p.store_id, n, ARRAY['c' || (n - 1) % 50], p.began, sha256(int8send(n))
    FROM bench.population p, generate_series(1, count) AS n
$$;
