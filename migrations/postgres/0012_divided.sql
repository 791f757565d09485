-- A month that an operator has divided into tables of its own: a ctid is a place in each of them, and names a row of another box as well.

-- Takes away what a box has in months that ended before this time: a month in which nobody else has anything whole, else at
-- most so many of its rows, since other boxes may keep theirs for longer. Both 0: there is nothing left. Whoever drops a
-- table has to have it for himself; a report in the way is waited for shortly, for all who come after wait as well.
CREATE OR REPLACE FUNCTION cdr_drop_of(box TEXT, at TIMESTAMPTZ, most INTEGER, OUT months INTEGER, OUT records BIGINT)
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
        EXECUTE format(
            'DELETE FROM %1$I WHERE node = $1 AND ctid = ANY (ARRAY(SELECT ctid FROM %1$I WHERE node = $1 LIMIT $2))', month
        ) USING box, most;
        GET DIAGNOSTICS records = ROW_COUNT;
        IF records > 0 THEN
            RETURN;
        END IF;
    END LOOP;
END
$$;
