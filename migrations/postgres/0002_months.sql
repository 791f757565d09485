-- A table for each month, so that a month is dropped in an instant and a report reads no more than it asks for; and the
-- columns that carriers ask for besides. Rows that are there move over in this transaction: boxes that forward meanwhile wait.

DROP VIEW calls;
ALTER TABLE cdr RENAME TO cdr_before;
ALTER INDEX cdr_pkey RENAME TO cdr_before_pkey;
DROP INDEX cdr_started;
DROP INDEX cdr_call;

CREATE TABLE cdr (
    id             UUID        NOT NULL,
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
    b_mos          REAL,
    rank           INTEGER,
    origin         TEXT,
    parent_id      UUID,
    pdd_ms         BIGINT,
    a_media        TEXT,
    b_media        TEXT,
    pai_in         TEXT,
    pai_out        TEXT,
    diversion_in   TEXT,
    diversion_out  TEXT,
    privacy_in     TEXT,
    privacy_out    TEXT,
    q850_a         INTEGER,
    q850_b         INTEGER,
    PRIMARY KEY (id, started_at)
) PARTITION BY RANGE (started_at);

CREATE INDEX cdr_started ON cdr (started_at, id);
CREATE INDEX cdr_call ON cdr (call_id, attempt);

-- Makes the table of the month that this time is in. Any number of boxes may ask for it at once.
CREATE FUNCTION cdr_month(at TIMESTAMPTZ) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    first TIMESTAMP := date_trunc('month', at AT TIME ZONE 'UTC');
    name  TEXT := 'cdr_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('drawbridge cdr_month'));
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS %I PARTITION OF cdr FOR VALUES FROM (%L) TO (%L)',
        name,
        first AT TIME ZONE 'UTC',
        (first + interval '1 month') AT TIME ZONE 'UTC'
    );
END
$$;

-- Drops every month that ended before this time; how many those were.
CREATE FUNCTION cdr_drop_before(at TIMESTAMPTZ) RETURNS INTEGER LANGUAGE plpgsql AS $$
DECLARE
    month   TEXT;
    dropped INTEGER := 0;
BEGIN
    FOR month IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'cdr'::regclass AND c.relname ~ '^cdr_[0-9]{4}_[0-9]{2}$'
    LOOP
        IF (to_date(substr(month, 5), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' <= at THEN
            EXECUTE format('DROP TABLE %I', month);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END
$$;

SELECT cdr_month(month) FROM (SELECT DISTINCT date_trunc('month', started_at, 'UTC') FROM cdr_before) AS months(month);
INSERT INTO cdr (id, call_id, attempt, is_last, node, a_sip_call_id, b_sip_call_id, trunk_in, trunk_out, route, caller, called, called_sent, a_source, b_destination, a_transport, b_transport, a_user_agent, b_user_agent, started_at, ringing_at, answered_at, ended_at, duration_ms, ring_ms, disposition, ended_by, sip_code_a, sip_reason_a, sip_code_b, sip_reason_b, q850, codec_a, codec_b, a_packets, a_octets, a_lost, a_jitter_ms, a_mos, b_packets, b_octets, b_lost, b_jitter_ms, b_mos)
SELECT id, call_id, attempt, is_last, node, a_sip_call_id, b_sip_call_id, trunk_in, trunk_out, route, caller, called, called_sent, a_source, b_destination, a_transport, b_transport, a_user_agent, b_user_agent, started_at, ringing_at, answered_at, ended_at, duration_ms, ring_ms, disposition, ended_by, sip_code_a, sip_reason_a, sip_code_b, sip_reason_b, q850, codec_a, codec_b, a_packets, a_octets, a_lost, a_jitter_ms, a_mos, b_packets, b_octets, b_lost, b_jitter_ms, b_mos FROM cdr_before;
DROP TABLE cdr_before;

-- One row per call: how it ended, with how many targets were tried and when the first attempt began.
CREATE VIEW calls AS
SELECT last.*,
       (SELECT count(*) FROM cdr AS tried WHERE tried.call_id = last.call_id AND tried.attempt > 0) AS attempts,
       (SELECT min(first.started_at) FROM cdr AS first WHERE first.call_id = last.call_id) AS call_started_at
FROM cdr AS last
WHERE last.is_last;

-- Whoever reads reports is given this role: GRANT drawbridge_reports TO somebody. Where the box may make no roles, the
-- administrator makes it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'drawbridge_reports') THEN
        CREATE ROLE drawbridge_reports NOLOGIN;
    END IF;
    GRANT SELECT ON cdr, calls TO drawbridge_reports;
EXCEPTION
    WHEN insufficient_privilege OR unique_violation OR duplicate_object THEN NULL;
END
$$;
