//! What PostgreSQL had taken and has no more: a standby that was behind has taken over, or somebody has restored a backup.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod postgres;
mod records;

use std::path::Path;

use postgres::{Postgres, execute};
use records::{config, record, until};
use sqlx::{Connection, PgConnection, SqliteConnection};
use store::{Config, Store};

async fn open_with(directory: &Path, postgres: &Postgres) -> Store {
    Store::open(directory, Config { postgres: Some(postgres.url()), ..config() }).await.unwrap()
}

/// Rows, and different ones among them.
async fn counts(postgres: &Postgres) -> (i64, i64) {
    let sql = "SELECT count(*), count(DISTINCT id) FROM cdr";
    sqlx::query_as(sql).fetch_one(&mut postgres.connect().await).await.unwrap()
}

fn write(store: &Store, records: std::ops::Range<u32>) {
    let mut recorder = store.recorder();
    records.for_each(|n| recorder.cdr(record(n)));
}

/// So many since the box began.
async fn forwarded(store: &Store, records: u64) {
    until("everything is forwarded", async || {
        store.health().postgres.is_some_and(|it| it.connected && it.behind == 0 && it.forwarded == records)
    })
    .await;
}

async fn kill(postgres: &mut Postgres, store: &Store) {
    postgres.kill();
    until("seen to be away", async || !store.health().postgres.unwrap().connected).await;
}

#[tokio::test]
async fn a_database_that_comes_back_without_its_last_records_gets_them_again() {
    let mut postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres).await;
    write(&store, 0..700);
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 700).await;
    kill(&mut postgres, &store).await;
    postgres.back_up();
    postgres.run().await;
    write(&store, 700..1_900);
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 1_900).await;

    // While the box runs.
    kill(&mut postgres, &store).await;
    postgres.restore();
    postgres.run().await;
    until("those that were lost are there", async || counts(&postgres).await == (1_900, 1_900)).await;

    // While it does not.
    store.close().await;
    drop(store);
    postgres.kill();
    postgres.restore();
    postgres.run().await;
    assert_eq!(counts(&postgres).await, (700, 700));
    let store = open_with(directory.path(), &postgres).await;
    write(&store, 1_900..1_901);
    until("those that were lost are there", async || counts(&postgres).await == (1_901, 1_901)).await;
    store.close().await;
}

#[tokio::test]
async fn a_database_that_comes_back_from_before_a_box_first_wrote_gets_its_whole_journal() {
    let mut postgres = Postgres::start().await;
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open_with(one.path(), &postgres).await;
    write(&first, 0..1);
    forwarded(&first, 1).await;
    first.close().await;
    postgres.kill();
    postgres.back_up();
    postgres.run().await;

    let second = open_with(other.path(), &postgres).await;
    write(&second, 1..40);
    until("forwarded", async || second.health().postgres.unwrap().forwarded == 39).await;
    second.close().await;
    drop(second);
    postgres.kill();
    postgres.restore();
    postgres.run().await;
    let second = open_with(other.path(), &postgres).await;
    until("the whole journal", async || counts(&postgres).await == (40, 40)).await;
    second.close().await;
}

#[tokio::test]
async fn what_is_refused_is_no_reason_to_go_back() {
    let mut postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres).await;
    until("connected", async || store.health().postgres.unwrap().connected).await;
    let mut database = postgres.connect().await;
    execute(&mut database, "ALTER TABLE cdr ADD CONSTRAINT odd CHECK (caller < '+15550000040')").await;
    // More than are refused in a row before a database is taken to be at fault and left alone for a while.
    write(&store, 0..48);
    until("all that are refused", async || store.health().postgres.unwrap().refused == 8).await;
    kill(&mut postgres, &store).await;
    postgres.run().await;
    forwarded(&store, 40).await;
    assert_eq!(store.health().postgres.unwrap().refused, 8);
    store.close().await;
    drop(store);
    execute(&mut postgres.connect().await, "ALTER TABLE cdr DROP CONSTRAINT odd").await;
    let store = open_with(directory.path(), &postgres).await;
    until("all", async || counts(&postgres).await == (48, 48)).await;
    store.close().await;
}

/// Ten records, of which `odd` was refused, and is taken now after all.
async fn taken_after_all(store: &Store, postgres: &Postgres, odd: &str) {
    until("connected", async || store.health().postgres.unwrap().connected).await;
    let mut database = postgres.connect().await;
    execute(&mut database, &format!("ALTER TABLE cdr ADD CONSTRAINT odd CHECK (caller <> '{odd}')")).await;
    write(store, 0..10);
    until("all but one", async || {
        let health = store.health().postgres.unwrap();
        (health.forwarded, health.refused) == (9, 1)
    })
    .await;
    execute(&mut database, "ALTER TABLE cdr DROP CONSTRAINT odd").await;
    cut(&mut database).await;
    until("all", async || counts(postgres).await == (10, 10)).await;
    until("none is refused", async || store.health().postgres.unwrap().refused == 0).await;
}

