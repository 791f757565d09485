//! The local journal: what is handed over is kept, and read back as it was.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod records;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use call::{BindingChange, CdrFact, Disposition, EndedBy, Flow, ListenerId, Origin, Utc};
use records::{START, all, config, open, record, until};
use sqlx::{Connection, Row, SqliteConnection};
use store::{Config, Error, Filter, OpenError, Order, Page, Store};
use uuid::Uuid;

#[tokio::test]
async fn a_record_is_read_back_as_it_was_handed_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let full = record(1);
    let mut bare = record(2);
    bare.attempt = 0;
    bare.b_sip_call_id = None;
    bare.trunk_in = None;
    bare.trunk_out = None;
    bare.route = None;
    bare.called_sent = None;
    bare.b_destination = None;
    bare.b_transport = None;
    bare.a_user_agent = None;
    bare.b_user_agent = None;
    bare.ringing_at = None;
    bare.answered_at = None;
    bare.sip_code_a = None;
    bare.sip_reason_a = None;
    bare.sip_code_b = None;
    bare.sip_reason_b = None;
    bare.q850 = None;
    bare.codec_a = None;
    bare.codec_b = None;
    bare.rank = None;
    bare.origin = Origin::Route;
    bare.parent_id = None;
    bare.pdd_ms = None;
    bare.a_media = None;
    bare.b_media = None;
    bare.identity_in = None;
    bare.identity_out = None;
    bare.q850_a = None;
    bare.q850_b = None;
    bare.disposition = Disposition::Failed;
    bare.ended_by = EndedBy::Error;
    let mut recorder = store.recorder();
    recorder.cdr(full.clone());
    recorder.cdr(bare.clone());
    until("both committed", async || store.health().journal.committed == 2).await;

    let found = all(&store).await;
    assert_eq!(found[0].fact, bare);
    assert_eq!(found[1].fact, full);
    assert_eq!(found[1].node, "edge-1");
    assert_eq!((found[1].a_mos, found[1].b_mos), (Some(4.4), Some(4.41)));
    assert_eq!((found[0].a_mos, found[0].b_mos), (None, None));
    store.close().await;
}

#[tokio::test]
async fn texts_from_the_wire_are_cut_and_freed_of_nul() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut strange = record(1);
    strange.a_user_agent = Some("a\0b".into());
    strange.b_user_agent = Some("ü".repeat(5_000).into());
    strange.from_a.jitter_ms = f32::NAN;
    strange.from_a.packets = u64::MAX;
    store.recorder().cdr(strange);
    until("committed", async || store.health().journal.committed == 1).await;

    let found = all(&store).await.remove(0).fact;
    assert_eq!(found.a_user_agent.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(found.b_user_agent.as_deref(), Some("ü".repeat(512).as_str()));
    assert_eq!(found.from_a.jitter_ms, 0.0);
    assert_eq!(found.from_a.packets, i64::MAX as u64);
    store.close().await;
}

#[tokio::test]
async fn what_is_in_flight_when_the_store_closes_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    (0..5_000).for_each(|n| recorder.cdr(record(n)));
    store.close().await;
    assert_eq!(store.health().journal.committed, 5_000);
    drop(store);

    let store = open(directory.path()).await;
    let found = all(&store).await;
    assert_eq!(found.len(), 5_000);
    assert_eq!(found[0].fact, record(4_999));
    assert_eq!(found[4_999].fact, record(0));
    store.close().await;
}

