-- Calls that go on in another process. Column meanings: docs of `call::CdrFact`.

ALTER TABLE cdr ADD COLUMN recovered INTEGER;
-- What another process needs to go on with the call, as `call::shard_of_kept` reads it; NULL where none can.
ALTER TABLE open_cdr ADD COLUMN state BLOB;
