//! `drawbridge cdr verify`: what differs between the journal and PostgreSQL, and what does not.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod postgres;
mod records;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use call::{CdrFact, Utc};
use postgres::Postgres;
use records::{config, open, record, until};
use sqlx::{Connection, SqliteConnection};
use store::{Config, Store, Verified};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The `n`th call, begun so many seconds ago.
fn ago(n: u32, seconds: i64) -> CdrFact {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    CdrFact { started_at: Utc(now - seconds * 1_000_000), ..record(n) }
}

async fn write(store: &Store, records: impl IntoIterator<Item = CdrFact>) {
    let mut recorder = store.recorder();
    let mut made = 0;
    for record in records {
        recorder.cdr(record);
        made += 1;
    }
    until("committed", async || store.health().journal.committed == made).await;
}

/// A box that has forwarded these and is closed.
async fn forwarded(directory: &Path, postgres: &Postgres, records: impl IntoIterator<Item = CdrFact>) {
    let config = Config { postgres: Some(postgres.url()), ..config() };
    let store = Store::open(directory, config).await.unwrap();
    write(&store, records).await;
    until("forwarded", async || {
        let health = store.health().postgres.unwrap();
        health.connected && health.behind == 0
    })
    .await;
    store.close().await;
}

async fn execute(postgres: &Postgres, sql: String) {
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut postgres.connect().await).await.unwrap();
}

async fn journal(directory: &Path, sql: String) {
    let file = directory.join("drawbridge.db");
    let mut journal = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut journal).await.unwrap();
    journal.close().await.unwrap();
}

async fn verify(directory: &Path, postgres: &Postgres, retention: Option<Duration>) -> Verified {
    store::verify(directory, &postgres.url(), "edge-1", retention).await.unwrap()
}

fn named(found: &Verified) -> Vec<(String, &'static str)> {
    let mut named: Vec<_> = found.named.iter().map(|it| (it.id.clone(), it.what)).collect();
    named.sort_unstable();
    named
}

#[tokio::test]
async fn a_record_that_was_sent_is_missing_although_others_beside_it_are_on_their_way() {
    let (postgres, directory) = (Postgres::start().await, tempfile::tempdir().unwrap());
    forwarded(directory.path(), &postgres, (0..10).map(record)).await;
    let store = open(directory.path()).await;
    write(&store, (10..15).map(record)).await;
    store.close().await;
    execute(&postgres, format!("DELETE FROM cdr WHERE id = '{}'", record(3).id)).await;
    let found = verify(directory.path(), &postgres, None).await;
    assert_eq!((found.journal, found.waiting, found.postgres), (9, 5, 9));
    assert_eq!(named(&found), [(record(3).id.to_string(), "PostgreSQL does not have it")]);
}

#[tokio::test]
async fn what_the_journal_keeps_no_more_is_no_difference_whatever_it_keeps_for_longer() {
    let (postgres, directory) = (Postgres::start().await, tempfile::tempdir().unwrap());
    let path = directory.path();
    let old = (1..5).map(|n| ago(n, 2 * 86_400));
    let new = (5..8).map(|n| ago(n, 3_600));
    // One that is refused stays in the journal; one of a long call comes when it would have been dropped.
    let refused = CdrFact { started_at: Utc(0), ..record(0) };
    let late = ago(20, 3 * 86_400);
    forwarded(path, &postgres, [refused.clone()].into_iter().chain(old).chain(new).chain([late])).await;
    let id = refused.id;
    execute(&postgres, format!("DELETE FROM cdr WHERE id = '{id}'")).await;
    journal(
        path,
        format!(
            "INSERT INTO sink_refused (sink, seq, reason)
             SELECT name, seq, 'odd' FROM sink, cdr WHERE id = '{id}'"
        ),
    )
    .await;
    let kept = (1..5).map(|n| format!("'{}'", record(n).id)).collect::<Vec<_>>().join(", ");
    journal(path, format!("DELETE FROM cdr WHERE id IN ({kept})")).await;
    let found = verify(path, &postgres, Some(DAY)).await;
    assert_eq!(named(&found), [(id.to_string(), "PostgreSQL refuses it")]);
    assert_eq!(found.postgres, 3, "as far back as records are kept");

    // One that should be there.
    journal(path, format!("DELETE FROM cdr WHERE id = '{}'", record(6).id)).await;
    let found = verify(path, &postgres, Some(DAY)).await;
    assert_eq!(named(&found)[1..], [(record(6).id.to_string(), "the journal does not have it")]);
}

#[tokio::test]
async fn what_postgresql_has_lost_and_gets_again_is_on_its_way() {
    let (postgres, directory) = (Postgres::start().await, tempfile::tempdir().unwrap());
    forwarded(directory.path(), &postgres, (0..10).map(record)).await;
    execute(&postgres, format!("DELETE FROM cdr WHERE id >= '{}'", record(6).id)).await;
    execute(&postgres, "UPDATE forwarded SET position = 6".into()).await;
    let found = verify(directory.path(), &postgres, None).await;
    assert_eq!((found.journal, found.waiting, found.differences), (6, 4, 0));
}

#[tokio::test]
async fn a_journal_of_another_version_is_said_to_be_one() {
    let (postgres, directory) = (Postgres::start().await, tempfile::tempdir().unwrap());
    forwarded(directory.path(), &postgres, (0..3).map(record)).await;
    let newest = "(SELECT max(version) FROM _sqlx_migrations)";
    journal(directory.path(), format!("DELETE FROM _sqlx_migrations WHERE version = {newest}")).await;
    let refused = store::verify(directory.path(), &postgres.url(), "edge-1", None).await.unwrap_err();
    assert!(refused.to_string().starts_with("the journal has schema 15: expected 16"), "{refused}");
}

#[tokio::test]
async fn records_that_are_in_the_log_alone_are_counted() {
    let (postgres, directory) = (Postgres::start().await, tempfile::tempdir().unwrap());
    let store = Store::open(directory.path(), Config { queue: 5, ..config() }).await.unwrap();
    let file = directory.path().join("drawbridge.db");
    let mut intruder = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut intruder).await.unwrap();
    let mut recorder = store.recorder();
    recorder.cdr(record(0));
    until("the failure is seen", async || store.health().journal.error.is_some()).await;
    (1..=8).for_each(|n| recorder.cdr(record(n)));
    assert_eq!(store.health().journal.lost, 3);
    sqlx::query("ROLLBACK").execute(&mut intruder).await.unwrap();
    until("the rest is committed", async || store.health().journal.committed == 6).await;
    store.close().await;
    drop((store, recorder));
    forwarded(directory.path(), &postgres, []).await;
    let found = verify(directory.path(), &postgres, None).await;
    assert_eq!((found.journal, found.lost, found.differences), (6, 3, 0));
}
