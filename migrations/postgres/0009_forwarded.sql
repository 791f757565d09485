-- How far each journal has come, written with each batch in one transaction. A server that comes back without its last transactions
-- (a standby that took over, a backup, synchronous_commit = off) has lost both, and whoever forwards goes on behind what is there.

CREATE TABLE forwarded (
    -- The id in table `journal` of the box's SQLite file.
    journal  TEXT   PRIMARY KEY,
    node     TEXT   NOT NULL,
    -- The `seq` up to which everything is in `cdr`, or was refused.
    position BIGINT NOT NULL
);
