-- How media went, and whether it was recorded. Column meanings: docs of `call::DirectionStats` and `call::CdrFact`.

ALTER TABLE cdr ADD COLUMN a_reordered BIGINT;
ALTER TABLE cdr ADD COLUMN a_duplicates BIGINT;
ALTER TABLE cdr ADD COLUMN a_round_trip_ms INTEGER;
ALTER TABLE cdr ADD COLUMN a_first_media_ms INTEGER;
ALTER TABLE cdr ADD COLUMN a_moves INTEGER;
ALTER TABLE cdr ADD COLUMN a_fault TEXT;
ALTER TABLE cdr ADD COLUMN b_reordered BIGINT;
ALTER TABLE cdr ADD COLUMN b_duplicates BIGINT;
ALTER TABLE cdr ADD COLUMN b_round_trip_ms INTEGER;
ALTER TABLE cdr ADD COLUMN b_first_media_ms INTEGER;
ALTER TABLE cdr ADD COLUMN b_moves INTEGER;
ALTER TABLE cdr ADD COLUMN b_fault TEXT;
ALTER TABLE cdr ADD COLUMN recording TEXT;
