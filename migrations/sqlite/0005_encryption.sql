-- How each side was encrypted. Column meanings: docs of `call::DirectionStats`.

ALTER TABLE cdr ADD COLUMN srtp_a TEXT;
ALTER TABLE cdr ADD COLUMN srtp_b TEXT;
