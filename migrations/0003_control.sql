-- What holds announcing back until a person says otherwise, by name: `breaker`.

CREATE TABLE control (
    pop  TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (pop, name)
) {{options}};
