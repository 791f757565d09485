-- How each side's signalling was encrypted, and what routing has for the record. Column meanings: docs of `call::CdrFact`.

ALTER TABLE cdr ADD COLUMN a_tls TEXT;
ALTER TABLE cdr ADD COLUMN b_tls TEXT;
-- An object of texts: tags->>'customer'.
ALTER TABLE cdr ADD COLUMN tags JSONB;

-- A view has the columns that there were when it was made.
DROP VIEW calls;
CREATE VIEW calls AS
SELECT last.*,
       (SELECT count(*) FROM cdr AS tried WHERE tried.call_id = last.call_id AND tried.attempt > 0) AS attempts,
       (SELECT min(first.started_at) FROM cdr AS first WHERE first.call_id = last.call_id) AS call_started_at
FROM cdr AS last
WHERE last.is_last;

DO $$
BEGIN
    GRANT SELECT ON calls TO drawbridge_reports;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN NULL;
END
$$;
