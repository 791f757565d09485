//! The view `calls` of PostgreSQL over an upgrade.
//!
//! Since 0010 it is only replaced, with columns added at its end (`cdr_calls`). Three migrations before that drop it and make it anew,
//! which PostgreSQL refuses where somebody has built on it, and which takes away the rights that somebody gave. So before they run
//! the view is put aside under another name, with all that hangs on it, and they have one to drop that nobody knows; 0010
//! puts it back.

use sqlx::PgConnection;

/// The first of those migrations also makes the table `cdr` anew: what is put aside must not hang on the old one. Several boxes
/// may do this at once.
const PUT_ASIDE: &str = "
DO $$
DECLARE
    stub TEXT;
BEGIN
    IF to_regclass('_sqlx_migrations') IS NULL OR to_regclass('calls') IS NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('drawbridge calls'));
    IF to_regclass('drawbridge_calls') IS NOT NULL
       OR (SELECT count(*) FROM _sqlx_migrations WHERE version IN (2, 6, 7) AND success) = 3 THEN
        RETURN;
    END IF;
    ALTER VIEW calls RENAME TO drawbridge_calls;
    CREATE VIEW calls AS SELECT * FROM cdr;
    IF NOT EXISTS (SELECT FROM _sqlx_migrations WHERE version = 2 AND success) THEN
        SELECT string_agg(format('NULL::%s AS %I', format_type(atttypid, atttypmod), attname), ', ' ORDER BY attnum)
        INTO stub FROM pg_attribute WHERE attrelid = 'drawbridge_calls'::regclass AND attnum > 0;
        EXECUTE format('CREATE OR REPLACE VIEW drawbridge_calls AS SELECT %s WHERE false', stub);
    END IF;
END
$$";

/// Puts the view aside where a migration would drop it.
pub(crate) async fn put_aside(database: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(PUT_ASIDE).execute(database).await.map(|_| ())
}
