WITH written_events AS (
    INSERT INTO events (id, pop, received_at, source, external_id, action, reported_at, af, victim, vector, outcome,
                        body, why)
    SELECT id, $1, received_at, source, external_id, action, reported_at, af, victim, vector, outcome, body, why
    FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::smallint[],
                $9::bytea[], $10::text[], $11::text[], $12::text[], $13::text[])
         AS r (id, received_at, source, external_id, action, reported_at, af, victim, vector, outcome, body, why)
), written_groups AS (
    INSERT INTO signal_groups (id, pop, last_event_at, closed_at, body)
    SELECT id, $1, last_event_at, closed_at, body
    FROM unnest($14::uuid[], $15::bigint[], $16::bigint[], $17::text[]) AS r (id, last_event_at, closed_at, body)
    ON CONFLICT (id) DO UPDATE SET last_event_at = excluded.last_event_at, closed_at = excluded.closed_at,
        body = excluded.body
), written_mitigations AS (
    INSERT INTO mitigations AS stored (id, pop, live, status, customer_id, service_id, af, victim, vector,
        action_type, acknowledged, created_at, ended_at, body, why, why_event)
    SELECT id, $1, live, status, customer_id, service_id, af, victim, vector, action_type, acknowledged, created_at,
        ended_at, body, why, why_event
    FROM unnest($18::uuid[], $19::smallint[], $20::text[], $21::text[], $22::text[], $23::smallint[], $24::bytea[],
                $25::text[], $26::text[], $27::smallint[], $28::bigint[], $29::bigint[], $30::text[], $31::text[],
                $32::uuid[])
         AS r (id, live, status, customer_id, service_id, af, victim, vector, action_type, acknowledged, created_at,
               ended_at, body, why, why_event)
    ON CONFLICT (id) DO UPDATE SET live = excluded.live, status = excluded.status,
        action_type = excluded.action_type, acknowledged = excluded.acknowledged, ended_at = excluded.ended_at,
        body = excluded.body, why_event = COALESCE(excluded.why_event, stored.why_event),
        why = CASE WHEN excluded.why IS NULL AND excluded.why_event IS NULL THEN stored.why ELSE excluded.why END
), written_journal AS (
    INSERT INTO journal (pop, seq, at, actor, kind, subject, body, previous_hash, hash)
    SELECT $1, seq, at, actor, kind, subject, body, previous_hash, hash
    FROM unnest($33::bigint[], $34::bigint[], $35::text[], $36::text[], $37::text[], $38::text[], $39::bytea[],
                $40::bytea[]) AS r (seq, at, actor, kind, subject, body, previous_hash, hash)
)
