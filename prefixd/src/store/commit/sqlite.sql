INSERT INTO events (id, pop, received_at, source, external_id, action, reported_at, af, victim, vector, outcome, body,
                    why)
SELECT substr($2, value ->> 0, 16), $1, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8,
    substr($2, (value ->> 0) + 16, iif(value ->> 8 = 4, 4, 16)), value ->> 9, value ->> 10,
    CAST(substr($2, (value ->> 0) + 32, value ->> 1) AS TEXT),
    CAST(substr($2, (value ->> 0) + 32 + (value ->> 1), value ->> 2) AS TEXT)
FROM json_each($3);

INSERT INTO signal_groups (id, pop, last_event_at, closed_at, body)
SELECT substr($2, value ->> 0, 16), $1, value ->> 2, value ->> 3,
    CAST(substr($2, (value ->> 0) + 16, value ->> 1) AS TEXT)
FROM json_each($4) WHERE true
ON CONFLICT (id) DO UPDATE SET last_event_at = excluded.last_event_at, closed_at = excluded.closed_at,
    body = excluded.body;

INSERT INTO mitigations AS stored (id, pop, live, status, customer_id, service_id, af, victim, vector, action_type,
    acknowledged, created_at, ended_at, body, why, why_event)
SELECT substr($2, value ->> 0, 16), $1, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8,
    substr($2, (value ->> 0) + 16, iif(value ->> 8 = 4, 4, 16)), value ->> 9, value ->> 10, value ->> 11,
    value ->> 12, value ->> 13, CAST(substr($2, (value ->> 0) + 32, value ->> 1) AS TEXT),
    CAST(substr($2, value ->> 2, value ->> 3) AS TEXT), substr($2, value ->> 14, 16)
FROM json_each($5) WHERE true
ON CONFLICT (id) DO UPDATE SET live = excluded.live, status = excluded.status, action_type = excluded.action_type,
    acknowledged = excluded.acknowledged, ended_at = excluded.ended_at, body = excluded.body,
    why_event = COALESCE(excluded.why_event, stored.why_event),
    why = CASE WHEN excluded.why IS NULL AND excluded.why_event IS NULL THEN stored.why ELSE excluded.why END;

INSERT INTO journal (pop, seq, at, actor, kind, subject, body, previous_hash, hash)
SELECT $1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    CAST(substr($2, (value ->> 0) + 64, value ->> 1) AS TEXT), substr($2, value ->> 0, 32),
    substr($2, (value ->> 0) + 32, 32)
FROM json_each($6);
