//! The months of PostgreSQL, of which operators take some away, and others are dropped: no record waits for that.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod postgres;
mod records;

use std::path::Path;
use std::time::{Duration, Instant};

use call::CdrFact;
use postgres::{Postgres, execute};
use records::{config, record, until};
use sqlx::{Connection, PgConnection, SqliteConnection};
use store::{Config, Store};

async fn open_with(directory: &Path, postgres: &Postgres) -> Store {
    Store::open(directory, Config { postgres: Some(postgres.url()), ..config() }).await.unwrap()
}

async fn count(database: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM cdr").fetch_one(database).await.unwrap()
}

/// As many as the box has handed over since it began, but those that are refused.
async fn forwarded(store: &Store, records: u64) {
    until("forwarded", async || {
        store.health().postgres.is_some_and(|it| it.behind == 0 && it.forwarded == records)
    })
    .await;
}

/// One that is being made has locks that whoever detaches a month, or drops it, waits for.
async fn all_indexes(database: &mut PgConnection) {
    let whole = "SELECT count(*) FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
        WHERE x.indrelid = 'cdr'::regclass AND x.indisvalid AND c.relname NOT IN ('cdr_pkey', 'cdr_started', 'cdr_call')";
    until("all indexes are there", async || {
        sqlx::query_scalar::<_, i64>(whole).fetch_one(&mut *database).await.unwrap() == 9
    })
    .await;
}

/// The `n`th record, which began in the month after the others.
fn in_february(n: u32) -> CdrFact {
    let mut later = record(n);
    later.started_at.0 += 40 * 24 * 3600 * 1_000_000;
    later
}

#[tokio::test]
async fn a_record_of_a_month_that_was_detached_holds_up_no_other_and_is_offered_again() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres).await;
    let mut recorder = store.recorder();
    recorder.cdr(record(0));
    recorder.cdr(in_february(1));
    forwarded(&store, 2).await;
    let mut database = postgres.connect().await;
    all_indexes(&mut database).await;
    execute(&mut database, "ALTER TABLE cdr DETACH PARTITION cdr_2026_01").await;

    // In one batch, and the box has written to that month before.
    recorder.cdr(in_february(2));
    recorder.cdr(record(3));
    recorder.cdr(in_february(4));
    forwarded(&store, 4).await;
    assert_eq!((store.health().postgres.unwrap().refused, count(&mut database).await), (1, 3));
    let archived = "SELECT count(*) FROM cdr_2026_01";
    let archived: i64 = sqlx::query_scalar(archived).fetch_one(&mut database).await.unwrap();
    assert_eq!(archived, 1, "what was archived stays as it is");

    // And when it has not.
    store.close().await;
    drop(store);
    let store = open_with(directory.path(), &postgres).await;
    store.recorder().cdr(record(5));
    store.recorder().cdr(in_february(6));
    forwarded(&store, 1).await;
    assert_eq!((store.health().postgres.unwrap().refused, count(&mut database).await), (2, 4));

    let bounds = "FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z')";
    execute(&mut database, &format!("ALTER TABLE cdr ATTACH PARTITION cdr_2026_01 {bounds}")).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drawbridge'";
    execute(&mut database, cut).await;
    store.recorder().cdr(in_february(7));
    forwarded(&store, 4).await;
    assert_eq!(store.health().postgres.unwrap().refused, 0);
    assert_eq!(count(&mut database).await, 8);
    store.close().await;
}

#[tokio::test]
async fn a_backlog_of_a_month_that_was_detached_holds_up_no_other_for_long() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres).await;
    let mut recorder = store.recorder();
    recorder.cdr(record(0));
    forwarded(&store, 1).await;
    let mut database = postgres.connect().await;
    all_indexes(&mut database).await;
    execute(&mut database, "ALTER TABLE cdr DETACH PARTITION cdr_2026_01").await;

    // Many times more than are refused in a row before a database is taken to be at fault and left alone for a while.
    let begin = Instant::now();
    (1..51).for_each(|n| recorder.cdr(record(n)));
    recorder.cdr(in_february(51));
    forwarded(&store, 2).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let health = store.health().postgres.unwrap();
    assert_eq!((health.connected, health.refused, count(&mut database).await), (true, 50, 1));
    store.close().await;
}

