//! Indexes over tables that operators have made part of the records: whatever cannot have one keeps no other from it.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod postgres;
mod records;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postgres::{Postgres, execute};
use records::{config, record, until};
use sqlx::PgConnection;
use store::{Config, Store};
use tempfile::TempDir;

async fn open_with(directory: &Path, postgres: &Postgres, retention: Option<Duration>) -> Store {
    Store::open(directory, Config { postgres: Some(postgres.url()), retention, ..config() }).await.unwrap()
}

/// Of the indexes for reports those that every table has.
async fn whole(database: &mut PgConnection) -> Vec<String> {
    let sql = "SELECT c.relname::text FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
        WHERE x.indrelid = 'cdr'::regclass AND x.indisvalid AND c.relname NOT IN ('cdr_pkey', 'cdr_started', 'cdr_call')
        ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(database).await.unwrap()
}

/// A database that is older than the indexes, with a record of January.
async fn without_indexes() -> (Postgres, TempDir, PgConnection) {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres, None).await;
    store.recorder().cdr(record(0));
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 1).await;
    let mut database = postgres.connect().await;
    until("all indexes", async || whole(&mut database).await.len() == 9).await;
    store.close().await;
    let names = whole(&mut database).await.join(", ");
    execute(&mut database, &format!("DROP INDEX {names}")).await;
    (postgres, directory, database)
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn listen() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        (log, tracing::subscriber::set_default(lines.finish()))
    }

    /// Warnings that say this.
    fn warnings(&self, of: &str) -> usize {
        let log = self.0.lock().unwrap();
        let lines = std::str::from_utf8(&log).unwrap().lines();
        lines.filter(|line| line.contains("WARN") && line.contains(of)).count()
    }
}

#[tokio::test]
async fn a_month_that_is_divided_itself_and_one_of_another_name_and_schema_have_all_indexes() {
    let (postgres, directory, mut database) = without_indexes().await;
    let long = "t".repeat(63);
    for sql in [
        "CREATE TABLE cdr_2025_03 PARTITION OF cdr FOR VALUES FROM ('2025-03-01Z') TO ('2025-04-01Z') PARTITION BY HASH (id)",
        "CREATE TABLE cdr_2025_03_0 PARTITION OF cdr_2025_03 FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE cdr_2025_03_1 PARTITION OF cdr_2025_03 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "CREATE SCHEMA \"Old \"\"ones\"\"\"",
        "CREATE TABLE \"Old \"\"ones\"\"\".\"Of 2024\" PARTITION OF cdr FOR VALUES FROM ('2024-01-01Z') TO ('2025-01-01Z')",
        &format!("CREATE TABLE {long} PARTITION OF cdr FOR VALUES FROM ('2023-01-01Z') TO ('2024-01-01Z')"),
    ] {
        execute(&mut database, sql).await;
    }
    let store = open_with(directory.path(), &postgres, None).await;
    until("all indexes", async || whole(&mut database).await.len() == 9).await;
    store.close().await;
}

#[tokio::test]
async fn a_month_that_cannot_be_indexed_keeps_no_other_index_from_being_made_and_is_said_once() {
    let (postgres, directory, mut database) = without_indexes().await;
    // Which has the names that indexes of this month would have.
    for name in ["node", "code_a"] {
        execute(&mut database, &format!("CREATE TABLE cdr_2026_01_by_{name} ()")).await;
    }
    let (log, _guard) = Log::listen();
    let store = open_with(directory.path(), &postgres, Some(Duration::from_secs(24 * 3600))).await;
    until("the others", async || whole(&mut database).await.len() == 7).await;
    until("said", async || log.warnings("already exists") == 2).await;
    assert_eq!(log.warnings("cdr_node"), 2, "one of the index, one of what is not dropped");
    // It is tried again after one second, and after two more.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((log.warnings("already exists"), log.warnings("cdr_node")), (2, 2));

    execute(&mut database, "DROP TABLE cdr_2026_01_by_node, cdr_2026_01_by_code_a").await;
    until("all indexes", async || whole(&mut database).await.len() == 9).await;
    store.close().await;
}
