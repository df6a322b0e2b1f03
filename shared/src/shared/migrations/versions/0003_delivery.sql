-- Breakers, burst dedup, what endpoints may ask for, parked deliveries, replay jobs, what destinations need.

ALTER TABLE dispatcher.endpoints
    ADD filter jsonb,                        -- a condition over the event's fields; NULL: all
    ADD permanent_codes smallint[] NOT NULL DEFAULT '{}', -- statuses after which its owner wants no retries
    ADD standard_webhooks boolean NOT NULL DEFAULT false, -- Standard Webhooks headers beside ours
    ADD next_secret bytea,                   -- sealed; of a rotation under way
    ADD overlap_until timestamptz;           -- from then on next_secret is the secret

ALTER TABLE dispatcher.deliveries
    ADD parked_until timestamptz,            -- parked longer, it is given up; NULL: not parked
    ADD asked boolean NOT NULL DEFAULT false; -- somebody wants it made once more

CREATE TABLE dispatcher.breakers (           -- of targets in trouble; those in good health have no row
    target_id uuid PRIMARY KEY,
    failures integer NOT NULL,               -- in a row
    failing uuid[] NOT NULL,                 -- deliveries among them, two at most
    opened_at timestamptz,                   -- NULL: closed
    probes integer NOT NULL,                 -- failed since then
    probe_at timestamptz,                    -- when the next may start
    slow_until timestamptz                   -- the endpoint asked not to be called before
);

CREATE TABLE dispatcher.bursts (             -- the last settings delivery per endpoint and customer
    endpoint_id uuid NOT NULL,
    email_hash text NOT NULL,
    delivery_id uuid NOT NULL,
    digest bytea NOT NULL,                   -- of its body without the timestamp
    sequence bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (endpoint_id, email_hash)
);
CREATE INDEX ON dispatcher.bursts (recorded_at);

CREATE INDEX ON dispatcher.deliveries (store_id, created_at);
CREATE INDEX ON dispatcher.attempts (at);    -- whoever follows the newest of all deliveries

CREATE TABLE dispatcher.jobs (
    id uuid PRIMARY KEY,
    store_id uuid NOT NULL,
    kind text NOT NULL,                      -- replay
    params jsonb NOT NULL,
    state text NOT NULL,                     -- queued, running, done, failed, cancelled
    done bigint NOT NULL DEFAULT 0,
    total bigint,
    position text,                           -- where to go on
    error text,
    leased_until timestamptz,
    created_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX ON dispatcher.jobs (state) WHERE state IN ('queued', 'running');
CREATE INDEX ON dispatcher.jobs (store_id, created_at);

ALTER TABLE api.stores
    ADD smtp bytea,                          -- sealed JSON {host, port, security, user, password, sender}; NULL: none
    ADD woocommerce_api bytea;               -- sealed JSON {key, secret}; NULL: none
