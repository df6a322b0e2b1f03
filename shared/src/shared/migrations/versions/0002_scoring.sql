-- All facts of the eight modules, what links customers, the timeline, score history, scoring settings and jobs.

ALTER TABLE scorer.customers
    ADD own_score smallint,                  -- the score without what comes from links; NULL: never scored
    ADD first_coupon_at timestamptz,         -- when a first-order coupon was used first
    ADD total_disputes integer NOT NULL DEFAULT 0,
    ADD disputes_won integer NOT NULL DEFAULT 0,
    ADD disputes_lost integer NOT NULL DEFAULT 0,
    ADD total_coupons_used integer NOT NULL DEFAULT 0,
    ADD first_order_coupons integer NOT NULL DEFAULT 0,
    ADD coupon_then_refund integer NOT NULL DEFAULT 0,
    ADD linked_accounts_count integer NOT NULL DEFAULT 0,
    ADD shipping_points smallint NOT NULL DEFAULT 0,      -- of the module: worse than before is an anomaly detected
    ADD card_testing_at timestamptz,         -- the latest sign of card testing that an event told, or continued
    ADD next_change_at timestamptz,          -- when time alone may change the score; NULL: never
    ADD erased_at timestamptz;
CREATE INDEX ON scorer.customers (next_change_at) WHERE next_change_at IS NOT NULL;
-- Every fact rewrites its customer's row: with room on the page the indexes need not hear of it.
ALTER TABLE scorer.customers SET (fillfactor = 75);
ALTER TABLE scorer.orders SET (fillfactor = 85);

-- What features need of an order stands in its row, settled by the batch that changes it; refund_count too is now
-- without the refunds that a lost dispute caused.
ALTER TABLE scorer.orders
    ADD full_refund_count integer NOT NULL DEFAULT 0,
    ADD refund_value numeric NOT NULL DEFAULT 0,          -- of refund_count refunds, at most the total
    ADD listed_refunds integer NOT NULL DEFAULT 0,        -- refunds that the version itself lists: part of its rank
    ADD deleted boolean NOT NULL DEFAULT false,           -- in the store's trash since this version
    ADD disputed boolean NOT NULL DEFAULT false,          -- a dispute names it
    ADD coupons jsonb,                       -- [[code, once], ...]; NULL: none
    ADD product_ids bigint[] NOT NULL DEFAULT '{}',
    ADD categories text[] NOT NULL DEFAULT '{}',          -- slugs, from the products as they are known
    ADD fingerprints bytea[] NOT NULL DEFAULT '{}';       -- rising; a shipping address comes first

UPDATE scorer.orders o SET listed_refunds = o.refund_count, full_refund_count = r.full_refunds,
    refund_value = least(r.value, o.total)
FROM (
    SELECT store_id, order_id, sum(amount) AS value, count(*) FILTER (WHERE abs(amount - total) <= 0.01) AS full_refunds
    FROM scorer.refunds JOIN scorer.orders USING (store_id, order_id) GROUP BY store_id, order_id
) AS r
WHERE o.store_id = r.store_id AND o.order_id = r.order_id AND o.refund_count > 0;

CREATE TABLE scorer.reported_refunds (       -- told by themselves, by stores whose orders do not list them
    store_id uuid NOT NULL,
    order_id bigint NOT NULL,
    refund_id bigint NOT NULL,
    amount numeric NOT NULL,
    reason text NOT NULL,
    reported_at timestamptz NOT NULL,        -- of the latest report, which wins
    PRIMARY KEY (store_id, order_id, refund_id)
);

CREATE TABLE scorer.deleted_orders (
    store_id uuid NOT NULL,
    order_id bigint NOT NULL,
    deleted_at timestamptz NOT NULL,         -- versions up to here are in the trash
    PRIMARY KEY (store_id, order_id)
);

CREATE TABLE scorer.disputes (
    store_id uuid NOT NULL,
    dispute_id text NOT NULL,
    order_id bigint,                         -- NULL: the order is not known yet
    payments text[] NOT NULL,
    amount numeric NOT NULL,
    currency text NOT NULL,
    reason text NOT NULL,
    status text NOT NULL,                    -- warning, open, under_review, won, lost
    opened_at timestamptz NOT NULL,          -- of the earliest fact
    modified_at timestamptz NOT NULL,        -- of the latest
    digest bytea NOT NULL,
    told text,                               -- the status that the customer's events and timeline know; NULL: none
    PRIMARY KEY (store_id, dispute_id)
);
CREATE INDEX ON scorer.disputes (store_id, order_id);
CREATE INDEX ON scorer.disputes USING gin (payments) WHERE order_id IS NULL;

