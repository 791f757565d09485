-- Tells this journal from every other, those with the same `node` among them, where sinks keep how far it has come.
CREATE TABLE journal (
    id   TEXT    NOT NULL,
    -- Records that could not be kept and went to the log instead.
    lost INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO journal (id) VALUES (lower(hex(randomblob(16))));

-- 0: written before PostgreSQL kept positions as well, and before webhooks were told apart by what is behind the `?`.
ALTER TABLE sink ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
