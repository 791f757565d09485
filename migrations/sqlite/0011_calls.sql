-- What /v1/stats counts by, with all that it counts: it reads these indexes and not the rows, of which a month may have millions.
DROP INDEX cdr_figures;
CREATE INDEX cdr_figures ON cdr (
    started_at, trunk_out, attempt, call_id, ringing_at, sip_code_b, duration_ms, pdd_ms, b_destination, origin, rank
);
DROP INDEX cdr_call;
CREATE INDEX cdr_call ON cdr (
    call_id, attempt, is_last, trunk_in, started_at, ringing_at, disposition, sip_code_a, sip_code_b, duration_ms, pdd_ms
);

-- One row per call: how it ended, and what its attempts say together. The talk before a transfer is that of another attempt.
DROP VIEW calls;
CREATE VIEW calls AS
SELECT last.*,
       (SELECT count(*) FROM cdr AS tried WHERE tried.call_id = last.call_id AND tried.attempt > 0) AS attempts,
       (SELECT min(a.started_at) FROM cdr AS a WHERE a.call_id = last.call_id) AS call_started_at,
       (SELECT min(a.answered_at) FROM cdr AS a
        WHERE a.call_id = last.call_id AND a.disposition = 'answered') AS call_answered_at,
       (SELECT coalesce(sum(a.duration_ms), 0) FROM cdr AS a
        WHERE a.call_id = last.call_id AND a.disposition = 'answered') AS call_duration_ms,
       (SELECT (min(a.started_at + a.pdd_ms * 1000) - min(a.started_at)) / 1000 FROM cdr AS a
        WHERE a.call_id = last.call_id) AS call_pdd_ms
FROM cdr AS last
WHERE last.is_last;
