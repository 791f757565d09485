-- A record that a sink refused and has taken after all is kept in mind until that is known to last: where PostgreSQL comes back without
-- its last transactions, the position does not tell whether that one is among them.

-- NULL: it is refused. Else the sink's position when the record was taken; one that is known of a later position has it. The largest
-- number: it may be lost, and is offered again.
ALTER TABLE sink_refused ADD COLUMN taken_at INTEGER;
