, suppressed AS (
    INSERT INTO suppressions (pop, af, victim, vector, expires_at, body)
    SELECT $1, af, victim, vector, expires_at, body
    FROM unnest($41::smallint[], $42::bytea[], $43::text[], $44::bigint[], $45::text[])
         AS r (af, victim, vector, expires_at, body)
    ON CONFLICT (pop, af, victim, vector) DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body
), unsuppressed AS (
    DELETE FROM suppressions t
    USING unnest($46::smallint[], $47::bytea[], $48::text[]) AS r (af, victim, vector)
    WHERE t.pop = $1 AND t.af = r.af AND t.victim = r.victim AND t.vector = r.vector
), safelisted AS (
    INSERT INTO safelist (af, lo, hi, body)
    SELECT af, lo, hi, body FROM unnest($49::smallint[], $50::bytea[], $51::bytea[], $52::text[])
         AS r (af, lo, hi, body)
    ON CONFLICT (af, lo, hi) DO UPDATE SET body = excluded.body
), unsafelisted AS (
    DELETE FROM safelist t
    USING unnest($53::smallint[], $54::bytea[], $55::bytea[]) AS r (af, lo, hi)
    WHERE t.af = r.af AND t.lo = r.lo AND t.hi = r.hi
), disabled AS (
    INSERT INTO disabled_peers (pop, neighbor, body)
    SELECT $1, neighbor, body FROM unnest($56::text[], $57::text[]) AS r (neighbor, body)
    ON CONFLICT (pop, neighbor) DO UPDATE SET body = excluded.body
), enabled AS (
    DELETE FROM disabled_peers t
    USING unnest($58::text[]) AS r (neighbor)
    WHERE t.pop = $1 AND t.neighbor = r.neighbor
), held AS (
    INSERT INTO control (pop, name, body)
    SELECT $1, name, body FROM unnest($59::text[], $60::text[]) AS r (name, body)
    ON CONFLICT (pop, name) DO UPDATE SET body = excluded.body
), let_go AS (
    DELETE FROM control t
    USING unnest($61::text[]) AS r (name)
    WHERE t.pop = $1 AND t.name = r.name
), parked_rules AS (
    INSERT INTO parked (pop, neighbor, body)
    SELECT $1, neighbor, body FROM unnest($62::text[], $63::text[]) AS r (neighbor, body)
    ON CONFLICT (pop, neighbor) DO UPDATE SET body = excluded.body
), unparked_rules AS (
    DELETE FROM parked t
    USING unnest($64::text[]) AS r (neighbor)
    WHERE t.pop = $1 AND t.neighbor = r.neighbor
), unconfirmed_withdrawals AS (
    INSERT INTO unconfirmed (pop, id, body)
    SELECT $1, id, body FROM unnest($65::uuid[], $66::text[]) AS r (id, body)
    ON CONFLICT (pop, id) DO UPDATE SET body = excluded.body
), confirmed_withdrawals AS (
    DELETE FROM unconfirmed t
    USING unnest($67::uuid[]) AS r (id)
    WHERE t.pop = $1 AND t.id = r.id
), kept AS (
    INSERT INTO kept_answers (pop, principal, name, at, request, status, body)
    SELECT $1, principal, name, at, request, status, body
    FROM unnest($68::text[], $69::text[], $70::bigint[], $71::bytea[], $72::smallint[],
         $73::text[]) AS r (principal, name, at, request, status, body)
    ON CONFLICT (pop, principal, name) DO UPDATE SET
    at = excluded.at, request = excluded.request, status = excluded.status, body = excluded.body
)
