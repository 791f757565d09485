-- How each side's signalling was encrypted, and what routing has for the record. Column meanings: docs of `call::CdrFact`.

ALTER TABLE cdr ADD COLUMN a_tls TEXT;
ALTER TABLE cdr ADD COLUMN b_tls TEXT;
-- An object of texts.
ALTER TABLE cdr ADD COLUMN tags TEXT;
