-- Rows that change all the time leave room on their page for what they become: PostgreSQL then writes a change there and
-- touches no index. SQLite changes rows where they are. {{postgres}} begins what only PostgreSQL does.

{{postgres}}ALTER TABLE mitigations SET (fillfactor = 50);
{{postgres}}ALTER TABLE signal_groups SET (fillfactor = 50);
