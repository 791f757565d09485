//! The indexes of table `cdr` in PostgreSQL that reports need: by number, trunk, code, disposition and box, each with the time.
//!
//! They are no matter of migrations, which a box waits for before it forwards: an index over a month of millions of rows takes
//! minutes. So they are made besides, over a connection of their own, one month after the other and CONCURRENTLY, while
//! records come in and reports are read. The index of the whole table is entered first, as one that is not complete; months that
//! are made later have it from the beginning, those that were there get it one by one. Several boxes share the work: who
//! has the advisory lock does it. What a box leaves unfinished when it dies is thrown away and made anew.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::backoff::Backoff;
use crate::postgres::Target;

/// What they are called behind `cdr_`, and of what they are.
const INDEXES: [(&str, &str); 9] = [
    // Old months are not dropped before it is there.
    ("node", "node, started_at"),
    ("caller", "caller, started_at"),
    ("called", "called, started_at"),
    ("called_sent", "called_sent, started_at"),
    ("trunk_in", "trunk_in, started_at"),
    ("trunk_out", "trunk_out, started_at"),
    ("code_a", "sip_code_a, started_at"),
    ("code_b", "sip_code_b, started_at"),
    ("disposition", "disposition, started_at"),
];

/// How long a lock is waited for that keeps others waiting meanwhile.
const PATIENCE: &str = "SET lock_timeout = '2s'";

/// Makes what is missing, however long that takes, and tries again while it cannot. Never ends: whoever forwards ends it.
pub(crate) async fn keep(target: &Target) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        match make(target).await {
            Ok(true) => return std::future::pending().await,
            // Another box is at it, or the tables are not there yet.
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "indexes of the call records are made later"),
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Whether all are there now.
async fn make(target: &Target) -> Result<bool, sqlx::Error> {
    let mut database = target.connect_besides().await?;
    let is_ready: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('cdr') AND relkind = 'p')
                AND to_regproc('cdr_drop_of') IS NOT NULL",
    )
    .fetch_one(&mut database)
    .await?;
    let mut made = false;
    if is_ready {
        let lock = "SELECT pg_try_advisory_lock(hashtext('drawbridge indexes'))";
        if sqlx::query_scalar(lock).fetch_one(&mut database).await? {
            for (name, columns) in INDEXES {
                make_one(&mut database, name, columns).await?;
            }
            made = true;
        }
    }
    database.close().await?;
    Ok(made)
}

async fn make_one(database: &mut PgConnection, name: &str, columns: &str) -> Result<(), sqlx::Error> {
    execute(database, PATIENCE).await?;
    execute(database, &format!("CREATE INDEX IF NOT EXISTS cdr_{name} ON ONLY cdr ({columns})")).await?;
    let missing: Vec<String> = sqlx::query_scalar(
        "SELECT month.relname::text FROM pg_inherits i JOIN pg_class month ON month.oid = i.inhrelid
         WHERE i.inhparent = 'cdr'::regclass AND NOT EXISTS (
             SELECT FROM pg_inherits part JOIN pg_index x ON x.indexrelid = part.inhrelid
             WHERE part.inhparent = to_regclass($1) AND x.indrelid = month.oid)
         ORDER BY 1 DESC",
    )
    .bind(format!("cdr_{name}"))
    .fetch_all(&mut *database)
    .await?;
    for month in missing {
        let of_month = format!("{month}_by_{name}");
        let is_whole: Option<bool> =
            sqlx::query_scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)")
                .bind(&of_month)
                .fetch_optional(&mut *database)
                .await?;
        // These wait for whoever reads or writes now, and nobody waits for them.
        execute(database, "SET lock_timeout = 0").await?;
        if is_whole == Some(false) {
            execute(database, &format!("DROP INDEX CONCURRENTLY {of_month}")).await?;
        }
        if is_whole != Some(true) {
            tracing::info!(month, name, "an index of call records is made");
            execute(database, &format!("CREATE INDEX CONCURRENTLY {of_month} ON {month} ({columns})"))
                .await?;
        }
        execute(database, PATIENCE).await?;
        execute(database, &format!("ALTER INDEX cdr_{name} ATTACH PARTITION {of_month}")).await?;
    }
    Ok(())
}

/// Names are of this file and of tables whose names the schema gives.
async fn execute(database: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql)).execute(database).await.map(|_| ())
}
