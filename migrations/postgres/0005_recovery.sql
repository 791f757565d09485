-- Calls that went on in another process. Column meanings: docs of `call::CdrFact`.

ALTER TABLE cdr ADD COLUMN recovered INTEGER;