#[tokio::test]
async fn the_same_record_twice_is_one_row() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    recorder.cdr(record(1));
    recorder.cdr(record(1));
    until("taken", async || store.health().journal.pending == 0 && store.health().journal.committed > 0)
        .await;
    assert_eq!(all(&store).await.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn pages_stay_in_place_while_records_come_in() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    (0..100).for_each(|n| recorder.cdr(record(n * 2)));
    until("first hundred", async || store.health().journal.committed == 100).await;

    let mut filter = Filter { limit: 30, ..Filter::default() };
    let first = store.cdrs(&filter).await.unwrap();
    // Newer ones, and one that falls between those already shown.
    (100..150).for_each(|n| recorder.cdr(record(n * 2)));
    recorder.cdr(record(197));
    until("all", async || store.health().journal.committed == 151).await;

    let mut seen: Vec<_> = first.records.iter().map(|record| record.fact.started_at).collect();
    filter.cursor = first.next_cursor;
    while filter.cursor.is_some() {
        let page = store.cdrs(&filter).await.unwrap();
        assert!(page.records.len() == 30 || page.next_cursor.is_none());
        seen.extend(page.records.iter().map(|record| record.fact.started_at));
        filter.cursor = page.next_cursor;
    }
    let expected: Vec<_> = (0..100).rev().map(|n| record(n * 2).started_at).collect();
    assert_eq!(seen, expected);
    store.close().await;
}

#[tokio::test]
async fn records_are_found_by_time_trunk_and_number() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    (0..10).for_each(|n| recorder.cdr(record(n)));
    until("all", async || store.health().journal.committed == 10).await;
    let find = async |filter: Filter| {
        let page = store.cdrs(&Filter { limit: 100, ..filter }).await.unwrap();
        assert_eq!(page.next_cursor, None);
        page.records.iter().map(|record| (record.fact.started_at.0 - START) / 1_000_000).collect::<Vec<_>>()
    };
    let at = |seconds: i64| Some(Utc(START + seconds * 1_000_000));

    assert_eq!(find(Filter { from: at(3), to: at(6), ..Filter::default() }).await, [5, 4, 3]);
    assert_eq!(find(Filter { trunk: Some("carrier-b".into()), ..Filter::default() }).await, [9, 7, 5, 3, 1]);
    assert_eq!(find(Filter { trunk: Some("pbx".into()), from: at(8), ..Filter::default() }).await, [9, 8]);
    assert_eq!(find(Filter { number: Some("+15550000004".into()), ..Filter::default() }).await, [4]);
    assert_eq!(find(Filter { number: Some("+16660000005".into()), ..Filter::default() }).await, [5]);
    assert_eq!(find(Filter { number: Some("6660000006".into()), ..Filter::default() }).await, [6]);
    assert_eq!(find(Filter { number: Some("' OR true --".into()), ..Filter::default() }).await, [0; 0]);
    store.close().await;
}

#[tokio::test]
async fn a_number_is_looked_for_in_an_index_that_has_the_numbers() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).await.close().await;
    let mut database = sqlite(directory.path()).await;
    // Rows that the search passes over are not read: a row is as long as ten entries.
    let columns = "SELECT name FROM pragma_index_info('cdr_started') ORDER BY seqno";
    let columns: Vec<String> = sqlx::query_scalar(columns).fetch_all(&mut database).await.unwrap();
    assert_eq!(columns, ["started_at", "id", "caller", "called", "called_sent"]);
    let search =
        "EXPLAIN QUERY PLAN SELECT * FROM cdr WHERE true AND (caller = ?1 OR called = ?1 OR called_sent = ?1)
                  AND seq + 0 <= 9 ORDER BY started_at DESC, id DESC LIMIT 100";
    let plan = sqlx::query(search).fetch_all(&mut database).await.unwrap();
    assert_eq!(plan[0].get::<String, _>("detail"), "SCAN cdr USING INDEX cdr_started");
}

