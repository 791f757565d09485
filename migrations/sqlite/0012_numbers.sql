-- Who looks for a number reads this index from the newest back, in which the numbers are, and the rows that it finds. Indexes by
-- number would find them at once, but each record would be written in three places of the file that nothing else is near.
DROP INDEX cdr_started;
CREATE INDEX cdr_started ON cdr (started_at, id, caller, called, called_sent);
