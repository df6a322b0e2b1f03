-- One schema per service: its tables have one writer, everybody may read them.
CREATE SCHEMA api;
CREATE SCHEMA scorer;
CREATE SCHEMA rule_engine;
CREATE SCHEMA dispatcher;

-- Made apart and attached: that needs no lock that would stop readers and writers of the parent.
CREATE FUNCTION trustlens_make_partition(parent text, week timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    child text := parent || to_char(week AT TIME ZONE 'UTC', '_IYYY"w"IW');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(child, 0));
    IF to_regclass(child) IS NULL THEN
        EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', child, parent);
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                       parent, child, week, week + interval '7 days');
    END IF;
END $$;

-- Drops the partitions whose rows are all older. Gives way at once to a long reader: there is another day.
CREATE FUNCTION trustlens_drop_partitions(parent text, before timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    child text;
BEGIN
    SET LOCAL lock_timeout = '2s';
    FOR child IN
        SELECT c.oid::regclass::text
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = parent::regclass
          AND substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)')::timestamptz <= before
    LOOP
        EXECUTE 'DROP TABLE ' || child;
    END LOOP;
END $$;

DO $$
DECLARE
    service text;
BEGIN
    FOREACH service IN ARRAY ARRAY['api', 'scorer', 'rule_engine', 'dispatcher'] LOOP
        EXECUTE format($ddl$
            CREATE TABLE %1$I.outbox (
                id uuid PRIMARY KEY,
                exchange text NOT NULL,
                routing_key text NOT NULL,
                headers jsonb NOT NULL,
                body bytea NOT NULL,
                claimed_until timestamptz NOT NULL
            );
            CREATE INDEX ON %1$I.outbox (claimed_until);
            CREATE TABLE %1$I.suspects (
                queue text NOT NULL,
                message_id text NOT NULL,
                tries integer NOT NULL,
                last_try_at timestamptz NOT NULL,
                PRIMARY KEY (queue, message_id)
            );
            CREATE TABLE %1$I.commands_seen (
                id uuid PRIMARY KEY,
                type text NOT NULL,
                actor text NOT NULL,
                answer json,             -- as text, so that the second answer equals the first; a string if sealed
                seen_at timestamptz NOT NULL
            );
            CREATE INDEX ON %1$I.commands_seen (seen_at);
        $ddl$, service);
    END LOOP;
END $$;

-- api ---------------------------------------------------------------------------------------------------------------

CREATE TABLE api.stores (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    url text NOT NULL,
    hash_key bytea NOT NULL,                 -- sealed; made once: another would orphan every email_hash
    woocommerce_secret bytea NOT NULL,       -- sealed
    stripe_secret bytea NOT NULL,            -- sealed
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL
);