#[tokio::test]
async fn records_are_found_by_how_they_ended_and_by_their_call() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    for n in 0..6_u32 {
        let mut attempt = record(n);
        attempt.call_id = record(n / 2).call_id;
        attempt.attempt = n % 2 + 1;
        attempt.is_last = n % 2 == 1;
        if n % 2 == 0 {
            attempt.disposition = Disposition::Busy;
            (attempt.sip_code_a, attempt.sip_code_b) = (None, Some(486));
        }
        recorder.cdr(attempt);
    }
    until("all", async || store.health().journal.committed == 6).await;
    let find =
        async |filter: Filter| store.cdrs(&Filter { limit: 100, ..filter }).await.unwrap().records.len();
    assert_eq!(find(Filter { disposition: Some(Disposition::Busy), ..Filter::default() }).await, 3);
    assert_eq!(find(Filter { code: Some(486), ..Filter::default() }).await, 3);
    assert_eq!(
        find(Filter { code: Some(200), disposition: Some(Disposition::Busy), ..Filter::default() }).await,
        0
    );
    let call = store.call(record(1).call_id).await.unwrap();
    assert_eq!(call.iter().map(|record| record.fact.attempt).collect::<Vec<_>>(), [1, 2]);
    assert!(store.call(record(9).call_id).await.unwrap().is_empty());
    store.close().await;
}

#[tokio::test]
async fn a_call_is_found_as_soon_as_it_is_over_and_not_said_to_be_unknown_while_the_disk_is_stuck() {
    let directory = tempfile::tempdir().unwrap();
    let gather = Duration::from_millis(400);
    let store = Store::open(directory.path(), Config { gather, ..config() }).await.unwrap();
    let mut recorder = store.recorder();
    recorder.cdr(record(1));
    assert_eq!(store.health().journal.committed, 0);
    let found = store.call(record(1).call_id).await.unwrap();
    assert_eq!(found.iter().map(|record| record.fact.id).collect::<Vec<_>>(), [record(1).id]);
    assert_eq!(store.call(record(2).call_id).await.unwrap(), []);

    let mut intruder = sqlite(directory.path()).await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut intruder).await.unwrap();
    recorder.cdr(record(2));
    let stuck = store.call(record(2).call_id).await.unwrap_err();
    assert!(matches!(stuck, Error::Behind(_)), "{stuck}");
    assert_eq!(store.call(record(1).call_id).await.unwrap().len(), 1);
    sqlx::query("ROLLBACK").execute(&mut intruder).await.unwrap();
    until("the rest is committed", async || store.health().journal.committed == 2).await;
    assert_eq!(store.call(record(2).call_id).await.unwrap().len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_cursor_that_no_page_gave_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    for cursor in ["", "1", "x.y", "12.zz", "1767323045678901.0190", "seq.", "seq.-1", "seq.x", "1.0.1.1"] {
        let filter = Filter { cursor: Some(cursor.into()), limit: 1, ..Filter::default() };
        let error = store.cdrs(&filter).await.unwrap_err();
        assert!(matches!(&error, Error::Cursor(found) if found == cursor), "{error}");
    }
    store.close().await;
}

#[tokio::test]
async fn the_view_calls_has_one_row_for_a_call_of_several_attempts() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    for attempt in 1..=3 {
        let mut attempted = record(attempt);
        attempted.call_id = record(1).call_id;
        attempted.attempt = attempt;
        attempted.is_last = attempt == 3;
        recorder.cdr(attempted);
    }
    let mut blocked = record(9);
    blocked.attempt = 0;
    recorder.cdr(blocked);
    store.close().await;

    let mut database = sqlite(directory.path()).await;
    let rows = sqlx::query("SELECT id, attempts, call_started_at FROM calls ORDER BY id")
        .fetch_all(&mut database)
        .await
        .unwrap();
    let rows: Vec<(String, i64, i64)> =
        rows.iter().map(|row| (row.get("id"), row.get("attempts"), row.get("call_started_at"))).collect();
    let expected = [
        (record(3).id.to_string(), 3, record(1).started_at.0),
        (record(9).id.to_string(), 0, record(9).started_at.0),
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_journal_that_takes_nothing_keeps_records_up_to_its_bound_and_logs_the_rest() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt()
            .json()
            .with_writer({
                let log = log.clone();
                move || log.clone()
            })
            .finish(),
    );
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Config { queue: 50, ..config() }).await.unwrap();
    let mut recorder = store.recorder();
    let mut intruder = sqlite(directory.path()).await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut intruder).await.unwrap();

    recorder.cdr(record(0));
    until("the failure is seen", async || store.health().journal.error.is_some()).await;
    (1..=80).for_each(|n| recorder.cdr(record(n)));
    let health = store.health().journal;
    assert_eq!((health.committed, health.pending, health.lost), (0, 51, 30));

    sqlx::query("ROLLBACK").execute(&mut intruder).await.unwrap();
    until("the rest is committed", async || store.health().journal.committed == 51).await;
    assert_eq!(store.health().journal.error, None);
    let kept: Vec<_> = all(&store).await.iter().map(|record| record.fact.id).collect();
    assert_eq!(kept, (0..=50).rev().map(|n| record(n).id).collect::<Vec<_>>());
    store.close().await;
    recorder.cdr(record(81));

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lost: Vec<&str> = log.lines().filter(|line| line.contains("call record not kept")).collect();
    assert_eq!(lost.len(), 31);
    for (line, n) in lost.into_iter().zip(51..) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let logged: serde_json::Value =
            serde_json::from_str(line["fields"]["record"].as_str().unwrap()).unwrap();
        let whole = record(n);
        assert_eq!(logged["id"], whole.id.to_string());
        assert_eq!(logged["node"], "edge-1");
        assert_eq!(logged["started_at"], whole.started_at.0);
        assert_eq!(logged["b_destination"], "[2001:db8::2]:5061");
        assert_eq!(logged["b_jitter_ms"], 0.25);
        assert_eq!(logged.as_object().unwrap().len(), 79);
    }
}

