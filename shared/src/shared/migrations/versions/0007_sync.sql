-- Reading a store through its own REST API, and what its orders tell of cards.

-- Jobs of the api, and where each store's catch-up stands -------------------------------------------------------------

CREATE TABLE api.jobs (
    id uuid PRIMARY KEY,
    store_id uuid NOT NULL,
    kind text NOT NULL,                      -- connect, sync
    params jsonb NOT NULL,
    state text NOT NULL,                     -- queued, running, done, failed, cancelled
    done bigint NOT NULL DEFAULT 0,
    total bigint,
    position text,                           -- where to go on, and the books so far
    error text,
    result jsonb,                            -- what it found; of a failed one: what it had found by then
    leased_until timestamptz,
    created_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX ON api.jobs (state) WHERE state IN ('queued', 'running');
CREATE INDEX ON api.jobs (store_id, created_at);

CREATE TABLE api.syncs (
    store_id uuid PRIMARY KEY,
    delivery_url text,                       -- where the webhooks that we made go; NULL: we made none
    webhook_at timestamptz,                  -- when the latest webhook came
    watermark timestamptz,                   -- whatever the store changed before has been read; NULL: never polled
    polled_at timestamptz,                   -- when the latest poll ended, well or not
    poll_error text,                         -- in words; NULL: it went well
    gaps bigint NOT NULL DEFAULT 0,          -- orders that a poll found and no webhook had told
    last_gap_at timestamptz,
    lease uuid,                              -- the poll that may write here
    leased_until timestamptz
);

-- Card brands ----------------------------------------------------------------------------------------------------------

LOCK TABLE scorer.orders IN SHARE ROW EXCLUSIVE MODE; -- until the commit nobody adds to what is counted here

ALTER TABLE scorer.orders ADD card_brand text COLLATE "C" NOT NULL DEFAULT '';   -- '': not known, or no card
ALTER TABLE scorer.payments ADD card_brand text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE scorer.disputes
    ADD card_brand text COLLATE "C" NOT NULL DEFAULT '',
    ADD filed_at timestamptz;                -- since when it is more than an inquiry; NULL: it is none
UPDATE scorer.disputes SET filed_at = opened_at WHERE status <> 'warning';
CREATE INDEX ON scorer.disputes (store_id, filed_at) WHERE filed_at IS NOT NULL;

ALTER TABLE api.stores ADD chargebacks jsonb NOT NULL DEFAULT '{}'; -- what differs from api.chargebacks.Settings

CREATE TABLE scorer.order_months (           -- orders that count as such; exact with order_month_deltas added
    store_id uuid NOT NULL,
    month date NOT NULL,                     -- its first day, UTC, of the orders' own times
    card_brand text COLLATE "C" NOT NULL,
    orders bigint NOT NULL,
    PRIMARY KEY (store_id, month, card_brand)
);
CREATE TABLE scorer.order_month_deltas (     -- what a statement added to the sums; folded into them every few seconds
    LIKE scorer.order_months,
    id bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (store_id, id)
);

INSERT INTO scorer.order_months (store_id, month, card_brand, orders)
SELECT store_id, date_trunc('month', created_at, 'UTC') AT TIME ZONE 'UTC', card_brand, count(*)
FROM scorer.orders
WHERE NOT deleted AND status NOT IN ('checkout-draft', 'pending', 'failed', 'cancelled', 'trash')
GROUP BY 1, 2, 3;

-- As of customers: the sums follow in the statement that writes the orders, whoever sends it.
CREATE FUNCTION scorer.follow_new_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO scorer.order_month_deltas (store_id, month, card_brand, orders)
    SELECT store_id, date_trunc('month', created_at, 'UTC') AT TIME ZONE 'UTC', card_brand, count(*)
    FROM after
    WHERE NOT deleted AND status NOT IN ('checkout-draft', 'pending', 'failed', 'cancelled', 'trash')
    GROUP BY 1, 2, 3;
    RETURN NULL;
END $$;

CREATE FUNCTION scorer.follow_changed_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO scorer.order_month_deltas (store_id, month, card_brand, orders)
    SELECT store_id, date_trunc('month', created_at, 'UTC') AT TIME ZONE 'UTC', card_brand, sum(sign)
    FROM (
        SELECT 1 AS sign, store_id, created_at, card_brand, deleted, status FROM after
        UNION ALL
        SELECT -1, store_id, created_at, card_brand, deleted, status FROM before
    ) AS moved
    WHERE NOT deleted AND status NOT IN ('checkout-draft', 'pending', 'failed', 'cancelled', 'trash')
    GROUP BY 1, 2, 3
    HAVING sum(sign) <> 0;
    RETURN NULL;
END $$;

CREATE FUNCTION scorer.follow_gone_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO scorer.order_month_deltas (store_id, month, card_brand, orders)
    SELECT store_id, date_trunc('month', created_at, 'UTC') AT TIME ZONE 'UTC', card_brand, -count(*)
    FROM before
    WHERE NOT deleted AND status NOT IN ('checkout-draft', 'pending', 'failed', 'cancelled', 'trash')
    GROUP BY 1, 2, 3;
    RETURN NULL;
END $$;

CREATE TRIGGER follow_new AFTER INSERT ON scorer.orders REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION scorer.follow_new_orders();
CREATE TRIGGER follow_changed AFTER UPDATE ON scorer.orders REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION scorer.follow_changed_orders();
CREATE TRIGGER follow_gone AFTER DELETE ON scorer.orders REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION scorer.follow_gone_orders();
