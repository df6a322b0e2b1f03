-- Deliveries that are due, with their bodies: numbers p_first to p_last, the endpoints in turn.
CREATE SCHEMA IF NOT EXISTS bench;

CREATE OR REPLACE FUNCTION bench.add_due(
    p_first bigint, p_last bigint, p_endpoints uuid[], p_stores uuid[], p_now timestamptz
) RETURNS void LANGUAGE sql AS $$
    WITH numbered AS MATERIALIZED (
        SELECT n, gen_random_uuid() AS source_id, 1 + (n % cardinality(p_endpoints))::integer AS place,
               lpad(to_hex(n), 64, '0') AS email_hash
        FROM generate_series(p_first, p_last) AS n
    ), frozen AS (
        INSERT INTO dispatcher.bodies (recorded_at, source_id, shape, email_hash, body)
        SELECT p_now, source_id, 'trustlens', email_hash, convert_to(rpad('{"event":"score_updated"', 500), 'UTF8')
        FROM numbered
    )
    INSERT INTO dispatcher.deliveries (
        recorded_at, id, store_id, target_id, endpoint_id, event, source_id, shape, email_hash, sequence, mode, status,
        attempts, max_attempts, due_at, created_at
    )
    SELECT p_now, gen_random_uuid(), p_stores[place], p_endpoints[place], p_endpoints[place], 'score_updated', source_id,
           'trustlens', email_hash, 1, 'retry', 'pending', 0, 4, p_now + n * interval '1 microsecond', p_now
    FROM numbered
$$;