#[tokio::test]
async fn a_month_that_an_operator_has_put_into_a_longer_one_needs_no_table() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres).await;
    store.recorder().cdr(in_february(0));
    forwarded(&store, 1).await;
    let mut database = postgres.connect().await;
    all_indexes(&mut database).await;
    execute(
        &mut database,
        "CREATE TABLE cdr_of_2025 PARTITION OF cdr FOR VALUES FROM ('2025-01-01Z') TO ('2026-02-01Z')",
    )
    .await;
    store.recorder().cdr(record(1));
    store.recorder().cdr(in_february(2));
    forwarded(&store, 3).await;
    assert_eq!((store.health().postgres.unwrap().refused, count(&mut database).await), (0, 3));
    let made = "SELECT to_regclass('cdr_2026_01') IS NOT NULL";
    let made: bool = sqlx::query_scalar(made).fetch_one(&mut database).await.unwrap();
    assert!(!made, "a table that is no part of the others");
    store.close().await;
}

/// A box that keeps records for a day.
async fn open_for_a_day(directory: &Path, postgres: &Postgres) -> Store {
    let retention = Some(Duration::from_secs(24 * 3600));
    Store::open(directory, Config { postgres: Some(postgres.url()), retention, ..config() }).await.unwrap()
}

/// An old month with a record, and all indexes; nobody is at it any more.
async fn old_month(directory: &Path, postgres: &Postgres) -> PgConnection {
    let store = open_with(directory, postgres).await;
    store.recorder().cdr(record(0));
    forwarded(&store, 1).await;
    let mut database = postgres.connect().await;
    all_indexes(&mut database).await;
    store.close().await;
    database
}

/// From now on dropping old months does this, and is counted.
async fn dropping_does(database: &mut PgConnection, what: &str) {
    execute(database, "CREATE SEQUENCE asked MINVALUE 0").await;
    let function = "CREATE OR REPLACE FUNCTION
            cdr_drop_of(box TEXT, at TIMESTAMPTZ, most INTEGER, OUT months INTEGER, OUT records BIGINT) LANGUAGE plpgsql";
    let body = format!("BEGIN PERFORM nextval('asked'); {what}; months := 0; records := 0; END");
    execute(database, &format!("{function} AS $$ {body} $$")).await;
}

/// How often it was done.
async fn asked(database: &mut PgConnection) -> i64 {
    let asked = "SELECT last_value + is_called::int FROM asked";
    sqlx::query_scalar(asked).fetch_one(database).await.unwrap()
}

#[tokio::test]
async fn a_drop_that_takes_long_leaves_the_connection_up_and_is_left_alone_for_a_while() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut database = old_month(directory.path(), &postgres).await;
    dropping_does(&mut database, "PERFORM pg_sleep(3600)").await;
    let store = open_for_a_day(directory.path(), &postgres).await;
    until("old months are looked for", async || asked(&mut database).await == 1).await;
    for n in 1..3 {
        store.recorder().cdr(record(n));
        until("forwarded", async || {
            let health = store.health().postgres.unwrap();
            assert_eq!((health.connected, health.error), (true, None));
            health.forwarded == u64::from(n)
        })
        .await;
    }
    assert_eq!(asked(&mut database).await, 1);
    store.close().await;
}

#[tokio::test]
async fn nothing_is_dropped_in_postgresql_for_a_day_after_the_clock_was_set() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut database = old_month(directory.path(), &postgres).await;
    dropping_does(&mut database, "NULL").await;
    let mut forwarded_so_far = 0;
    for (left_of_the_day, expected) in [(3_600_000_000_i64, 0), (0, 1)] {
        let file = directory.path().join("drawbridge.db");
        let mut journal = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
        let set = sqlx::query("UPDATE journal SET waits = ?").bind(left_of_the_day);
        set.execute(&mut journal).await.unwrap();
        journal.close().await.unwrap();
        let store = open_for_a_day(directory.path(), &postgres).await;
        // Between two records that are forwarded one after the other old months are looked for.
        for n in 1..4 {
            store.recorder().cdr(record(forwarded_so_far + n));
            forwarded(&store, u64::from(n)).await;
        }
        forwarded_so_far += 3;
        assert_eq!(asked(&mut database).await, expected, "{left_of_the_day} left");
        store.close().await;
    }
}

#[tokio::test]
async fn a_month_that_somebody_has_built_on_stays_and_the_connection_is_left_up() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut database = old_month(directory.path(), &postgres).await;
    execute(&mut database, "CREATE VIEW january AS SELECT caller FROM cdr_2026_01").await;
    let store = open_for_a_day(directory.path(), &postgres).await;
    for n in 1..5 {
        store.recorder().cdr(record(n));
        until("forwarded", async || {
            let health = store.health().postgres.unwrap();
            assert_eq!(health.error, None);
            health.forwarded == u64::from(n)
        })
        .await;
    }
    assert_eq!(count(&mut database).await, 5);
    store.close().await;
}