#[tokio::test]
async fn an_attempt_whose_record_was_lost_is_not_open_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Config { queue: 50, ..config() }).await.unwrap();
    let standing = |n| CdrFact { is_last: false, ended_by: EndedBy::Crash, ..record(n) };
    let mut recorder = store.recorder();
    recorder.open_cdr(standing(100).into(), Some(b"both talk".as_slice().into()));
    recorder.flush();
    until("known", async || store.health().journal.open == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut intruder = sqlite(directory.path()).await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut intruder).await.unwrap();

    recorder.cdr(record(0));
    until("the failure is seen", async || store.health().journal.error.is_some()).await;
    // This one's beginning is in the queue when there is no room for its end.
    recorder.open_cdr(standing(101).into(), None);
    recorder.open_cdr(standing(102).into(), None);
    (1..=48).for_each(|n| recorder.cdr(record(n)));
    recorder.cdr(record(100));
    recorder.cdr(record(101));
    assert_eq!(store.health().journal.lost, 2);
    sqlx::query("ROLLBACK").execute(&mut intruder).await.unwrap();
    until("the rest is committed", async || store.health().journal.committed == 49).await;
    until("those two are over", async || store.health().journal.open == 1).await;
    let open = async |database: &mut SqliteConnection| {
        let ids = sqlx::query_scalar("SELECT id FROM open_cdr").fetch_all(database).await.unwrap();
        ids.into_iter().map(|id: Vec<u8>| Uuid::from_slice(&id).unwrap()).collect::<Vec<_>>()
    };
    until("those two have no row", async || open(&mut intruder).await == [record(102).id]).await;
    // One that begins later has nothing to do with them.
    recorder.open_cdr(standing(103).into(), None);
    recorder.flush();
    until("the other's row", async || open(&mut intruder).await == [102, 103].map(|n| record(n).id)).await;
    store.close().await;
}

#[tokio::test]
async fn records_are_dropped_when_they_are_old_however_many_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    recorder.cdr(record(1));
    recorder.cdr(CdrFact { started_at: Utc(now()), ..record(2) });
    until("both", async || store.health().journal.committed == 2).await;
    store.close().await;
    drop(store);
    let mut database = sqlite(directory.path()).await;
    let columns: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pragma_table_info('cdr') WHERE name NOT IN ('seq', 'id')")
            .fetch_all(&mut database)
            .await
            .unwrap();
    let columns = columns.join(", ");
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 45000)
         INSERT INTO cdr (id, {columns}) SELECT id || '-' || i, {columns} FROM n, cdr WHERE seq = 1"
    )))
    .execute(&mut database)
    .await
    .unwrap();
    let retention = Some(Duration::from_secs(24 * 60 * 60));
    let store = Store::open(directory.path(), Config { retention, ..config() }).await.unwrap();
    let left = async |database: &mut SqliteConnection| {
        let left = sqlx::query_scalar("SELECT count(*) FROM cdr").fetch_one(database).await;
        left.unwrap_or(i64::MAX)
    };
    until("the old ones are gone", async || left(&mut database).await == 1).await;
    assert_eq!(all(&store).await[0].fact.id, record(2).id);
    store.close().await;
}

