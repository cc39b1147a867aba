-- One text for SQLite and PostgreSQL. Tokens: {{uuid}}, {{bytes}}, {{bigint}}, {{smallint}} are column types,
-- {{options}} ends a table. Times are microseconds since 1970, UTC. Addresses are bytes in network order with
-- their family (4 or 6) beside them. Bodies are JSON kept as TEXT: what is hashed must not be rewritten.
-- A column beside a body exists only because a filter, an order or a constraint needs it.

CREATE TABLE events (
    id          {{uuid}} NOT NULL PRIMARY KEY,
    pop         TEXT NOT NULL,
    received_at {{bigint}} NOT NULL,
    source      TEXT NOT NULL,
    external_id TEXT,
    action      TEXT NOT NULL,
    reported_at {{bigint}},
    af          {{smallint}} NOT NULL,
    victim      {{bytes}} NOT NULL,
    vector      TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    body        TEXT NOT NULL,
    why         TEXT NOT NULL
) {{options}};

CREATE UNIQUE INDEX events_key ON events (external_id, source, pop, action, reported_at)
    WHERE external_id IS NOT NULL AND reported_at IS NOT NULL;
CREATE INDEX events_page ON events (received_at, id);
CREATE INDEX events_victim ON events (af, victim, received_at, id);

CREATE TABLE signal_groups (
    id            {{uuid}} NOT NULL PRIMARY KEY,
    pop           TEXT NOT NULL,
    last_event_at {{bigint}} NOT NULL,
    closed_at     {{bigint}},
    body          TEXT NOT NULL
) {{options}};

CREATE TABLE mitigations (
    id           {{uuid}} NOT NULL PRIMARY KEY,
    pop          TEXT NOT NULL,
    live         {{smallint}} NOT NULL,
    status       TEXT NOT NULL,
    customer_id  TEXT,
    service_id   TEXT,
    af           {{smallint}} NOT NULL,
    victim       {{bytes}} NOT NULL,
    vector       TEXT NOT NULL,
    action_type  TEXT NOT NULL,
    acknowledged {{smallint}} NOT NULL,
    created_at   {{bigint}} NOT NULL,
    ended_at     {{bigint}},
    body         TEXT NOT NULL,
    why          TEXT,
    why_event    {{uuid}}
) {{options}};

CREATE UNIQUE INDEX mitigations_scope ON mitigations (af, victim, vector, pop) WHERE live = 1;
CREATE INDEX mitigations_live_page ON mitigations (created_at, id) WHERE live = 1;
CREATE INDEX mitigations_page ON mitigations (created_at, id);
CREATE INDEX mitigations_victim ON mitigations (af, victim, created_at, id);

CREATE TABLE suppressions (
    pop        TEXT NOT NULL,
    af         {{smallint}} NOT NULL,
    victim     {{bytes}} NOT NULL,
    vector     TEXT NOT NULL,
    expires_at {{bigint}} NOT NULL,
    body       TEXT NOT NULL,
    PRIMARY KEY (pop, af, victim, vector)
) {{options}};

CREATE TABLE safelist (
    af   {{smallint}} NOT NULL,
    lo   {{bytes}} NOT NULL,
    hi   {{bytes}} NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (af, lo, hi)
) {{options}};

CREATE TABLE journal (
    pop           TEXT NOT NULL,
    seq           {{bigint}} NOT NULL,
    at            {{bigint}} NOT NULL,
    actor         TEXT NOT NULL,
    kind          TEXT NOT NULL,
    subject       TEXT NOT NULL,
    body          TEXT NOT NULL,
    previous_hash {{bytes}} NOT NULL,
    hash          {{bytes}} NOT NULL,
    PRIMARY KEY (pop, seq)
) {{options}};

CREATE INDEX journal_timeline ON journal (subject, seq) WHERE kind >= 'mitigation.' AND kind < 'mitigation/';

CREATE TABLE journal_checkpoints (
    pop  TEXT NOT NULL PRIMARY KEY,
    seq  {{bigint}} NOT NULL,
    hash {{bytes}} NOT NULL
) {{options}};
