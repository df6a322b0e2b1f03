-- What the API reads, beside what the services write.

-- Lists and statistics -------------------------------------------------------------------------------------------------

LOCK TABLE scorer.customers IN SHARE ROW EXCLUSIVE MODE; -- until the commit nobody moves what is copied and counted here

-- What lists of customers are filtered and sorted by. A narrow copy: customers' own rows are rewritten with every fact,
-- and an index on what changes would have all their indexes hear of it. Each index begins with the group that a
-- customer is in (store, segment, blocked, allowlisted), because how many there are in each is kept below.
CREATE TABLE scorer.listed (
    id bigint PRIMARY KEY,                   -- scorer.customers.id
    store_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    last_order_at timestamptz,
    total_orders integer NOT NULL,
    trust_score smallint NOT NULL,
    is_blocked boolean NOT NULL,
    is_allowlisted boolean NOT NULL,
    segment text COLLATE "C" NOT NULL,
    return_rate real NOT NULL,               -- to sort by: in the order of the exact one, and compared quicker
    tags text[] NOT NULL
);
INSERT INTO scorer.listed (id, store_id, created_at, last_order_at, total_orders, trust_score, is_blocked,
    is_allowlisted, segment, return_rate, tags)
SELECT id, store_id, created_at, last_order_at, total_orders, trust_score, is_blocked, is_allowlisted, segment,
       return_rate, tags
FROM scorer.customers ORDER BY id;
CREATE INDEX ON scorer.listed (store_id, segment, is_blocked, is_allowlisted, trust_score, id);
CREATE INDEX ON scorer.listed (store_id, segment, is_blocked, is_allowlisted, total_orders, id);
CREATE INDEX ON scorer.listed (store_id, segment, is_blocked, is_allowlisted, return_rate, id);
CREATE INDEX ON scorer.listed (store_id, segment, is_blocked, is_allowlisted, created_at, id);
CREATE INDEX ON scorer.listed USING gin (tags) WITH (fastupdate = off) WHERE tags <> '{}';
-- Deep pages are read from an index alone where a page of the table is known to be visible to all, which vacuum notes.
ALTER TABLE scorer.listed SET (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.001,
    autovacuum_vacuum_insert_threshold = 1000, autovacuum_vacuum_insert_scale_factor = 0.001);

CREATE TABLE scorer.stats (                  -- sums over the customers of a group; exact with stats_deltas added
    store_id uuid NOT NULL,
    segment text COLLATE "C" NOT NULL,
    is_blocked boolean NOT NULL,
    is_allowlisted boolean NOT NULL,
    customers bigint NOT NULL,
    trust_score bigint NOT NULL,
    return_rate numeric NOT NULL,
    total_orders bigint NOT NULL,
    total_refunds bigint NOT NULL,
    PRIMARY KEY (store_id, segment, is_blocked, is_allowlisted)
);
CREATE TABLE scorer.stats_deltas (           -- what a commit added to the sums; folded into them every few seconds
    LIKE scorer.stats,
    id bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (store_id, id)
);
INSERT INTO scorer.stats (store_id, segment, is_blocked, is_allowlisted, customers, trust_score, return_rate,
    total_orders, total_refunds)
SELECT store_id, segment, is_blocked, is_allowlisted, count(*), sum(trust_score), sum(return_rate), sum(total_orders),
       sum(total_refunds)
FROM scorer.customers GROUP BY store_id, segment, is_blocked, is_allowlisted;

-- Copy and sums follow in the statement that writes the customers, whoever sends it: also the scorer of before this
-- migration, which runs until it is replaced, and the hand that mends a row.
CREATE FUNCTION scorer.follow_new_customers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO scorer.listed (id, store_id, created_at, last_order_at, total_orders, trust_score, is_blocked,
        is_allowlisted, segment, return_rate, tags)
    SELECT id, store_id, created_at, last_order_at, total_orders, trust_score, is_blocked, is_allowlisted, segment,
           return_rate, tags
    FROM after;
    INSERT INTO scorer.stats_deltas (store_id, segment, is_blocked, is_allowlisted, customers, trust_score, return_rate,
        total_orders, total_refunds)
    SELECT store_id, segment, is_blocked, is_allowlisted, count(*), sum(trust_score), sum(return_rate),
           sum(total_orders), sum(total_refunds)
    FROM after GROUP BY store_id, segment, is_blocked, is_allowlisted;
    RETURN NULL;
END $$;

