-- Records that began before this were dropped for their age: what a spool still has of them is not written again.
ALTER TABLE journal ADD COLUMN dropped_before INTEGER NOT NULL DEFAULT 0;
