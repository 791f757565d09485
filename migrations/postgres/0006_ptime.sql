-- How much media is in a packet, in milliseconds. Column meanings: docs of `call::CdrFact`.

ALTER TABLE cdr ADD COLUMN ptime_a INTEGER;
ALTER TABLE cdr ADD COLUMN ptime_b INTEGER;

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
