INSERT INTO suppressions (pop, af, victim, vector, expires_at, body)
SELECT $1, value ->> 1, substr($2, value ->> 0, iif(value ->> 1 = 4, 4, 16)), value ->> 2, value ->> 3, value ->> 4
FROM json_each($7) WHERE true
ON CONFLICT (pop, af, victim, vector) DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body;

DELETE FROM suppressions WHERE (pop, af, victim, vector) IN (
    SELECT $1, value ->> 1, substr($2, value ->> 0, iif(value ->> 1 = 4, 4, 16)), value ->> 2 FROM json_each($8));

INSERT INTO safelist (af, lo, hi, body)
SELECT value ->> 1, substr($2, value ->> 0, iif(value ->> 1 = 4, 4, 16)),
    substr($2, (value ->> 0) + 16, iif(value ->> 1 = 4, 4, 16)), value ->> 2
FROM json_each($9) WHERE true
ON CONFLICT (af, lo, hi) DO UPDATE SET body = excluded.body;

DELETE FROM safelist WHERE (af, lo, hi) IN (
    SELECT value ->> 1, substr($2, value ->> 0, iif(value ->> 1 = 4, 4, 16)),
        substr($2, (value ->> 0) + 16, iif(value ->> 1 = 4, 4, 16)) FROM json_each($10));
