-- What is done to the tables while reports are read and other boxes forward. Indexes that reports need are not made here but besides
-- (indexes.rs), since a month that is large is read for minutes.

-- Makes the table of the month that this time is in. Any number of boxes may ask for it at once. A table is made by itself and
-- then attached, which waits for nobody who reads or writes; CREATE TABLE … PARTITION OF would wait for every report, and all
-- who come after it with it.
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
END
$$;

-- The months that ended before this time.
CREATE FUNCTION cdr_months_before(at TIMESTAMPTZ) RETURNS SETOF TEXT LANGUAGE sql STABLE AS $$
    SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'cdr'::regclass AND c.relname ~ '^cdr_[0-9]{4}_[0-9]{2}$'
      AND (to_date(substr(c.relname, 5), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' <= at
    ORDER BY 1
$$;

-- Takes away what a box has in months that ended before this time: a month in which nobody else has anything whole, else at
-- most so many of its rows, since other boxes may keep theirs for longer. Both 0: there is nothing left. Whoever drops a
-- table has to have it for himself; a report in the way is waited for shortly, for all who come after wait as well.
CREATE FUNCTION cdr_drop_of(box TEXT, at TIMESTAMPTZ, most INTEGER, OUT months INTEGER, OUT records BIGINT)
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    month  TEXT;
    shared BOOLEAN;
    -- Two ranges of an index, where <> would read all.
    others CONSTANT TEXT := 'SELECT EXISTS (SELECT FROM %1$I WHERE node < $1) OR EXISTS (SELECT FROM %1$I WHERE node > $1)';
BEGIN
    months := 0;
    records := 0;
    FOR month IN SELECT cdr_months_before(at) LOOP
        EXECUTE format(others, month) INTO shared USING box;
        IF NOT shared THEN
            -- In the order in which everybody takes them.
            LOCK TABLE ONLY cdr IN ACCESS EXCLUSIVE MODE;
            EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', month);
            EXECUTE format(others, month) INTO shared USING box;
            IF NOT shared THEN
                EXECUTE format('DROP TABLE %I', month);
                months := months + 1;
            END IF;
            -- Nobody is kept waiting for a second month.
            RETURN;
        END IF;
        EXECUTE format('DELETE FROM %1$I WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$I WHERE node = $1 LIMIT $2))', month)
        USING box, most;
        GET DIAGNOSTICS records = ROW_COUNT;
        IF records > 0 THEN
            RETURN;
        END IF;
    END LOOP;
END
$$;
