//! Databases of earlier versions, and what others have built on them.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod postgres;
mod records;

use postgres::{Postgres, execute};
use records::{config, record, until};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};
use store::{Config, Store};

async fn one<T>(database: &mut PgConnection, sql: &str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(database).await.unwrap()
}

/// A record as every version has it.
const RECORD: &str = "INSERT INTO cdr (id, call_id, attempt, is_last, node, a_sip_call_id, caller, called, a_source, a_transport,
        started_at, ended_at, duration_ms, ring_ms, disposition, ended_by, a_packets, a_octets, a_lost, b_packets, b_octets, b_lost)
    VALUES (gen_random_uuid(), gen_random_uuid(), 1, true, 'edge-1', 'a', '1', '2', 'x', 'udp',
        '2026-01-02Z', '2026-01-02Z', 60000, 0, 'answered', 'caller', 0, 0, 0, 0, 0, 0)";

/// As version `version` of the schema left it, with what a customer has built on the view `calls`.
async fn customers(postgres: &Postgres, version: i64) -> PgConnection {
    let name = format!("version_{version}");
    execute(&mut postgres.connect().await, &format!("CREATE DATABASE {name}")).await;
    let mut database = PgConnection::connect(&postgres.url_of(&name)).await.unwrap();
    let all = sqlx::migrate!("../../migrations/postgres");
    let until_then = all.migrations.iter().filter(|migration| migration.version <= version).cloned();
    Migrator::with_migrations(until_then.collect()).run(&mut database).await.unwrap();
    if version >= 2 {
        execute(&mut database, "SELECT cdr_month('2026-01-02Z')").await;
    }
    execute(&mut database, RECORD).await;
    for built in [
        "CREATE VIEW bills AS SELECT caller, duration_ms, attempts, call_started_at FROM calls",
        "CREATE MATERIALIZED VIEW sums AS SELECT count(*) AS calls FROM calls",
        "GRANT SELECT ON calls TO auditor",
    ] {
        execute(&mut database, built).await;
    }
    database
}

#[tokio::test]
async fn whoever_has_built_on_the_view_calls_keeps_it_over_an_upgrade_and_records_come_in() {
    let postgres = Postgres::start().await;
    execute(&mut postgres.connect().await, "CREATE ROLE auditor").await;
    for version in [1, 2, 5, 6, 8] {
        let mut database = customers(&postgres, version).await;
        let directory = tempfile::tempdir().unwrap();
        let url = postgres.url_of(&format!("version_{version}"));
        for n in 0..2 {
            let config = Config { postgres: Some(url.clone()), ..config() };
            let store = Store::open(directory.path(), config).await.unwrap();
            store.recorder().cdr(record(n));
            until("forwarded", async || {
                let health = store.health().postgres.unwrap();
                assert!(
                    !health.error.as_ref().is_some_and(|why| why.contains("depend")),
                    "{version}: {health:?}"
                );
                health.forwarded == 1
            })
            .await;
            store.close().await;
        }
        execute(&mut database, "REFRESH MATERIALIZED VIEW sums").await;
        assert_eq!(one::<i64>(&mut database, "SELECT calls FROM sums").await, 3, "{version}");
        let talked = "SELECT sum(duration_ms)::bigint FROM bills";
        assert_eq!(one::<i64>(&mut database, talked).await, 180_000, "{version}");
        let talked = "SELECT sum(call_duration_ms)::bigint FROM calls";
        assert_eq!(one::<i64>(&mut database, talked).await, 180_000, "{version}");
        let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = ";
        let (of_cdr, of_calls) = (format!("{columns}'cdr'"), format!("{columns}'calls'"));
        let (of_cdr, of_calls): (i64, i64) =
            (one(&mut database, &of_cdr).await, one(&mut database, &of_calls).await);
        assert_eq!(of_cdr + 5, of_calls, "{version}");
        for role in ["auditor", "drawbridge_reports"] {
            let may = format!("SELECT has_table_privilege('{role}', 'calls', 'SELECT')");
            assert!(one::<bool>(&mut database, &may).await, "{version}: {role}");
        }
        let left = "SELECT count(*) FROM pg_class WHERE relname = 'drawbridge_calls'";
        assert_eq!(one::<i64>(&mut database, left).await, 0, "{version}");
    }
}

#[tokio::test]
async fn a_view_calls_of_somebody_elses_stays_as_it_is_and_records_come_in() {
    let postgres = Postgres::start().await;
    execute(&mut postgres.connect().await, "CREATE ROLE auditor").await;
    let mut database = customers(&postgres, 8).await;
    execute(&mut database, "DROP VIEW calls CASCADE").await;
    execute(&mut database, "CREATE VIEW calls AS SELECT caller, 7 AS lucky FROM cdr").await;
    let directory = tempfile::tempdir().unwrap();
    let config = Config { postgres: Some(postgres.url_of("version_8")), ..config() };
    let store = Store::open(directory.path(), config).await.unwrap();
    store.recorder().cdr(record(0));
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 1).await;
    assert_eq!(one::<i64>(&mut database, "SELECT sum(lucky)::bigint FROM calls").await, 14);
    store.close().await;
}

#[tokio::test]
async fn the_view_calls_has_the_talk_before_a_transfer_and_the_time_spent_on_targets_that_failed() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = Config { postgres: Some(postgres.url()), ..config() };
    let store = Store::open(directory.path(), config).await.unwrap();
    let mut recorder = store.recorder();
    let attempts = records::transferred();
    let [failed, talk, _] = attempts.clone();
    attempts.into_iter().for_each(|attempt| recorder.cdr(attempt));
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 3).await;
    let mut database = postgres.connect().await;
    let sql = "SELECT attempts, (extract(epoch FROM call_started_at) * 1000000)::bigint,
                      (extract(epoch FROM call_answered_at) * 1000000)::bigint, call_duration_ms, call_pdd_ms FROM calls";
    let call: (i64, i64, i64, i64, i64) = sqlx::query_as(sql).fetch_one(&mut database).await.unwrap();
    assert_eq!(call, (3, failed.started_at.0, talk.answered_at.unwrap().0, 660_000, 8_000));
    store.close().await;
}
