-- The process whose sign of life there was when `run` took the journal. Until that gives one of its own, this sign speaks of what is
-- open here, and does not mark the journal as one that a backup has brought back.
ALTER TABLE journal ADD COLUMN sign INTEGER NOT NULL DEFAULT 0;
