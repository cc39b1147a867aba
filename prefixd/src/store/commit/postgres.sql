WITH written_events AS (
    -- Arrays are unfolded where they are selected, which goes row by row; in FROM each would be laid down as a table first.
    INSERT INTO events (id, pop, received_at, source, external_id, action, reported_at, af, victim, vector, outcome,
                        body, why)
    SELECT unnest($2::uuid[]), $1, unnest($3::bigint[]), unnest($4::text[]), unnest($5::text[]), unnest($6::text[]),
        unnest($7::bigint[]), unnest($8::smallint[]), unnest($9::bytea[]), unnest($10::text[]), unnest($11::text[]),
        unnest($12::text[]), unnest($13::text[])
), written_groups AS (
    INSERT INTO signal_groups (id, pop, last_event_at, closed_at, body)
    SELECT unnest($14::uuid[]), $1, unnest($15::bigint[]), unnest($16::bigint[]), unnest($17::text[])
    ON CONFLICT (id) DO UPDATE SET last_event_at = excluded.last_event_at, closed_at = excluded.closed_at,
        body = excluded.body
), written_mitigations AS (
    INSERT INTO mitigations AS stored (id, pop, live, status, customer_id, service_id, af, victim, vector,
        action_type, acknowledged, created_at, ended_at, body, why, why_event)
    SELECT unnest($18::uuid[]), $1, unnest($19::smallint[]), unnest($20::text[]), unnest($21::text[]),
        unnest($22::text[]), unnest($23::smallint[]), unnest($24::bytea[]), unnest($25::text[]), unnest($26::text[]),
        unnest($27::smallint[]), unnest($28::bigint[]), unnest($29::bigint[]), unnest($30::text[]),
        unnest($31::text[]), unnest($32::uuid[])
    ON CONFLICT (id) DO UPDATE SET live = excluded.live, status = excluded.status,
        action_type = excluded.action_type, acknowledged = excluded.acknowledged, ended_at = excluded.ended_at,
        body = excluded.body, why_event = COALESCE(excluded.why_event, stored.why_event),
        why = CASE WHEN excluded.why IS NULL AND excluded.why_event IS NULL THEN stored.why ELSE excluded.why END
), written_journal AS (
    INSERT INTO journal (pop, seq, at, actor, kind, subject, body, previous_hash, hash)
    SELECT $1, unnest($33::bigint[]), unnest($34::bigint[]), unnest($35::text[]), unnest($36::text[]),
        unnest($37::text[]), unnest($38::text[]), unnest($39::bytea[]), unnest($40::bytea[])
)
