-- What /v1/stats counts by, with all that it counts: it reads this index and not the rows, of which a month may have millions.
CREATE INDEX cdr_figures ON cdr (
    started_at, trunk_out, trunk_in, attempt, is_last, disposition, ringing_at, sip_code_b, duration_ms, pdd_ms
);