CREATE FUNCTION scorer.follow_changed_customers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- An upsert and not an update: its plan is by the id, however few rows there were when it was planned.
    INSERT INTO scorer.listed (id, store_id, created_at, last_order_at, total_orders, trust_score, is_blocked,
        is_allowlisted, segment, return_rate, tags)
    SELECT id, store_id, created_at, last_order_at, total_orders, trust_score, is_blocked, is_allowlisted, segment,
           return_rate, tags
    FROM after
    EXCEPT
    SELECT id, store_id, created_at, last_order_at, total_orders, trust_score, is_blocked, is_allowlisted, segment,
           return_rate, tags
    FROM before
    ON CONFLICT (id) DO UPDATE SET store_id = EXCLUDED.store_id, created_at = EXCLUDED.created_at,
        last_order_at = EXCLUDED.last_order_at, total_orders = EXCLUDED.total_orders,
        trust_score = EXCLUDED.trust_score, is_blocked = EXCLUDED.is_blocked,
        is_allowlisted = EXCLUDED.is_allowlisted, segment = EXCLUDED.segment, return_rate = EXCLUDED.return_rate,
        tags = EXCLUDED.tags;
    INSERT INTO scorer.stats_deltas (store_id, segment, is_blocked, is_allowlisted, customers, trust_score, return_rate,
        total_orders, total_refunds)
    SELECT store_id, segment, is_blocked, is_allowlisted, sum(sign), sum(sign * trust_score), sum(sign * return_rate),
           sum(sign * total_orders), sum(sign * total_refunds)
    FROM (
        SELECT 1 AS sign, store_id, segment, is_blocked, is_allowlisted, trust_score, return_rate, total_orders,
               total_refunds FROM after
        UNION ALL
        SELECT -1, store_id, segment, is_blocked, is_allowlisted, trust_score, return_rate, total_orders,
               total_refunds FROM before
    ) AS moved
    GROUP BY store_id, segment, is_blocked, is_allowlisted
    HAVING (sum(sign), sum(sign * trust_score), sum(sign * return_rate), sum(sign * total_orders),
            sum(sign * total_refunds)) <> (0, 0, 0, 0, 0);
    RETURN NULL;
END $$;

CREATE FUNCTION scorer.follow_gone_customers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM scorer.listed WHERE id IN (SELECT id FROM before);
    INSERT INTO scorer.stats_deltas (store_id, segment, is_blocked, is_allowlisted, customers, trust_score, return_rate,
        total_orders, total_refunds)
    SELECT store_id, segment, is_blocked, is_allowlisted, -count(*), -sum(trust_score), -sum(return_rate),
           -sum(total_orders), -sum(total_refunds)
    FROM before GROUP BY store_id, segment, is_blocked, is_allowlisted;
    RETURN NULL;
END $$;

CREATE TRIGGER follow_new AFTER INSERT ON scorer.customers REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION scorer.follow_new_customers();
CREATE TRIGGER follow_changed AFTER UPDATE ON scorer.customers REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION scorer.follow_changed_customers();
CREATE TRIGGER follow_gone AFTER DELETE ON scorer.customers REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION scorer.follow_gone_customers();

-- Keys, and who did what ---------------------------------------------------------------------------------------------

ALTER TABLE api.keys ADD last_used_at timestamptz; -- to the minute

CREATE TABLE api.audit (                     -- written before what it tells is done; its status after it
    id uuid PRIMARY KEY,
    store_id uuid NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,                     -- key:<prefix>, or cli
    key_id uuid,
    key_name text,                           -- as it was called then
    action text NOT NULL,                    -- method and route: PATCH /customers/{email_hash}
    objects text[] NOT NULL,                 -- ids and hashes: what the path names, then what was made
    address text,                            -- whence
    status smallint                          -- of the answer; NULL: it was begun, and nobody knows
);
CREATE INDEX ON api.audit (store_id, at);
CREATE INDEX ON api.audit (at);

CREATE TABLE api.idempotency (               -- what was asked for with an Idempotency-Key
    id uuid PRIMARY KEY,                     -- follows from the API key, the path and the Idempotency-Key
    body bytea NOT NULL,                     -- SHA-256: the same id with another body is a mistake
    claimed_until timestamptz,               -- while somebody is doing it; NULL: done
    status smallint,
    answer bytea,                            -- sealed
    created_at timestamptz NOT NULL
);
CREATE INDEX ON api.idempotency (created_at);

-- Erasure --------------------------------------------------------------------------------------------------------------

CREATE INDEX ON scorer.customers (erased_at) WHERE erased_at IS NOT NULL;

ALTER TABLE api.raw_input
    ADD email_hash text,                     -- of whom it tells; NULL: of nobody, or it is older than this column
    ADD order_id bigint;                     -- of which order it tells, where it does not say of whom
CREATE INDEX ON api.raw_input USING hash (email_hash) WHERE email_hash IS NOT NULL;
CREATE INDEX ON api.raw_input (store_id, order_id) WHERE order_id IS NOT NULL;

CREATE TABLE api.erasures (                  -- which of the scorer's erasures were followed here
    store_id uuid NOT NULL,
    email_hash text NOT NULL,
    erased_at timestamptz NOT NULL,
    followed_at timestamptz NOT NULL,
    raw_inputs integer NOT NULL,             -- how many were emptied
    dead_messages integer NOT NULL,
    PRIMARY KEY (store_id, email_hash)
);

-- Settings of a store --------------------------------------------------------------------------------------------------

ALTER TABLE api.stores ADD enforce_blocking boolean NOT NULL DEFAULT true;