#[tokio::test]
async fn a_store_that_closes_over_a_stuck_disk_ends_and_logs_what_it_could_not_keep() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut intruder = sqlite(directory.path()).await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut intruder).await.unwrap();
    let mut recorder = store.recorder();
    (0..10).for_each(|n| recorder.cdr(record(n)));
    tokio::time::timeout(Duration::from_secs(15), store.close()).await.expect("the store closes");
    assert_eq!(store.health().journal.lost, 10);
}

#[tokio::test]
async fn registrations_live_over_a_restart_until_they_expire_or_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    let hour = Utc(now() + 3_600_000_000);
    let alice = binding("alice", "sip:alice@192.0.2.10:5062", 0, hour);
    let bob = binding("bob", "sip:bob@192.0.2.11:5062;transport=tcp", 1, hour);
    recorder.binding(&alice);
    recorder.binding(&bob);
    recorder.binding(&binding("carol", "sip:carol@192.0.2.12", 0, hour));
    recorder.binding(&binding("carol", "sip:carol@192.0.2.12", 0, Utc(0)));
    recorder.binding(&binding("dave", "sip:dave@192.0.2.13", 0, Utc(now() + 300_000)));
    recorder.binding(&binding("erin", "sip:erin@192.0.2.14", 7, hour));
    let refreshed = BindingChange { cseq: 9, expires_at: Utc(hour.0 + 5), ..alice.clone() };
    recorder.binding(&refreshed);
    store.close().await;
    drop(store);
    tokio::time::sleep(Duration::from_millis(300)).await;

    // The listeners come in another order now.
    let listeners = vec!["inside".into(), "public".into()];
    let store = Store::open(directory.path(), Config { listeners, ..config() }).await.unwrap();
    let moved = |binding: &BindingChange, listener| BindingChange {
        flow: Flow { listener: ListenerId(listener), connection: 0, ..binding.flow },
        ..binding.clone()
    };
    assert_eq!(store.bindings().await.unwrap(), [moved(&refreshed, 1), moved(&bob, 0)]);
    store.close().await;
    drop(store);

    let store =
        Store::open(directory.path(), Config { listeners: vec!["inside".into()], ..config() }).await.unwrap();
    assert_eq!(store.bindings().await.unwrap(), [moved(&bob, 0)]);
    store.close().await;
}

#[tokio::test]
async fn one_directory_belongs_to_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let error = Store::open(directory.path(), config()).await.unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    store.close().await;
    drop(store);
    open(directory.path()).await.close().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("data"), config()).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "cannot make the data directory {}: Not a directory (os error 20)",
            file.join("data").display()
        )
    );

    let data = directory.path().join("data");
    std::fs::create_dir_all(data.join("drawbridge.db")).unwrap();
    let error = Store::open(&data, config()).await.unwrap_err().to_string();
    let path = data.join("drawbridge.db");
    assert_eq!(error, format!("cannot write the journal {}: Is a directory (os error 21)", path.display()));

    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "this is no database, and it is long enough to be told from one").unwrap();
    let error = Store::open(&data, config()).await.unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_postgres_url_that_is_none_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for url in ["mysql://localhost/x", "postgres://host:notaport/db", ""] {
        let error = Store::open(&data, Config { postgres: Some(url.into()), ..config() }).await.unwrap_err();
        assert!(error.to_string().starts_with("cdr.postgres: expected postgres://"), "{error}");
    }
    assert!(!data.exists());
}

/// Where the log goes.
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

