-- Answers to requests with an Idempotency-Key, by who asked and the key: written with what the request changed, kept for a day.

CREATE TABLE kept_answers (
    pop       TEXT NOT NULL,
    principal TEXT NOT NULL,
    name      TEXT NOT NULL,
    at        {{bigint}} NOT NULL,
    request   {{bytes}} NOT NULL,
    status    {{smallint}} NOT NULL,
    body      TEXT,
    PRIMARY KEY (pop, principal, name)
) {{options}};

CREATE INDEX kept_answers_age ON kept_answers (pop, principal, at);
