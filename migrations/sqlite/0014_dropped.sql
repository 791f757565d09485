-- The process that had the journal last. One that a backup has brought back is another's than the signs of life beside it.
ALTER TABLE journal ADD COLUMN run INTEGER NOT NULL DEFAULT 0;

-- Records that began before this were dropped for their age: what a spool still has of them is not written again.
ALTER TABLE journal ADD COLUMN dropped_before INTEGER NOT NULL DEFAULT 0;
