-- Attempts that are not over: what their records would say if the process died now. A row goes when its record is committed;
-- what is left at a start are the calls that the process took with it.
CREATE TABLE open_cdr (
    id     BLOB PRIMARY KEY,
    -- The values of the columns of `cdr` in their order, as `encoded.rs` writes them.
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;
