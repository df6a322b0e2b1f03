-- Rules: versions, the hourly fuse, compact evaluations, starters, backtest jobs, targets without a secret.

ALTER TABLE rule_engine.rules ADD starter text;  -- which of ours it was made from; NULL: the store's own
CREATE UNIQUE INDEX ON rule_engine.rules (store_id, starter);

CREATE TABLE rule_engine.versions (          -- every save of a rule; evaluations name theirs
    rule_id uuid NOT NULL,
    version integer NOT NULL,
    store_id uuid NOT NULL,
    rule jsonb NOT NULL,                     -- {name, description, trigger, conditions, actions, cooldown, hourly_limit, mode}
    actor text NOT NULL,                     -- who saved it: key:<prefix>, cli
    saved_at timestamptz NOT NULL,
    PRIMARY KEY (rule_id, version)
);
INSERT INTO rule_engine.versions (rule_id, version, store_id, rule, actor, saved_at)
SELECT id, version, store_id,
       jsonb_build_object('name', name, 'description', description, 'trigger', trigger, 'conditions', conditions,
                          'actions', actions, 'cooldown', cooldown, 'hourly_limit', hourly_limit, 'mode', mode),
       'unknown', updated_at
FROM rule_engine.rules;

ALTER TABLE rule_engine.targets ALTER secret DROP NOT NULL;  -- send_slack has none

CREATE TABLE rule_engine.hours (             -- how often each rule fired in each hour of the events' recorded_at
    rule_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    fired integer NOT NULL,
    PRIMARY KEY (rule_id, hour)
);
CREATE INDEX ON rule_engine.hours (hour);

-- An event's rules that did not fire: parallel lists instead of objects. What the rules saw is kept once per event.
ALTER TABLE rule_engine.evaluations
    ADD rule_ids uuid[] NOT NULL DEFAULT '{}',
    ADD versions integer[] NOT NULL DEFAULT '{}',
    ADD reasons text[] NOT NULL DEFAULT '{}',
    ADD failed uuid[] NOT NULL DEFAULT '{}', -- those of rule_ids that could not be evaluated at all
    ADD seen jsonb NOT NULL DEFAULT '{}';    -- field to value, of every field that one of these rules asks for
UPDATE rule_engine.evaluations e SET
    rule_ids = ARRAY(SELECT (skip->>'rule_id')::uuid FROM jsonb_array_elements(e.skips) AS skip),
    versions = ARRAY(SELECT (skip->>'rule_version')::integer FROM jsonb_array_elements(e.skips) AS skip),
    reasons = ARRAY(SELECT skip->>'reason' FROM jsonb_array_elements(e.skips) AS skip),
    seen = coalesce((SELECT jsonb_object_agg(v.key, v.value)
                     FROM jsonb_array_elements(e.skips) AS skip, jsonb_each(skip->'values') AS v), '{}');
ALTER TABLE rule_engine.evaluations DROP COLUMN skips;
CREATE INDEX ON rule_engine.evaluations (store_id, trigger, recorded_at);

DO $$
DECLARE service text;
BEGIN
    FOREACH service IN ARRAY ARRAY['api', 'scorer', 'rule_engine', 'dispatcher'] LOOP
        -- {status, code, message, params} of a command that nobody waited for: whoever looks later is told why.
        EXECUTE format('ALTER TABLE %I.commands_seen ADD refusal json', service);
    END LOOP;
END $$;

-- Rules in the longest chain of causes that led to it: what a rule does to a customer, neighbours' events continue.
ALTER TABLE scorer.rescore_due ADD depth integer NOT NULL DEFAULT 0;

CREATE TABLE rule_engine.jobs (
    id uuid PRIMARY KEY,
    store_id uuid NOT NULL,
    kind text NOT NULL,                      -- backtest
    params jsonb NOT NULL,
    state text NOT NULL,                     -- queued, running, done, failed, cancelled
    done bigint NOT NULL DEFAULT 0,
    total bigint,
    position text,
    error text,
    result jsonb,                            -- what it found, once done; NULL for jobs that find nothing
    leased_until timestamptz,
    created_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX ON rule_engine.jobs (state) WHERE state IN ('queued', 'running');
CREATE INDEX ON rule_engine.jobs (store_id, created_at);
ALTER TABLE scorer.jobs ADD result jsonb;      -- as above
ALTER TABLE dispatcher.jobs ADD result jsonb;  -- as above

-- dispatcher ----------------------------------------------------------------------------------------------------------

-- Whoever follows the newest attempts of a store need not look at those of the others.
ALTER TABLE dispatcher.attempts ADD store_id uuid; -- NULL: recorded by a dispatcher older than this column
UPDATE dispatcher.attempts a SET store_id = d.store_id FROM dispatcher.deliveries d
WHERE d.recorded_at = a.recorded_at AND d.id = a.delivery_id;
DROP INDEX dispatcher.attempts_at_idx;
CREATE INDEX ON dispatcher.attempts (store_id, at);
