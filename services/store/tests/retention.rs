//! What is too old is dropped, and nothing waits for that.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod records;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use call::{CdrFact, Utc};
use records::{all, config, open, record, until};
use sqlx::{Connection, SqliteConnection};
use store::{Config, Lines, Store};

async fn sqlite(directory: &Path) -> SqliteConnection {
    SqliteConnection::connect(directory.join("drawbridge.db").to_str().unwrap()).await.unwrap()
}

#[test]
fn a_record_that_was_dropped_for_its_age_is_not_written_again_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Some(Duration::from_secs(24 * 3600));
    let lines = directory.path().join("lines");
    let file = Lines { path: lines.clone(), max_bytes: 1 << 20, keep: 1 };
    for lines in [None, Some(file)] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(async {
            let is_first = lines.is_none();
            let config = Config { retention, lines, ..config() };
            let store = Store::open(directory.path(), config).await.unwrap();
            if is_first {
                let mut recorder = store.recorder();
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
                recorder.cdr(record(1));
                recorder.cdr(CdrFact { started_at: Utc(now), ended_at: Utc(now), ..record(2) });
                recorder.flush();
                until("committed", async || store.health().journal.committed == 2).await;
            } else {
                until("written", async || store.health().lines.unwrap().forwarded > 0).await;
            }
            until("the old one is gone", async || all(&store).await.len() == 1).await;
            store
        });
        drop(runtime);
        drop(store);
    }
    assert_eq!(std::fs::read_to_string(&lines).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn a_disk_with_no_room_to_drop_old_records_takes_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    store.recorder().cdr(record(1));
    store.close().await;
    drop(store);
    let mut database = sqlite(directory.path()).await;
    let no_room =
        "CREATE TRIGGER no_room BEFORE DELETE ON cdr BEGIN SELECT RAISE(ABORT, 'disk is full'); END";
    sqlx::query(no_room).execute(&mut database).await.unwrap();

    let retention = Some(Duration::from_secs(24 * 3600));
    let store = Store::open(directory.path(), Config { retention, ..config() }).await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    for n in 2..5 {
        store.recorder().cdr(CdrFact { started_at: Utc(now), ..record(n) });
        let committed = u64::from(n) - 1;
        until("committed", async || store.health().journal.committed == committed).await;
    }
    assert_eq!(store.health().journal.error, None);
    sqlx::query("DROP TRIGGER no_room").execute(&mut database).await.unwrap();
    until("the old one is gone", async || all(&store).await.len() == 3).await;
    store.close().await;
}
