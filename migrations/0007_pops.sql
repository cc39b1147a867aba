-- Who runs a POP: `fence` counts the daemons that took it, and a commit under an older number is refused.

CREATE TABLE pops (
    pop   TEXT NOT NULL PRIMARY KEY,
    fence {{bigint}} NOT NULL,
    body  TEXT NOT NULL
) {{options}};
