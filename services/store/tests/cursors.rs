//! Cursors of a journal that is not what it was: older, restored from a backup, or emptied by age.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod records;

use std::path::Path;
use std::time::Duration;

use records::{config, open, record, until};
use store::{Config, Error, Filter, Order, Page, Store};

async fn page(store: &Store, order: Order, cursor: Option<&str>) -> Result<Page, Error> {
    let filter = Filter { order, cursor: cursor.map(str::to_owned), limit: 5, ..Filter::default() };
    store.cdrs(&filter).await
}

async fn write(store: &Store, records: std::ops::Range<u32>) {
    let until_then = store.health().journal.committed + u64::from(records.end - records.start);
    let mut recorder = store.recorder();
    records.for_each(|n| recorder.cdr(record(n)));
    until("committed", async || store.health().journal.committed == until_then).await;
}

/// With what is not in the file itself yet.
fn copy(from: &Path, to: &Path) {
    for file in ["drawbridge.db", "drawbridge.db-wal"].map(|name| (from.join(name), to.join(name))) {
        if file.0.exists() {
            std::fs::copy(file.0, file.1).unwrap();
        }
    }
}

#[tokio::test]
async fn a_cursor_of_records_that_a_restored_journal_never_had_is_refused() {
    let (directory, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(directory.path()).await;
    write(&store, 0..10).await;
    let known = page(&store, Order::Arrival, None).await.unwrap().next_cursor.unwrap();
    store.close().await;
    drop(store);
    copy(directory.path(), backup.path());
    let store = open(directory.path()).await;
    write(&store, 10..20).await;
    let newest = page(&store, Order::Newest, None).await.unwrap();
    let gone = [newest.next_cursor.unwrap(), newest.follow_cursor.unwrap()];
    store.close().await;
    drop(store);

    let store = open(backup.path()).await;
    for cursor in gone.iter().map(String::as_str).chain(["seq.11", "seq.5000", "seq.9223372036854775807"]) {
        let refused = page(&store, Order::Arrival, Some(cursor)).await;
        assert!(matches!(&refused, Err(Error::Cursor(found)) if found == cursor), "{cursor}: {refused:?}");
    }
    let rest = page(&store, Order::Arrival, Some(&known)).await.unwrap();
    assert_eq!((rest.records.len(), rest.next_cursor.as_deref()), (5, Some("seq.10")));
    let end = page(&store, Order::Arrival, Some("seq.10")).await.unwrap();
    assert_eq!((end.records.len(), end.next_cursor.as_deref()), (0, Some("seq.10")));
    store.close().await;
}

#[tokio::test]
async fn a_cursor_of_records_that_were_dropped_for_their_age_goes_on_with_what_comes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    write(&store, 0..10).await;
    let back = page(&store, Order::Newest, None).await.unwrap().next_cursor.unwrap();
    store.close().await;
    drop(store);
    let retention = Some(Duration::from_secs(24 * 3600));
    let store = Store::open(directory.path(), Config { retention, ..config() }).await.unwrap();
    until("all are gone", async || page(&store, Order::Arrival, None).await.unwrap().records.is_empty())
        .await;
    for cursor in ["seq.10", &back] {
        let page = page(&store, Order::Arrival, Some(cursor)).await.unwrap();
        assert_eq!(page.records, [], "{cursor}");
    }
    store.close().await;
    drop(store);
    let store = open(directory.path()).await;
    write(&store, 10..11).await;
    let came = page(&store, Order::Arrival, Some("seq.10")).await.unwrap();
    assert_eq!((came.records.len(), came.next_cursor.as_deref()), (1, Some("seq.11")));
    store.close().await;
}
