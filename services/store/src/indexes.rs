//! The indexes of table `cdr` in PostgreSQL that reports need: by number, trunk, code, disposition and box, each with the time.
//!
//! They are no matter of migrations, which a box waits for before it forwards: an index over a month of millions of rows takes
//! minutes. So they are made besides, over a connection of their own, one month after the other and CONCURRENTLY, while
//! records come in and reports are read. The index of the whole table is entered first, as one that is not complete; months that
//! are made later have it from the beginning, those that were there get it one by one. Several boxes share the work: who
//! has the advisory lock does it. What a box leaves unfinished when it dies is thrown away and made anew. A table that can have none
//! (it is somebody else's, say) keeps no other from having one; that it is so is said, and it is tried again.

use std::collections::{BTreeMap, BTreeSet};
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

/// The longest name that PostgreSQL does not cut off.
const LONGEST_NAME: usize = 63;

/// What could not be made, with the code of the error, which tells one error from the next better than its text does; and the text.
type Failed = BTreeMap<(String, String), String>;

/// The code of an error that says that a lock was not to be had: somebody else has the table just now.
const LOCKED: &str = "55P03";

/// A table that holds records and has no part in an index yet.
#[derive(sqlx::FromRow)]
struct Missing {
    id: i64,
    schema: String,
    name: String,
    is_divided: bool,
    /// That of the table that it is part of, as SQL has it.
    above: String,
}

/// Makes what is missing, however long that takes, and tries again while it cannot. Never ends: whoever forwards ends it.
pub(crate) async fn keep(target: &Target) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    let mut said = Failed::new();
    loop {
        let mut failed = Failed::new();
        let tried = make(target, &mut failed).await;
        match &tried {
            Ok(true) if failed.is_empty() => return std::future::pending().await,
            // Another box is at it, or the tables are not there yet.
            Ok(_) => {}
            // That the database is away is said by whoever forwards.
            Err(error) => tracing::debug!(%error, "indexes of the call records are made later"),
        }
        let is_news = |what: &(String, String)| what.1 != LOCKED && !said.contains_key(what);
        for ((index, _), why) in failed.iter().filter(|(what, _)| is_news(what)) {
            tracing::warn!(index, why, "an index of call records cannot be made; it is tried again");
        }
        // Of what was not tried to its end nothing is known to have changed.
        if matches!(tried, Ok(true)) {
            said.clear();
        }
        said.append(&mut failed);
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Whether this box was at it.
async fn make(target: &Target, failed: &mut Failed) -> Result<bool, sqlx::Error> {
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
                make_one(&mut database, name, columns, failed).await?;
            }
            made = true;
        }
    }
    database.close().await?;
    Ok(made)
}

/// One index, of all tables that can have it.
async fn make_one(
    database: &mut PgConnection,
    name: &str,
    columns: &str,
    failed: &mut Failed,
) -> Result<(), sqlx::Error> {
    let whole = format!("cdr_{name}");
    let entered = enter(database, &whole, "cdr", columns).await;
    if !is_done(entered, &whole, "cdr", failed)? {
        return Ok(());
    }
    let mut tried = BTreeSet::new();
    loop {
        // Asked again each time: a table that is divided shows what it is divided into when it has its part.
        let missing = missing(database, &whole).await?;
        let Some(part) = missing.into_iter().find(|part| tried.insert(part.id)) else { return Ok(()) };
        let made = make_part(database, &part, name, columns).await;
        is_done(made, &whole, &format!("{}.{}", part.schema, part.name), failed)?;
    }
}

/// Notes what PostgreSQL refuses; the connection is good for others then.
fn is_done(
    done: Result<(), sqlx::Error>,
    index: &str,
    table: &str,
    failed: &mut Failed,
) -> Result<bool, sqlx::Error> {
    let Err(error) = done else { return Ok(true) };
    let Some(refusal) = error.as_database_error() else { return Err(error) };
    let code = refusal.code().unwrap_or_default().into_owned();
    failed.insert((format!("{index} of {table}"), code), error.to_string());
    Ok(false)
}

/// The latest months first, which are read most.
async fn missing(database: &mut PgConnection, whole: &str) -> Result<Vec<Missing>, sqlx::Error> {
    let sql = "WITH RECURSIVE part (id, has, above) AS (
             SELECT to_regclass('cdr')::oid, to_regclass($1)::oid, NULL::oid
             UNION ALL
             SELECT i.inhrelid, (SELECT x.indexrelid FROM pg_inherits p JOIN pg_index x ON x.indexrelid = p.inhrelid
                                 WHERE p.inhparent = part.has AND x.indrelid = i.inhrelid), part.has
             FROM part JOIN pg_inherits i ON i.inhparent = part.id WHERE part.has IS NOT NULL
         )
         SELECT c.oid::bigint AS id, n.nspname::text AS schema, c.relname::text AS name, c.relkind = 'p' AS is_divided,
                part.above::regclass::text AS above
         FROM part JOIN pg_class c ON c.oid = part.id JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE part.has IS NULL AND part.above IS NOT NULL ORDER BY c.relname DESC";
    sqlx::query_as(sql).bind(whole).fetch_all(database).await
}

async fn make_part(
    database: &mut PgConnection,
    part: &Missing,
    name: &str,
    columns: &str,
) -> Result<(), sqlx::Error> {
    let mut of_part = format!("{}_by_{name}", part.name);
    if of_part.len() > LONGEST_NAME {
        of_part = format!("cdr_{}_by_{name}", part.id);
    }
    let table = format!("{}.{}", quoted(&part.schema), quoted(&part.name));
    // An index is in the schema of its table.
    let index = format!("{}.{}", quoted(&part.schema), quoted(&of_part));
    if part.is_divided {
        enter(database, &of_part, &table, columns).await?;
    } else {
        let is_whole =
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1) AND indrelid::bigint = $2";
        let is_whole = sqlx::query_scalar(is_whole).bind(&index).bind(part.id);
        let is_whole: Option<bool> = is_whole.fetch_optional(&mut *database).await?;
        // These wait for whoever reads or writes now, and nobody waits for them.
        execute(database, "SET lock_timeout = 0").await?;
        if is_whole == Some(false) {
            execute(database, &format!("DROP INDEX CONCURRENTLY {index}")).await?;
        }
        if is_whole != Some(true) {
            let sql = format!("CREATE INDEX CONCURRENTLY {} ON {table} ({columns})", quoted(&of_part));
            execute(database, &sql).await?;
            tracing::info!(month = part.name, name, "an index of call records was made");
        }
        execute(database, PATIENCE).await?;
    }
    execute(database, &format!("ALTER INDEX {} ATTACH PARTITION {index}", part.above)).await
}

/// The index of a table that is divided: one that is not complete until each of its parts has one.
async fn enter(
    database: &mut PgConnection,
    index: &str,
    table: &str,
    columns: &str,
) -> Result<(), sqlx::Error> {
    execute(database, PATIENCE).await?;
    let sql = format!("CREATE INDEX IF NOT EXISTS {} ON ONLY {table} ({columns})", quoted(index));
    execute(database, &sql).await
}

/// A name as SQL has it, whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names are of this file, or quoted.
async fn execute(database: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql)).execute(database).await.map(|_| ())
}
