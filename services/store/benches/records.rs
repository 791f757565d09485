//! How many records a second go into the journal and on into PostgreSQL, and what they cost, for as long as is asked: `cargo
//! bench -p store --bench records -- [RATE] [SECONDS] [ROWS]`. Both write to the disk as they do in use (the server with
//! `fsync=on`), and the table has `ROWS` rows and all its indexes before it begins.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![recursion_limit = "256"]

#[path = "../tests/postgres/mod.rs"]
mod postgres;
#[path = "../tests/records/mod.rs"]
mod records;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use call::{CdrFact, Utc};
use postgres::Postgres;
use records::{config, record};
use sqlx::PgConnection;
use store::{Config, Store};
use uuid::Uuid;

/// Before what waits is given up.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let rate = arguments.next().unwrap_or(6_000);
    let seconds = arguments.next().unwrap_or(20);
    let rows = arguments.next().unwrap_or(1_000_000);
    let postgres = Postgres::start_durable().await;
    let directory = tempfile::tempdir().unwrap();
    let config = Config { postgres: Some(postgres.url()), ..config() };
    let store = Store::open(directory.path(), config).await.unwrap();
    let mut database = postgres.connect().await;
    fill(&store, &mut database, rows).await;

    let begun = Instant::now();
    let (journal, server) = (own_time(), postgres.cpu_time());
    let mut recorder = store.recorder();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let (mut waiting, mut behind) = (0, 0);
    for n in 0..rate * seconds {
        if n % (rate / 50).max(1) == 0 {
            recorder.flush();
            tick.tick().await;
            let health = store.health();
            waiting = waiting.max(health.journal.pending);
            behind = behind.max(health.postgres.unwrap().behind);
        }
        recorder.cdr(any(n));
    }
    recorder.flush();
    let all = u64::from(rate * seconds);
    let handed = begun.elapsed();
    let committed = until(begun, || store.health().journal.committed > all).await;
    let forwarded = until(begun, || store.health().postgres.unwrap().behind == 0).await;
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / all as f64;
    let (journal, server) = (each(own_time() - journal), each(postgres.cpu_time() - server));
    let health = store.health();
    assert_eq!((health.journal.lost, health.postgres.unwrap().refused), (0, 0));
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM cdr").fetch_one(&mut database).await.unwrap();
    assert_eq!(stored, i64::from(rows) + i64::from(rate * seconds) + 1);
    let a_second = |taken: Duration| (all as f64 / taken.as_secs_f64()).round();
    println!("{all} records, handed over at {}/s, {rows} rows there before", a_second(handed));
    println!("journal: {}/s, {waiting} waiting at most", a_second(committed));
    println!("PostgreSQL: {}/s, {behind} behind at most", a_second(forwarded));
    println!("processor time a record: {journal:.0} µs of the box, {server:.0} µs of PostgreSQL");
    store.close().await;
}

/// A month as it is after some weeks.
async fn fill(store: &Store, database: &mut PgConnection, rows: u32) {
    store.recorder().cdr(any(0));
    until(Instant::now(), || store.health().postgres.unwrap().forwarded == 1).await;
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT column_name::text FROM information_schema.columns WHERE table_name = 'cdr' ORDER BY ordinal_position",
    )
    .fetch_all(&mut *database)
    .await
    .unwrap();
    let values = columns.iter().map(|column| match column.as_str() {
        "id" | "call_id" => "gen_random_uuid()".to_owned(),
        "started_at" => {
            "date_trunc('month', started_at) + random() * (started_at - date_trunc('month', started_at))"
                .to_owned()
        }
        "caller" | "called" | "called_sent" => "'+49' || (random() * 1e9)::bigint".to_owned(),
        "trunk_in" | "trunk_out" => format!("'{column}' || i % 50"),
        other => other.to_owned(),
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let filling = format!(
        "INSERT INTO cdr ({}) SELECT {values} FROM cdr, generate_series(1, {rows}) AS i",
        columns.join(", ")
    );
    sqlx::query(sqlx::AssertSqlSafe(filling)).execute(&mut *database).await.unwrap();
    sqlx::query("CHECKPOINT").execute(&mut *database).await.unwrap();
}

/// A record as they come in: another id, numbers all over the place, begun now.
fn any(n: u32) -> CdrFact {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let number = |salt: u32| format!("+49{:09}", (n ^ salt).wrapping_mul(2_654_435_761) % 1_000_000_000);
    CdrFact {
        id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(n) << 80 | now as u128),
        call_id: Uuid::from_u128(
            0x0190_0000_0000_7000_9000_0000_0000_0000 | u128::from(n) << 80 | now as u128,
        ),
        trunk_in: Some(format!("trunk_in{}", n % 50).into()),
        trunk_out: Some(format!("trunk_out{}", n % 49).into()),
        caller: number(1).into(),
        called: number(2).into(),
        called_sent: Some(number(2).into()),
        started_at: Utc(now - 60_000_000),
        ringing_at: Some(Utc(now - 59_000_000)),
        answered_at: Some(Utc(now - 58_000_000)),
        ended_at: Utc(now),
        ..record(n)
    }
}

/// How long after `begun` it was so.
async fn until(begun: Instant, holds: impl Fn() -> bool) -> Duration {
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "it took more than {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

/// Time that this process's threads have been on a processor.
fn own_time() -> Duration {
    postgres::time_of("/proc/self")
}
