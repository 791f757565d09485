-- Call records of any number of boxes (`node` tells them apart). Column meanings: docs of `call::CdrFact`.

CREATE TABLE cdr (
    id             UUID        PRIMARY KEY,
    call_id        UUID        NOT NULL,
    attempt        INTEGER     NOT NULL,
    is_last        BOOLEAN     NOT NULL,
    node           TEXT        NOT NULL,
    a_sip_call_id  TEXT        NOT NULL,
    b_sip_call_id  TEXT,
    trunk_in       TEXT,
    trunk_out      TEXT,
    route          TEXT,
    caller         TEXT        NOT NULL,
    called         TEXT        NOT NULL,
    called_sent    TEXT,
    a_source       TEXT        NOT NULL,
    b_destination  TEXT,
    a_transport    TEXT        NOT NULL,
    b_transport    TEXT,
    a_user_agent   TEXT,
    b_user_agent   TEXT,
    started_at     TIMESTAMPTZ NOT NULL,
    ringing_at     TIMESTAMPTZ,
    answered_at    TIMESTAMPTZ,
    ended_at       TIMESTAMPTZ NOT NULL,
    duration_ms    BIGINT      NOT NULL,
    ring_ms        BIGINT      NOT NULL,
    disposition    TEXT        NOT NULL,
    ended_by       TEXT        NOT NULL,
    sip_code_a     INTEGER,
    sip_reason_a   TEXT,
    sip_code_b     INTEGER,
    sip_reason_b   TEXT,
    q850           INTEGER,
    codec_a        TEXT,
    codec_b        TEXT,
    a_packets      BIGINT      NOT NULL,
    a_octets       BIGINT      NOT NULL,
    a_lost         BIGINT      NOT NULL,
    a_jitter_ms    REAL,
    a_mos          REAL,
    b_packets      BIGINT      NOT NULL,
    b_octets       BIGINT      NOT NULL,
    b_lost         BIGINT      NOT NULL,
    b_jitter_ms    REAL,
    b_mos          REAL
);

CREATE INDEX cdr_started ON cdr (started_at, id);
CREATE INDEX cdr_call ON cdr (call_id, attempt);

-- One row per call: how it ended, with how many targets were tried and when the first attempt began.
CREATE VIEW calls AS
SELECT last.*,
       (SELECT count(*) FROM cdr AS tried WHERE tried.call_id = last.call_id AND tried.attempt > 0) AS attempts,
       (SELECT min(first.started_at) FROM cdr AS first WHERE first.call_id = last.call_id) AS call_started_at
FROM cdr AS last
WHERE last.is_last;

-- Tells one database from another: a box that is pointed at a new one sends its whole journal again.
CREATE TABLE installation (
    id UUID NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO installation DEFAULT VALUES;
