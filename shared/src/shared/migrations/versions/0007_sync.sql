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
