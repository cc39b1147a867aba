-- How many live mitigations a POP may have of those that all POPs may have together: it takes more before it needs them,
-- so that none of its commits waits for another POP.

CREATE TABLE reservations (
    pop    TEXT NOT NULL PRIMARY KEY,
    amount {{bigint}} NOT NULL
) {{options}};

-- What was asked at one POP of another. Its daemon answers; one at a time waits about one mitigation.

CREATE TABLE commands (
    id          {{uuid}} NOT NULL PRIMARY KEY,
    pop         TEXT NOT NULL,
    subject     {{uuid}} NOT NULL,
    answered_at {{bigint}},
    body        TEXT NOT NULL
) {{options}};

CREATE UNIQUE INDEX commands_waiting ON commands (subject) WHERE answered_at IS NULL;
