-- What a POP tells the others: what its detectors report of what a step with scope: all is taken for. until is by the
-- clock of the database, so that clocks of daemons do not have to agree.

CREATE TABLE offers (
    pop     TEXT NOT NULL,
    victim  TEXT NOT NULL,
    vector  TEXT NOT NULL,
    until   {{bigint}} NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (pop, victim, vector)
) {{options}};
