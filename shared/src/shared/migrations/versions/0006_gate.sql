-- What a store sends, and the gate in front of its checkout.

-- The gate -------------------------------------------------------------------------------------------------------------

ALTER TABLE api.stores ADD gate jsonb NOT NULL DEFAULT '{}'; -- what differs from api.gate.GateSettings

CREATE TABLE api.gate_devices (              -- what each did at the checkout in the last minute
    store_id uuid NOT NULL,
    device bytea NOT NULL,                   -- a fingerprint of shared.identity
    submissions timestamptz[] NOT NULL,      -- the latest, as many as the store allows in a minute
    declines timestamptz[] NOT NULL,         -- likewise
    locked_until timestamptz,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (store_id, device)
) WITH (fillfactor = 70); -- rewritten with each submission: the new version finds room beside the old one, and no index hears of it

CREATE TABLE api.gate_history (              -- of attacks
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    store_id uuid NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,                      -- declined, refused, locked, frozen
    device bytea,
    detail text NOT NULL,                    -- the decline's code; why it was refused, locked, frozen
    country text NOT NULL                    -- of a decline; '' where it is not known
);
CREATE INDEX ON api.gate_history (store_id, at);
CREATE INDEX ON api.gate_history (at);

CREATE TABLE api.gate_freezes (              -- the latest of each store
    store_id uuid PRIMARY KEY,
    frozen_at timestamptz NOT NULL,
    frozen_until timestamptz NOT NULL,       -- moved to now by whoever ends it earlier
    reason text NOT NULL,
    actor text NOT NULL                      -- key:<prefix>, or escalation
);

-- Coupons --------------------------------------------------------------------------------------------------------------

CREATE TABLE scorer.coupons (                -- what the store says of them; orders of WooCommerce 8.7 keep no limits
    store_id uuid NOT NULL,
    code text NOT NULL,                      -- lower case
    once boolean NOT NULL,                   -- each customer may use it once only
    modified_at timestamptz NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (store_id, code)
);
-- Who used a coupon whose limit became known.
CREATE INDEX ON scorer.orders USING gin (coupons jsonb_path_ops) WHERE coupons IS NOT NULL;
