-- Rules that ended a neighbour's session and are held back from it, one row for each neighbour that has any.

CREATE TABLE parked (
    pop      TEXT NOT NULL,
    neighbor TEXT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (pop, neighbor)
) {{options}};
