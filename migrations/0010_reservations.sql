-- How many live mitigations a POP may have of those that all POPs may have together: it takes more before it needs them,
-- so that none of its commits waits for another POP.

CREATE TABLE reservations (
    pop    TEXT NOT NULL PRIMARY KEY,
    amount {{bigint}} NOT NULL
) {{options}};