#[tokio::test]
async fn nothing_is_dropped_before_the_index_is_there_that_finds_it_which_is_made_first() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut database = old_month(directory.path(), &postgres).await;
    dropping_does(&mut database, "NULL").await;
    // Another box seems to be at it.
    let mut other = postgres.connect().await;
    execute(&mut other, "SELECT pg_advisory_lock(hashtext('drawbridge indexes'))").await;
    let names: String = sqlx::query_scalar(
        "SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
         WHERE x.indrelid = 'cdr'::regclass AND c.relname NOT IN ('cdr_pkey', 'cdr_started', 'cdr_call')",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    execute(&mut database, &format!("DROP INDEX {names}")).await;

    let store = open_for_a_day(directory.path(), &postgres).await;
    // Between two records that are forwarded one after the other old months are looked for.
    for n in 1..4 {
        store.recorder().cdr(record(n));
        forwarded(&store, u64::from(n)).await;
    }
    assert_eq!(asked(&mut database).await, 0);
    execute(&mut other, "SELECT pg_advisory_unlock_all()").await;
    all_indexes(&mut database).await;
    let first = "SELECT c.relname::text FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
        WHERE x.indrelid = 'cdr'::regclass AND c.relname NOT IN ('cdr_pkey', 'cdr_started', 'cdr_call') ORDER BY c.oid LIMIT 1";
    let first: String = sqlx::query_scalar(first).fetch_one(&mut database).await.unwrap();
    assert_eq!(first, "cdr_node");
    store.close().await;
}

#[tokio::test]
async fn of_a_month_that_is_divided_a_box_drops_what_is_its_own_and_nothing_else() {
    let postgres = Postgres::start().await;
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plain = open_with(one.path(), &postgres).await;
    until("connected", async || plain.health().postgres.unwrap().connected).await;
    let mut database = postgres.connect().await;
    for sql in [
        "CREATE TABLE cdr_2026_01 PARTITION OF cdr FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z') PARTITION BY RANGE (started_at)",
        "CREATE TABLE first_half PARTITION OF cdr_2026_01 FOR VALUES FROM ('2026-01-01Z') TO ('2026-01-16Z')",
        "CREATE TABLE second_half PARTITION OF cdr_2026_01 FOR VALUES FROM ('2026-01-16Z') TO ('2026-02-01Z')",
    ] {
        execute(&mut database, sql).await;
    }
    plain.recorder().cdr(record(1));
    forwarded(&plain, 1).await;
    // In the other table, and there at the same place as that one.
    let keeps = Config { node: "edge-2".into(), postgres: Some(postgres.url()), ..config() };
    let keeps = Store::open(other.path(), keeps).await.unwrap();
    let mut late = record(2);
    late.started_at.0 += 20 * 24 * 3600 * 1_000_000;
    keeps.recorder().cdr(late);
    forwarded(&keeps, 1).await;
    keeps.close().await;
    all_indexes(&mut database).await;
    plain.close().await;
    drop(plain);

    let short = open_for_a_day(one.path(), &postgres).await;
    let left = async |database: &mut PgConnection| -> Vec<String> {
        sqlx::query_scalar("SELECT node FROM cdr ORDER BY 1").fetch_all(database).await.unwrap()
    };
    until("its own is gone", async || !left(&mut database).await.contains(&"edge-1".to_owned())).await;
    assert_eq!(left(&mut database).await, ["edge-2"]);
    short.close().await;
}

#[tokio::test]
async fn a_month_that_an_event_trigger_lets_nobody_make_is_waited_for_and_no_record_is_refused() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres).await;
    until("connected", async || store.health().postgres.unwrap().connected).await;
    let mut database = postgres.connect().await;
    let function = "CREATE FUNCTION frozen() RETURNS event_trigger LANGUAGE plpgsql";
    execute(&mut database, &format!("{function} AS $$ BEGIN RAISE EXCEPTION 'frozen'; END $$")).await;
    let trigger = "CREATE EVENT TRIGGER frozen ON ddl_command_start WHEN TAG IN ('CREATE TABLE')";
    execute(&mut database, &format!("{trigger} EXECUTE FUNCTION frozen()")).await;
    store.recorder().cdr(record(0));
    until("said", async || store.health().postgres.unwrap().error.is_some_and(|why| why.contains("frozen")))
        .await;
    execute(&mut database, "DROP EVENT TRIGGER frozen").await;
    forwarded(&store, 1).await;
    assert_eq!((store.health().postgres.unwrap().refused, count(&mut database).await), (0, 1));
    store.close().await;
}
