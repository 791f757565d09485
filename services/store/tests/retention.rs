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

/// A box that keeps records for a day has looked through them once more when this returns; how many there are then.
async fn looked_through(directory: &Path) -> usize {
    // A registration that is over is dropped along with what is too old.
    let over = "INSERT INTO binding (user, contact, listener, remote, expires_at, call_id, cseq, q)
        VALUES ('a', 'b', 'inside', '192.0.2.1:5060', 1, 'c', 1, 1)";
    let mut database = sqlite(directory).await;
    sqlx::query(over).execute(&mut database).await.unwrap();
    let retention = Some(Duration::from_secs(24 * 3600));
    let store = Store::open(directory, Config { retention, ..config() }).await.unwrap();
    until("looked through", async || {
        let left = sqlx::query_scalar("SELECT count(*) FROM binding").fetch_one(&mut database).await;
        left.is_ok_and(|left: i64| left == 0)
    })
    .await;
    let records = all(&store).await.len();
    store.close().await;
    records
}

#[tokio::test]
async fn nothing_is_dropped_for_a_day_after_the_clock_was_set_while_the_box_was_stopped_however_often_it_starts()
 {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).await.close().await;
    assert_eq!(looked_through(directory.path()).await, 0);
    let store = open(directory.path()).await;
    store.recorder().cdr(record(1));
    store.close().await;
    drop(store);
    let mut database = sqlite(directory.path()).await;
    // As if it had been two hours less when the box looked at it.
    let set = "UPDATE journal SET looked_at = looked_at - 7200000000";
    sqlx::query(set).execute(&mut database).await.unwrap();
    for start in 0..2 {
        assert_eq!(looked_through(directory.path()).await, 1, "start {start}");
    }
    sqlx::query("UPDATE journal SET waits = 0").execute(&mut database).await.unwrap();
    assert_eq!(looked_through(directory.path()).await, 0, "a day later");
}
