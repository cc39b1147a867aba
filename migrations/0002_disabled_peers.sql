-- Neighbours that an operator disabled, until somebody enables them: also across restarts and reloads.

CREATE TABLE disabled_peers (
    pop      TEXT NOT NULL,
    neighbor TEXT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (pop, neighbor)
) {{options}};
