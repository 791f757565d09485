-- The view `calls` is made anew no more: somebody may have built on it, and has rights on it. Columns that it has stay where they are,
-- and others come at its end. A migration that adds columns to `cdr` ends with SELECT cdr_calls().

-- Gives `calls` all columns of `cdr`, and what the attempts of a call say together.
CREATE FUNCTION cdr_calls() RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    columns TEXT;
BEGIN
    WITH together(place, name, what) AS (VALUES
        (1, 'attempts', '(SELECT count(*) FROM cdr AS tried WHERE tried.call_id = last.call_id AND tried.attempt > 0)'),
        (2, 'call_started_at', '(SELECT min(a.started_at) FROM cdr AS a WHERE a.call_id = last.call_id)'),
        -- The talk before a transfer is that of another attempt.
        (3, 'call_answered_at',
            '(SELECT min(a.answered_at) FROM cdr AS a WHERE a.call_id = last.call_id AND a.disposition = ''answered'')'),
        (4, 'call_duration_ms',
            '(SELECT coalesce(sum(a.duration_ms), 0)::bigint FROM cdr AS a
              WHERE a.call_id = last.call_id AND a.disposition = ''answered'')'),
        -- To the first sign of any target, with the time that was spent on others before it.
        (5, 'call_pdd_ms',
            '(SELECT trunc(extract(epoch FROM
                         min(a.started_at + a.pdd_ms * interval ''1 millisecond'') - min(a.started_at)) * 1000)::bigint
              FROM cdr AS a WHERE a.call_id = last.call_id)')
    ), wanted(turn, place, name, what) AS (
        SELECT 1, attnum, attname::text, format('last.%I', attname)
        FROM pg_attribute WHERE attrelid = 'cdr'::regclass AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT 2, place, name, what FROM together
    )
    SELECT string_agg(format('%s AS %I', what, name), ', ' ORDER BY has.attnum, turn, place) INTO columns
    FROM wanted LEFT JOIN pg_attribute AS has
      ON has.attrelid = to_regclass('calls') AND has.attname = wanted.name AND has.attnum > 0;
    EXECUTE format('CREATE OR REPLACE VIEW calls AS SELECT %s FROM cdr AS last WHERE last.is_last', columns);
EXCEPTION
    -- Somebody has made another view of it. Records are forwarded all the same.
    WHEN invalid_table_definition OR wrong_object_type OR insufficient_privilege THEN
        RAISE WARNING 'the view calls stays as it is: %', SQLERRM;
END
$$;

-- What the box has put aside, before migrations that make the view anew: it has the rights, and others are built on it.
DO $$
BEGIN
    IF to_regclass('drawbridge_calls') IS NOT NULL THEN
        DROP VIEW calls;
        ALTER VIEW drawbridge_calls RENAME TO calls;
    END IF;
END
$$;

SELECT cdr_calls();

DO $$
BEGIN
    GRANT SELECT ON calls TO drawbridge_reports;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN NULL;
END
$$;