CREATE TABLE api.keys (
    id uuid PRIMARY KEY,
    store_id uuid NOT NULL REFERENCES api.stores,
    name text NOT NULL,
    scopes text[] NOT NULL,
    prefix text NOT NULL,                    -- the first characters, to tell keys apart
    sha256 bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE TABLE api.raw_input (
    received_at timestamptz NOT NULL,
    id uuid NOT NULL,
    store_id uuid NOT NULL,
    source text NOT NULL,
    topic text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (received_at, id)
) PARTITION BY RANGE (received_at);

CREATE TABLE api.input_seen (
    digest bytea PRIMARY KEY,                -- of store, source, webhook, delivery and body
    input_id uuid NOT NULL,
    seen_at timestamptz NOT NULL
);
CREATE INDEX ON api.input_seen (seen_at);

-- scorer ------------------------------------------------------------------------------------------------------------

CREATE TABLE scorer.customers (
    store_id uuid NOT NULL,
    email_hash text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    email text,                              -- NULL after erasure
    email_domain text,
    trust_score smallint NOT NULL DEFAULT 50,
    segment text NOT NULL DEFAULT 'normal',
    signals jsonb NOT NULL DEFAULT '[]',
    is_blocked boolean NOT NULL DEFAULT false,
    block_reason text,
    is_allowlisted boolean NOT NULL DEFAULT false,
    total_orders integer NOT NULL DEFAULT 0,
    completed_orders integer NOT NULL DEFAULT 0,
    cancelled_orders integer NOT NULL DEFAULT 0,
    total_order_value numeric NOT NULL DEFAULT 0,
    total_refunds integer NOT NULL DEFAULT 0,
    total_refund_value numeric NOT NULL DEFAULT 0,
    full_refunds integer NOT NULL DEFAULT 0,
    return_rate numeric(4, 1) NOT NULL DEFAULT 0,
    first_completed_at timestamptz,
    first_order_at timestamptz,
    last_order_at timestamptz,
    tags text[] NOT NULL DEFAULT '{}',
    sequence bigint NOT NULL DEFAULT 0,      -- of the customer's last event
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (store_id, email_hash)
);

CREATE TABLE scorer.orders (
    store_id uuid NOT NULL,
    order_id bigint NOT NULL,
    email_hash text,                         -- NULL: the order has no e-mail and belongs to nobody
    number text NOT NULL,
    status text NOT NULL,
    currency text NOT NULL,
    total numeric NOT NULL,
    item_count integer NOT NULL,
    payment_method text NOT NULL,
    billing_country text NOT NULL,
    shipping_country text NOT NULL,
    created_at timestamptz NOT NULL,         -- the store's times
    modified_at timestamptz NOT NULL,
    refund_count integer NOT NULL,
    digest bytea NOT NULL,                   -- sha256 of this version
    announced boolean NOT NULL,              -- order_placed has been told
    PRIMARY KEY (store_id, order_id)
);
CREATE INDEX ON scorer.orders (store_id, email_hash);

CREATE TABLE scorer.refunds (
    store_id uuid NOT NULL,
    order_id bigint NOT NULL,
    refund_id bigint NOT NULL,
    amount numeric NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (store_id, order_id, refund_id)
);

CREATE TABLE scorer.events (
    recorded_at timestamptz NOT NULL,
    id uuid NOT NULL,
    store_id uuid NOT NULL,
    email_hash text NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    body bytea NOT NULL,                     -- the event as it was published
    PRIMARY KEY (recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX ON scorer.events (store_id, email_hash, sequence);
CREATE INDEX ON scorer.events (store_id, type, recorded_at);

CREATE TABLE scorer.input_outcomes (
    input_id uuid PRIMARY KEY,
    outcome text NOT NULL,                   -- applied, unchanged, stale, rejected
    reason text,
    at timestamptz NOT NULL
);
CREATE INDEX ON scorer.input_outcomes (at);

CREATE TABLE scorer.rescore_due (
    store_id uuid NOT NULL,
    email_hash text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (store_id, email_hash)
);

-- rule-engine -------------------------------------------------------------------------------------------------------

CREATE TABLE rule_engine.revisions (store_id uuid PRIMARY KEY, revision bigint NOT NULL);

CREATE TABLE rule_engine.rules (
    id uuid PRIMARY KEY,
    store_id uuid NOT NULL,
    version integer NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    trigger text NOT NULL,
    conditions jsonb,
    actions jsonb NOT NULL,                  -- secrets live in targets
    cooldown integer NOT NULL,               -- seconds
    hourly_limit integer NOT NULL,
    mode text NOT NULL,                      -- live, shadow, off
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX ON rule_engine.rules (store_id, trigger);

CREATE TABLE rule_engine.targets (           -- where a rule's own send_webhook action goes
    id uuid PRIMARY KEY,                     -- X-TrustLens-Webhook-ID, stable over versions of the rule
    store_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    url text NOT NULL,
    secret bytea NOT NULL,                   -- sealed
    headers bytea,                           -- sealed JSON
    timeout smallint NOT NULL                -- seconds
);

CREATE TABLE rule_engine.cooldowns (
    rule_id uuid NOT NULL,
    email_hash text NOT NULL,
    fired_at timestamptz,                    -- recorded_at of the event that fired last
    PRIMARY KEY (rule_id, email_hash)
);

CREATE TABLE rule_engine.evaluations (       -- one row per event, its skipped rules compactly
    recorded_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    store_id uuid NOT NULL,
    email_hash text NOT NULL,
    trigger text NOT NULL,
    order_id bigint,
    skips jsonb NOT NULL,                    -- [{rule_id, rule_version, reason}]
    PRIMARY KEY (recorded_at, event_id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX ON rule_engine.evaluations (store_id, email_hash, recorded_at);

CREATE TABLE rule_engine.firings (
    recorded_at timestamptz NOT NULL,
    id uuid NOT NULL,                        -- follows from rule and event
    event_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    rule_version integer NOT NULL,
    store_id uuid NOT NULL,
    email_hash text NOT NULL,
    trigger text NOT NULL,
    order_id bigint,
    reason text NOT NULL,
    values jsonb NOT NULL,
    actions jsonb NOT NULL,                  -- [{type, id}]: id names the delivery or the command
    PRIMARY KEY (recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX ON rule_engine.firings (rule_id, recorded_at);
CREATE INDEX ON rule_engine.firings (store_id, email_hash, recorded_at);

-- dispatcher --------------------------------------------------------------------------------------------------------

CREATE TABLE dispatcher.revisions (store_id uuid PRIMARY KEY, revision bigint NOT NULL);

CREATE TABLE dispatcher.endpoints (
    id uuid PRIMARY KEY,                     -- X-TrustLens-Webhook-ID
    store_id uuid NOT NULL,
    url text NOT NULL,
    description text NOT NULL,
    events text[] NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    disabled_reason text,
    delivery text NOT NULL,                  -- fire_and_log, retry
    format text NOT NULL,
    include_email boolean NOT NULL,
    timeout smallint NOT NULL,               -- seconds
    headers bytea,                           -- sealed JSON
    secret bytea NOT NULL,                   -- sealed
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX ON dispatcher.endpoints (store_id);

CREATE TABLE dispatcher.bodies (             -- once per event and shape, whatever the number of endpoints
    recorded_at timestamptz NOT NULL,
    source_id uuid NOT NULL,                 -- the event, or the automation
    shape text NOT NULL,
    email_hash text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (recorded_at, source_id, shape)
) PARTITION BY RANGE (recorded_at);

CREATE TABLE dispatcher.deliveries (
    recorded_at timestamptz NOT NULL,        -- of the event
    id uuid NOT NULL,                        -- X-TrustLens-Delivery
    store_id uuid NOT NULL,
    target_id uuid NOT NULL,                 -- the endpoint, or the rule action's own target
    endpoint_id uuid,
    rule_id uuid,
    event text NOT NULL,
    source_id uuid NOT NULL,
    shape text NOT NULL,
    email_hash text NOT NULL,
    sequence bigint NOT NULL,
    mode text NOT NULL,                      -- fire_and_log, retry
    status text NOT NULL,                    -- pending, delivered, failed, retrying, exhausted, suppressed, parked, cancelled
    reason text,
    attempts smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL,
    due_at timestamptz,                      -- NULL once finished
    lease uuid,                              -- who may record an attempt
    leased_until timestamptz,
    last_status_code smallint,
    last_error text,
    duration_ms integer,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    PRIMARY KEY (recorded_at, id)
) PARTITION BY RANGE (recorded_at);
-- Who is due, target by target: "pending" sorts before "retrying", so first tries come first.
CREATE INDEX ON dispatcher.deliveries (target_id, status, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ON dispatcher.deliveries (id);
CREATE INDEX ON dispatcher.deliveries (endpoint_id, created_at);

CREATE TABLE dispatcher.attempts (
    recorded_at timestamptz NOT NULL,        -- of the event
    delivery_id uuid NOT NULL,
    number smallint NOT NULL,
    at timestamptz NOT NULL,
    status_code smallint,
    phase text,                              -- where it failed: dns, connect, tls, write, first_byte, body
    error text,
    duration_ms integer NOT NULL,
    address text,
    answer bytea,
    PRIMARY KEY (recorded_at, delivery_id, number)
) PARTITION BY RANGE (recorded_at);