fn binding(user: &str, contact: &str, listener: u16, expires_at: Utc) -> BindingChange {
    BindingChange {
        user: user.into(),
        contact: contact.into(),
        flow: Flow {
            listener: ListenerId(listener),
            remote: "192.0.2.10:5062".parse().unwrap(),
            connection: 77,
        },
        expires_at,
        call_id: "reg-1@192.0.2.10".into(),
        cseq: 1,
        q: 700,
        user_agent: Some("phone/1.0".into()),
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

async fn sqlite(directory: &std::path::Path) -> SqliteConnection {
    SqliteConnection::connect(directory.join("drawbridge.db").to_str().unwrap()).await.unwrap()
}

/// Begins before all others and ends after them.
fn long_call(n: u32) -> call::CdrFact {
    let mut long = record(n);
    long.started_at = Utc(START - i64::from(n) * 1_000_000);
    long
}

async fn page(store: &Store, order: Order, cursor: &Option<String>, limit: usize) -> Page {
    let filter = Filter { order, cursor: cursor.clone(), limit, ..Filter::default() };
    store.cdrs(&filter).await.unwrap()
}

fn ids(page: &Page) -> Vec<uuid::Uuid> {
    page.records.iter().map(|record| record.fact.id).collect()
}

#[tokio::test]
async fn who_follows_by_arrival_sees_every_record_once_also_those_of_calls_that_end_late() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    let (mut cursor, mut seen) = (None, Vec::new());
    let first = page(&store, Order::Arrival, &cursor, 3).await;
    assert_eq!((first.records.len(), first.more), (0, false));
    assert!(first.next_cursor.is_some(), "what comes is behind it");
    for round in 0..5 {
        (0..7).for_each(|n| recorder.cdr(record(round * 100 + n)));
        recorder.cdr(long_call(round * 100 + 50));
        let committed = u64::from(round + 1) * 8;
        until("committed", async || store.health().journal.committed == committed).await;
        loop {
            let page = page(&store, Order::Arrival, &cursor, 3).await;
            seen.extend(ids(&page));
            cursor = page.next_cursor;
            if !page.more {
                break;
            }
        }
        assert_eq!(seen.len() as u64, committed, "everything that is there, and nothing twice");
    }
    let expected =
        |round: u32| (0..7).map(move |n| record(round * 100 + n).id).chain([record(round * 100 + 50).id]);
    assert_eq!(seen, (0..5).flat_map(expected).collect::<Vec<_>>());
    // A time is a filter and no place in that order.
    let filter = Filter { order: Order::Arrival, to: Some(Utc(START)), limit: 1000, ..Filter::default() };
    assert_eq!(store.cdrs(&filter).await.unwrap().records.len(), 5, "those that began before");
    store.close().await;
}

#[tokio::test]
async fn who_reads_from_the_newest_back_gets_what_came_meanwhile_by_the_follow_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    (0..10).for_each(|n| recorder.cdr(record(n)));
    until("committed", async || store.health().journal.committed == 10).await;
    let first = page(&store, Order::Newest, &None, 4).await;
    // One that belongs where the reader was, and one where it will be.
    recorder.cdr(record(20));
    recorder.cdr(long_call(30));
    until("committed", async || store.health().journal.committed == 12).await;
    let mut seen = ids(&first);
    let (mut cursor, follow) = (first.next_cursor, first.follow_cursor);
    while cursor.is_some() {
        let next = page(&store, Order::Newest, &cursor, 4).await;
        assert_eq!((&next.follow_cursor, next.more), (&follow, next.next_cursor.is_some()));
        seen.extend(ids(&next));
        cursor = next.next_cursor;
    }
    assert_eq!(
        seen,
        (0..10).rev().map(|n| record(n).id).collect::<Vec<_>>(),
        "as it was when the reading began"
    );
    let rest = page(&store, Order::default(), &follow, 4).await;
    assert_eq!(ids(&rest), [record(20).id, record(30).id]);
    assert!(!rest.more);
    store.close().await;
}
