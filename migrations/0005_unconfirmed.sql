-- Withdrawals that are undone unless a person confirms them in time.

CREATE TABLE unconfirmed (
    pop  TEXT NOT NULL,
    id   {{uuid}} NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (pop, id)
) {{options}};
