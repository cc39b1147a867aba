-- Events and mitigations, counted by five minutes: a graph reads these, and of history only what is not counted yet.

CREATE TABLE counts (
    pop     TEXT NOT NULL,
    metric  TEXT NOT NULL,
    at      {{bigint}} NOT NULL,
    source  TEXT NOT NULL,
    outcome TEXT NOT NULL,
    number  {{bigint}} NOT NULL,
    last_at {{bigint}} NOT NULL,
    PRIMARY KEY (pop, metric, at, source, outcome)
) {{options}};

-- Up to when, exclusive.
CREATE TABLE counted (
    pop    TEXT NOT NULL,
    metric TEXT NOT NULL,
    upto   {{bigint}} NOT NULL,
    PRIMARY KEY (pop, metric)
) {{options}};
