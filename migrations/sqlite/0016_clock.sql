-- What the clocks said when records were last looked through for their age: in microseconds since 1970, and how long the machine had
-- been up, as `uptime.rs` writes it; NULL before that.
ALTER TABLE journal ADD COLUMN looked_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal ADD COLUMN looked_up BLOB;

-- For so many microseconds from then on none are dropped: the clock had been set.
ALTER TABLE journal ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
