-- By which an event's trace goes on in attempts that are not made at once: retries, and what found no room in memory.
-- Filled only while traces are on; emptied after a week.

CREATE TABLE dispatcher.traces (
    source_id uuid PRIMARY KEY,              -- of the event or automation
    traceparent text NOT NULL,               -- W3C Trace Context
    seen_at timestamptz NOT NULL
);
CREATE INDEX ON dispatcher.traces (seen_at);