async fn cut(database: &mut PgConnection) {
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drawbridge'";
    execute(database, cut).await;
}

/// As a server has it that comes back without the one transaction in which this record was taken after all.
async fn lose(postgres: &Postgres, odd: &str) -> PgConnection {
    let mut database = postgres.connect().await;
    execute(&mut database, &format!("DELETE FROM cdr WHERE caller = '{odd}'")).await;
    assert_eq!(counts(postgres).await, (9, 9));
    database
}

#[tokio::test]
async fn a_record_that_was_taken_after_all_and_is_lost_comes_again() {
    let odd = "+15550000005";
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres).await;
    taken_after_all(&store, &postgres, odd).await;

    // While the box runs.
    let mut database = lose(&postgres, odd).await;
    cut(&mut database).await;
    write(&store, 10..11);
    until("it is there", async || counts(&postgres).await == (11, 11)).await;
    execute(&mut database, "DELETE FROM cdr WHERE caller = '+15550000010'").await;

    // And while it does not.
    store.close().await;
    drop(store);
    lose(&postgres, odd).await;
    execute(&mut database, "UPDATE forwarded SET position = 10").await;
    let store = open_with(directory.path(), &postgres).await;
    until("it is there", async || counts(&postgres).await == (11, 11)).await;
    assert_eq!(store.health().postgres.unwrap().refused, 0);
    store.close().await;
}

#[tokio::test]
async fn a_record_that_was_taken_after_all_and_is_lost_is_refused_again_where_the_rule_is_there_again() {
    let odd = "+15550000005";
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres).await;
    taken_after_all(&store, &postgres, odd).await;
    let mut database = lose(&postgres, odd).await;
    execute(&mut database, &format!("ALTER TABLE cdr ADD CONSTRAINT odd CHECK (caller <> '{odd}')")).await;
    cut(&mut database).await;
    until("refused", async || store.health().postgres.unwrap().refused == 1).await;
    write(&store, 10..12);
    until("the others", async || counts(&postgres).await == (11, 11)).await;
    store.close().await;
    drop(store);

    let store = open_with(directory.path(), &postgres).await;
    until("refused still", async || store.health().postgres.unwrap().refused == 1).await;
    execute(&mut database, "ALTER TABLE cdr DROP CONSTRAINT odd").await;
    cut(&mut database).await;
    until("it is there", async || counts(&postgres).await == (12, 12)).await;
    store.close().await;
}

#[tokio::test]
async fn a_record_that_was_taken_after_all_and_that_somebody_deletes_stays_deleted() {
    let odd = "+15550000005";
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres).await;
    taken_after_all(&store, &postgres, odd).await;
    let mut database = postgres.connect().await;
    // With one behind it, what is there says that it was taken.
    write(&store, 10..11);
    until("one more", async || counts(&postgres).await == (11, 11)).await;
    cut(&mut database).await;
    write(&store, 11..12);
    until("one more", async || counts(&postgres).await == (12, 12)).await;
    execute(&mut database, &format!("DELETE FROM cdr WHERE caller = '{odd}'")).await;
    for restarted in [11, 12] {
        cut(&mut database).await;
        write(&store, restarted + 1..restarted + 2);
        let rows = i64::from(restarted) + 1;
        until("one more", async || counts(&postgres).await == (rows, rows)).await;
    }
    // Those that are offered again come after what is new.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(counts(&postgres).await, (13, 13));
    store.close().await;
}

#[tokio::test]
async fn a_database_that_an_earlier_version_has_forwarded_to_gets_no_more_than_what_is_new() {
    let mut postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), &postgres).await;
    write(&store, 0..20);
    forwarded(&store, 20).await;
    store.close().await;
    drop(store);
    let mut database = postgres.connect().await;
    // An index that was being made when the box ended is made to its end, or to the end of its connection.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'drawbridge'";
    until("the server is done with the box", async || {
        sqlx::query_scalar::<_, i64>(left).fetch_one(&mut database).await.unwrap() == 0
    })
    .await;
    execute(&mut database, "TRUNCATE cdr, forwarded").await;
    let file = directory.path().join("drawbridge.db");
    let mut journal = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    sqlx::query("UPDATE sink SET revision = 0").execute(&mut journal).await.unwrap();
    journal.close().await.unwrap();

    let store = open_with(directory.path(), &postgres).await;
    until("connected", async || store.health().postgres.unwrap().connected).await;
    let positions = "SELECT position FROM forwarded";
    let known: Vec<i64> = sqlx::query_scalar(positions).fetch_all(&mut database).await.unwrap();
    assert_eq!(known, [20], "known without a record that is new");
    write(&store, 20..21);
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 1).await;
    assert_eq!(counts(&postgres).await, (1, 1));
    store.close().await;
    drop(store);

    // From now on it knows better.
    execute(&mut database, "TRUNCATE forwarded").await;
    postgres.kill();
    postgres.run().await;
    let store = open_with(directory.path(), &postgres).await;
    until("the whole journal", async || counts(&postgres).await == (21, 21)).await;
    store.close().await;
}
