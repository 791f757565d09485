-- The local journal. Every record is committed here first; sinks such as PostgreSQL read it in the order of `seq`.
-- Times are microseconds since 1970-01-01T00:00:00Z. Column meanings: docs of `call::CdrFact`.

CREATE TABLE cdr (
    -- The order of commits, which is not the order of `id`: a long call's record is committed late under an early id.
    -- AUTOINCREMENT: a number is not given again after old rows were deleted, so a sink's position stays meaningful.
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT    NOT NULL UNIQUE,
    call_id        TEXT    NOT NULL,
    attempt        INTEGER NOT NULL,
    is_last        INTEGER NOT NULL,
    node           TEXT    NOT NULL,
    a_sip_call_id  TEXT    NOT NULL,
    b_sip_call_id  TEXT,
    trunk_in       TEXT,
    trunk_out      TEXT,
    route          TEXT,
    caller         TEXT    NOT NULL,
    called         TEXT    NOT NULL,
    called_sent    TEXT,
    a_source       TEXT    NOT NULL,
    b_destination  TEXT,
    a_transport    TEXT    NOT NULL,
    b_transport    TEXT,
    a_user_agent   TEXT,
    b_user_agent   TEXT,
    started_at     INTEGER NOT NULL,
    ringing_at     INTEGER,
    answered_at    INTEGER,
    ended_at       INTEGER NOT NULL,
    duration_ms    INTEGER NOT NULL,
    ring_ms        INTEGER NOT NULL,
    disposition    TEXT    NOT NULL,
    ended_by       TEXT    NOT NULL,
    sip_code_a     INTEGER,
    sip_reason_a   TEXT,
    sip_code_b     INTEGER,
    sip_reason_b   TEXT,
    q850           INTEGER,
    codec_a        TEXT,
    codec_b        TEXT,
    a_packets      INTEGER NOT NULL,
    a_octets       INTEGER NOT NULL,
    a_lost         INTEGER NOT NULL,
    a_jitter_ms    REAL,
    a_mos          REAL,
    b_packets      INTEGER NOT NULL,
    b_octets       INTEGER NOT NULL,
    b_lost         INTEGER NOT NULL,
    b_jitter_ms    REAL,
    b_mos          REAL
) STRICT;

-- Listings are newest first and continue after (started_at, id).
CREATE INDEX cdr_started ON cdr (started_at, id);
CREATE INDEX cdr_call ON cdr (call_id, attempt);

-- One row per call: how it ended, with how many targets were tried and when the first attempt began.
CREATE VIEW calls AS
SELECT last.*,
       (SELECT count(*) FROM cdr AS tried WHERE tried.call_id = last.call_id AND tried.attempt > 0) AS attempts,
       (SELECT min(first.started_at) FROM cdr AS first WHERE first.call_id = last.call_id) AS call_started_at
FROM cdr AS last
WHERE last.is_last;

-- How far each sink has taken the journal: everything up to and including `position`.
CREATE TABLE sink (
    name     TEXT    PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Rows that a sink cannot take as they are; offered again whenever the sink connects.
CREATE TABLE sink_refused (
    sink   TEXT    NOT NULL,
    seq    INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    PRIMARY KEY (sink, seq)
) STRICT, WITHOUT ROWID;

-- Registered contacts, kept over a restart. The listener is kept by name: its index may differ next time.
CREATE TABLE binding (
    user       TEXT    NOT NULL,
    contact    TEXT    NOT NULL,
    listener   TEXT    NOT NULL,
    remote     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    call_id    TEXT    NOT NULL,
    cseq       INTEGER NOT NULL,
    q          INTEGER NOT NULL,
    user_agent TEXT,
    PRIMARY KEY (user, contact)
) STRICT, WITHOUT ROWID;

CREATE INDEX binding_expiry ON binding (expires_at);
