-- What an operator does with months: one that is detached stays what it is, an archive; one that is part of a longer table, or whose
-- records a default partition has, needs no table of its own. Whether a record has a place the insert says, of that record alone;
-- so here nothing is an error that would be one for ever.

-- Makes the table of the month that this time is in, where there is none and room for it. Any number of boxes may ask for it at once.
-- A table is made by itself and then attached, which waits for nobody who reads or writes; CREATE TABLE … PARTITION OF would wait for
-- every report, and all who come after it with it.
CREATE OR REPLACE FUNCTION cdr_month(at TIMESTAMPTZ) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    first TIMESTAMP := date_trunc('month', at AT TIME ZONE 'UTC');
    name  TEXT := 'cdr_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('drawbridge cdr_month'));
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE cdr INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', name);
    EXECUTE format(
        'ALTER TABLE cdr ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name,
        first AT TIME ZONE 'UTC',
        (first + interval '1 month') AT TIME ZONE 'UTC'
    );
EXCEPTION
    -- It would overlap another table; the default partition has records of it.
    WHEN invalid_object_definition OR check_violation THEN NULL;
END
$$;