CREATE TABLE scorer.payments (               -- which order a payment belongs to; locked to join disputes and orders
    store_id uuid NOT NULL,
    payment text NOT NULL,
    order_id bigint,                         -- NULL: a dispute named it before its order came
    PRIMARY KEY (store_id, payment)
);

CREATE TABLE scorer.checkouts (              -- declines and attempts of customers
    store_id uuid NOT NULL,
    id uuid NOT NULL,                        -- the fact's
    email_hash text NOT NULL,
    kind text NOT NULL,                      -- decline, attempt
    at timestamptz NOT NULL,
    decision text,
    reason text,
    code text NOT NULL,
    country text NOT NULL,
    fingerprints bytea[] NOT NULL,
    PRIMARY KEY (store_id, id)
);
CREATE INDEX ON scorer.checkouts (store_id, email_hash, at);

CREATE TABLE scorer.products (
    store_id uuid NOT NULL,
    product_id bigint NOT NULL,
    categories text[] NOT NULL,              -- slugs
    modified_at timestamptz NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (store_id, product_id)
);
CREATE TABLE scorer.categories (             -- names to show
    store_id uuid NOT NULL,
    slug text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (store_id, slug)
);

CREATE TABLE scorer.fingerprints (           -- what customers have used: from the winning orders and the checkouts
    store_id uuid NOT NULL,
    hash bytea NOT NULL,                     -- the first byte is its kind
    email_hash text NOT NULL,
    first_at timestamptz NOT NULL,
    PRIMARY KEY (store_id, hash, email_hash)
);
CREATE INDEX ON scorer.fingerprints (store_id, email_hash);

CREATE TABLE scorer.link_hashes (            -- how many share one; locked by whoever adds or removes a customer
    store_id uuid NOT NULL,
    hash bytea NOT NULL,
    customers integer NOT NULL,              -- exact up to 51; above it is a hub, which links nobody
    PRIMARY KEY (store_id, hash)
);

CREATE TABLE scorer.timeline (
    recorded_at timestamptz NOT NULL,
    id uuid NOT NULL,
    store_id uuid NOT NULL,
    email_hash text NOT NULL,
    type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    data jsonb NOT NULL,
    PRIMARY KEY (recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX ON scorer.timeline (store_id, email_hash, occurred_at);

CREATE TABLE scorer.score_history (          -- one row for the first score, and for each change of score or segment
    store_id uuid NOT NULL,
    email_hash text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    trust_score smallint NOT NULL,
    segment text NOT NULL,
    points jsonb NOT NULL,                   -- by module
    cause text NOT NULL,                     -- why it was scored: scorer.changes.Asked
    PRIMARY KEY (store_id, email_hash, id)
);

CREATE TABLE scorer.scoring (                -- how a store scores; the current version
    store_id uuid PRIMARY KEY,
    version integer NOT NULL,
    currency text NOT NULL,                  -- of the first order, until somebody sets another
    settings jsonb NOT NULL                  -- what differs from the defaults
);
CREATE TABLE scorer.scoring_versions (
    store_id uuid NOT NULL,
    version integer NOT NULL,
    currency text NOT NULL,
    settings jsonb NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (store_id, version)
);

CREATE TABLE scorer.jobs (
    id uuid PRIMARY KEY,
    store_id uuid NOT NULL,
    kind text NOT NULL,                      -- recompute, categories
    params jsonb NOT NULL DEFAULT '{}',
    state text NOT NULL,                     -- queued, running, done, failed, cancelled
    done bigint NOT NULL DEFAULT 0,
    total bigint,
    position text,                           -- where to go on
    error text,
    leased_until timestamptz,
    created_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX ON scorer.jobs (state) WHERE state IN ('queued', 'running');
CREATE INDEX ON scorer.jobs (store_id, created_at);

-- Rows are only added and taken: whoever marks a customer never waits for whoever is rescoring it.
ALTER TABLE scorer.rescore_due
    DROP CONSTRAINT rescore_due_pkey,
    ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ADD reason text NOT NULL DEFAULT 'link'; -- why: scorer.changes.Asked
