-- How much media is in a packet, in milliseconds. Column meanings: docs of `call::CdrFact`.

ALTER TABLE cdr ADD COLUMN ptime_a INTEGER;
ALTER TABLE cdr ADD COLUMN ptime_b INTEGER;
