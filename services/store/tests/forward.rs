//! From the journal to a real PostgreSQL: every record, exactly once, whoever dies.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![recursion_limit = "256"]

mod postgres;
mod records;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use postgres::{Postgres, execute};
use records::{all, config, record, until};
use sqlx::{PgConnection, Row};
use store::{Config, Store};

async fn open_with(directory: &Path, url: String) -> Store {
    Store::open(directory, Config { postgres: Some(url), ..config() }).await.unwrap()
}

/// Rows, and different ones among them.
async fn counts(database: &mut PgConnection) -> (i64, i64) {
    sqlx::query_as("SELECT count(*), count(DISTINCT id) FROM cdr").fetch_one(database).await.unwrap()
}

#[tokio::test]
async fn every_column_arrives_and_times_to_the_microsecond() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    let mut bare = record(8);
    bare.ringing_at = None;
    bare.b_user_agent = None;
    bare.q850 = None;
    store.recorder().cdr(record(7));
    store.recorder().cdr(bare);
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 2).await;

    let mut database = postgres.connect().await;
    let text = "SELECT row_to_json(cdr)::text FROM cdr ORDER BY id";
    sqlx::query("SET TIME ZONE 'Asia/Kathmandu'").execute(&mut database).await.unwrap();
    let rows: Vec<String> = sqlx::query_scalar(text).fetch_all(&mut database).await.unwrap();
    let row: serde_json::Value = serde_json::from_str(&rows[0]).unwrap();
    let expected = serde_json::json!({
        "id": record(7).id.to_string(), "call_id": record(7).call_id.to_string(), "attempt": 1, "is_last": true, "node": "edge-1",
        "a_sip_call_id": "a-7@192.0.2.1", "b_sip_call_id": "b-7@192.0.2.2",
        "trunk_in": "pbx", "trunk_out": "carrier-b", "route": "to-carrier",
        "caller": "+15550000007", "called": "+16660000007", "called_sent": "6660000007",
        "a_source": "192.0.2.1:5060", "b_destination": "[2001:db8::2]:5061",
        "a_transport": "udp", "b_transport": "tls",
        "a_user_agent": "phone/1.0", "b_user_agent": "gate \"way\" \\ ü",
        "started_at": "2026-01-02T08:49:12.678901+05:45", "ringing_at": "2026-01-02T08:49:13.678901+05:45",
        "answered_at": "2026-01-02T08:49:14.678901+05:45", "ended_at": "2026-01-02T08:50:14.678901+05:45",
        "duration_ms": 60000, "ring_ms": 1000, "disposition": "answered", "ended_by": "caller",
        "sip_code_a": 200, "sip_reason_a": "OK", "sip_code_b": 200, "sip_reason_b": "Fine", "q850": 16,
        "codec_a": "PCMU", "codec_b": "PCMA",
        "a_packets": 3000, "a_octets": 480000, "a_lost": 3, "a_jitter_ms": 1.5, "a_mos": 4.4,
        "b_packets": 2999, "b_octets": 479840, "b_lost": 0, "b_jitter_ms": 0.25, "b_mos": 4.41,
        "rank": 1, "origin": "transfer", "parent_id": "01900000-0000-7000-a000-000000000007", "pdd_ms": 1000,
        "a_media": "192.0.2.1:4000", "b_media": "[2001:db8::2]:5000",
        "pai_in": "<sip:+15550000@pbx.example>", "pai_out": null,
        "diversion_in": "<sip:desk@pbx.example>;reason=unconditional", "diversion_out": null,
        "privacy_in": "id", "privacy_out": "id", "q850_a": 16, "q850_b": 17,
        "a_reordered": 2, "a_duplicates": 1, "a_round_trip_ms": 4, "a_first_media_ms": 20, "a_moves": 1, "a_fault": null,
        "b_reordered": 0, "b_duplicates": 0, "b_round_trip_ms": null, "b_first_media_ms": null, "b_moves": 0,
        "b_fault": "wrong_source 192.0.2.66:9", "recording": "calls/a.wav",
        "srtp_a": null, "srtp_b": "sdes AES_CM_128_HMAC_SHA1_80", "recovered": 2, "ptime_a": 20, "ptime_b": 30,
        "a_tls": null, "b_tls": "1.3", "tags": {"customer": "acme \"ü\"", "tariff": ""},
    });
    assert_eq!(row, expected);
    let row: serde_json::Value = serde_json::from_str(&rows[1]).unwrap();
    assert_eq!((&row["ringing_at"], &row["b_user_agent"], &row["q850"]), Default::default());
    let calls: i64 =
        sqlx::query_scalar("SELECT sum(attempts)::bigint FROM calls").fetch_one(&mut database).await.unwrap();
    assert_eq!(calls, 2);
    let columns = "SELECT column_name::text FROM information_schema.columns WHERE table_name = ";
    let unseen = format!("{columns}'cdr' EXCEPT {columns}'calls'");
    let unseen: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(unseen)).fetch_all(&mut database).await.unwrap();
    assert_eq!(unseen, [""; 0], "a migration that adds columns makes the view anew");
    store.close().await;
}

#[tokio::test]
async fn each_month_has_a_table_and_old_ones_are_dropped_whole() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    let month = 31 * 24 * 3600 * 1_000_000_i64;
    let later = |n: u32, months: i64| {
        let mut later = record(n);
        for at in [Some(&mut later.started_at), Some(&mut later.ended_at), later.answered_at.as_mut()] {
            at.unwrap().0 += month * months;
        }
        later
    };
    let mut recorder = store.recorder();
    recorder.cdr(later(1, 0));
    recorder.cdr(later(2, 1));
    recorder.cdr(later(3, 30));
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 3).await;
    let mut database = postgres.connect().await;
    let months = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                  WHERE i.inhparent = 'cdr'::regclass ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(months).fetch_all(&mut database).await.unwrap();
    assert_eq!(tables, ["cdr_2026_01", "cdr_2026_02", "cdr_2028_07"]);
    let dropped: i32 =
        sqlx::query_scalar("SELECT cdr_drop_before('2026-03-01Z')").fetch_one(&mut database).await.unwrap();
    assert_eq!((dropped, counts(&mut database).await), (2, (1, 1)));
    sqlx::query("SET ROLE drawbridge_reports").execute(&mut database).await.unwrap();
    assert_eq!(counts(&mut database).await, (1, 1));
    let refused = sqlx::query("DELETE FROM cdr").execute(&mut database).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    store.close().await;
}

#[tokio::test]
async fn verifying_names_what_is_missing_other_or_nobodys() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    let mut recorder = store.recorder();
    (0..1_200).for_each(|n| recorder.cdr(record(n)));
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 1_200).await;
    // The position is kept with the next commit.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let verify = async || store::verify(directory.path(), &postgres.url(), "edge-1", None).await.unwrap();
    let same = verify().await;
    assert_eq!(
        (same.journal, same.waiting, same.postgres, same.differences),
        (1_200, 0, 1_200, 0),
        "{same:?}"
    );

    let mut database = postgres.connect().await;
    let id = |n| record(n).id.to_string();
    for sql in [
        format!("DELETE FROM cdr WHERE id = '{}'", id(7)),
        format!("UPDATE cdr SET duration_ms = 1 WHERE id = '{}'", id(8)),
        format!("UPDATE cdr SET id = '{}' WHERE id = '{}'", id(5_000), id(9)),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut database).await.unwrap();
    }
    let found = verify().await;
    let mut named: Vec<_> =
        found.named.iter().map(|difference| (difference.id.clone(), difference.what)).collect();
    named.sort_unstable();
    let expected = [
        (id(7), "PostgreSQL does not have it"),
        (id(8), "PostgreSQL has other values"),
        (id(9), "PostgreSQL does not have it"),
        (id(5_000), "the journal does not have it"),
    ];
    assert_eq!((found.differences, named.as_slice()), (4, expected.as_slice()));
    store.close().await;
}

#[tokio::test]
async fn a_database_that_is_away_at_the_start_gets_everything_when_it_comes() {
    let mut postgres = Postgres::prepare();
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    let mut recorder = store.recorder();
    (0..1_200).for_each(|n| recorder.cdr(record(n)));
    until("committed locally", async || store.health().journal.committed == 1_200).await;
    let health = store.health().postgres.unwrap();
    assert_eq!((health.connected, health.behind, health.forwarded), (false, 1_200, 0));
    assert!(health.error.is_some_and(|error| error.contains("refused")));

    postgres.run().await;
    until("forwarded", async || store.health().postgres.unwrap().behind == 0).await;
    let health = store.health().postgres.unwrap();
    assert_eq!((health.connected, health.error, health.forwarded), (true, None, 1_200));
    assert_eq!(counts(&mut postgres.connect().await).await, (1_200, 1_200));
    store.close().await;
}

#[tokio::test]
async fn a_database_killed_again_and_again_has_every_record_once() {
    let mut postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    let mut recorder = store.recorder();
    let calls = tokio::spawn(async move {
        for n in 0..6_000 {
            recorder.cdr(record(n));
            if n % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(900)).await;
        postgres.kill();
        until("seen to be away", async || !store.health().postgres.unwrap().connected).await;
        postgres.run().await;
    }
    calls.await.unwrap();
    until("all forwarded", async || {
        let health = store.health();
        health.journal.committed == 6_000 && health.postgres.unwrap().behind == 0
    })
    .await;
    assert_eq!(counts(&mut postgres.connect().await).await, (6_000, 6_000));
    store.close().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_and_another_database_gets_the_whole_journal() {
    let mut postgres = Postgres::start().await;
    let mut database = postgres.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    let mut recorder = store.recorder();
    (0..700).for_each(|n| recorder.cdr(record(n)));
    // Closing forwards what is committed and keeps the position.
    store.close().await;
    drop(store);
    assert_eq!(counts(&mut database).await, (700, 700));

    // What is deleted there stays deleted: nothing before the position is sent again.
    sqlx::query("TRUNCATE cdr").execute(&mut database).await.unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    store.recorder().cdr(record(700));
    until("the new one", async || store.health().postgres.unwrap().forwarded == 1).await;
    store.close().await;
    drop(store);
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT id::text FROM cdr").fetch_all(&mut database).await.unwrap();
    assert_eq!(ids, [record(700).id.to_string()]);

    sqlx::query("CREATE DATABASE other").execute(&mut database).await.unwrap();
    let store = open_with(directory.path(), postgres.url_of("other")).await;
    until("everything again", async || store.health().postgres.unwrap().forwarded == 701).await;
    store.close().await;
    drop(store);

    // How far behind is known although nobody answers.
    postgres.kill();
    let store = open_with(directory.path(), postgres.url()).await;
    store.recorder().cdr(record(701));
    until("one behind", async || store.health().postgres.unwrap().behind == 1).await;
    store.close().await;
}

#[tokio::test]
async fn a_record_that_the_database_refuses_holds_up_no_other_and_is_offered_again() {
    let mut postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    until("connected", async || store.health().postgres.unwrap().connected).await;
    let mut database = postgres.connect().await;
    execute(&mut database, "ALTER TABLE cdr ADD CONSTRAINT odd CHECK (caller <> '+15550000013')").await;
    let mut recorder = store.recorder();
    (0..40).for_each(|n| recorder.cdr(record(n)));
    until("the others", async || store.health().postgres.unwrap().forwarded == 39).await;
    let health = store.health().postgres.unwrap();
    assert_eq!((health.behind, health.refused), (0, 1));
    assert_eq!(counts(&mut database).await, (39, 39));
    store.close().await;
    drop(store);

    let store = open_with(directory.path(), postgres.url()).await;
    until("known after a restart", async || store.health().postgres.unwrap().refused == 1).await;
    execute(&mut database, "ALTER TABLE cdr DROP CONSTRAINT odd").await;
    postgres.kill();
    postgres.run().await;
    store.recorder().cdr(record(40));
    until("all", async || store.health().postgres.unwrap().forwarded == 2).await;
    assert_eq!(store.health().postgres.unwrap().refused, 0);
    assert_eq!(counts(&mut postgres.connect().await).await, (41, 41));
    store.close().await;
}

/// Raises for one record, as triggers do that a customer writes.
async fn trigger_that_raises(database: &mut PgConnection, how: &str) {
    let body = format!("BEGIN IF NEW.caller = '+15550000013' THEN {how}; END IF; RETURN NEW; END");
    execute(
        database,
        &format!("CREATE OR REPLACE FUNCTION odd() RETURNS TRIGGER LANGUAGE plpgsql AS $$ {body} $$"),
    )
    .await;
    let trigger = "CREATE OR REPLACE TRIGGER odd BEFORE INSERT ON cdr FOR EACH ROW EXECUTE FUNCTION odd()";
    execute(database, trigger).await;
}

#[tokio::test]
async fn a_record_that_a_trigger_refuses_holds_up_no_other_and_is_offered_again() {
    let postgres = Postgres::start().await;
    for how in [
        "RAISE EXCEPTION 'nobody calls from there'",
        "RAISE EXCEPTION USING ERRCODE = '44000'",
        "ASSERT false",
        "RAISE EXCEPTION USING ERRCODE = 'check_violation'",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let store = open_with(directory.path(), postgres.url()).await;
        until("connected", async || store.health().postgres.unwrap().connected).await;
        let mut database = postgres.connect().await;
        trigger_that_raises(&mut database, how).await;
        let mut recorder = store.recorder();
        (0..40).for_each(|n| recorder.cdr(record(n)));
        until(how, async || store.health().postgres.unwrap().forwarded == 39).await;
        let health = store.health().postgres.unwrap();
        assert_eq!((health.behind, health.refused), (0, 1), "{how}");
        assert_eq!(counts(&mut database).await, (39, 39), "{how}");

        execute(&mut database, "DROP TRIGGER odd ON cdr").await;
        let cut =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drawbridge'";
        execute(&mut database, cut).await;
        store.recorder().cdr(record(40));
        until("all", async || counts(&mut database).await == (41, 41)).await;
        store.close().await;
        execute(&mut database, "TRUNCATE cdr").await;
    }
}

#[tokio::test]
async fn a_trigger_that_refuses_everything_is_a_database_at_fault() {
    let postgres = Postgres::start().await;
    for how in ["RAISE EXCEPTION 'not today'", "RAISE EXCEPTION USING ERRCODE = 'check_violation'"] {
        let directory = tempfile::tempdir().unwrap();
        let store = open_with(directory.path(), postgres.url()).await;
        until("connected", async || store.health().postgres.unwrap().connected).await;
        let mut database = postgres.connect().await;
        trigger_that_raises(&mut database, &format!("NULL; END IF; {how}; IF false THEN NULL")).await;
        let mut recorder = store.recorder();
        (0..40).for_each(|n| recorder.cdr(record(n)));
        until(how, async || {
            let error = store.health().postgres.unwrap().error;
            error.is_some_and(|why| why.contains("5 records in a row were refused"))
        })
        .await;
        assert!(store.health().postgres.unwrap().behind > 0, "{how}");
        execute(&mut database, "DROP TRIGGER odd ON cdr").await;
        until("all", async || counts(&mut database).await == (40, 40)).await;
        store.close().await;
        execute(&mut database, "TRUNCATE cdr").await;
    }
}

#[tokio::test]
async fn a_second_box_and_a_second_start_find_the_schema_as_it_is() {
    let postgres = Postgres::start().await;
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) =
        tokio::join!(open_with(one.path(), postgres.url()), open_with(two.path(), postgres.url()));
    first.recorder().cdr(record(1));
    second.recorder().cdr(record(2));
    until("both", async || {
        first.health().postgres.unwrap().forwarded + second.health().postgres.unwrap().forwarded == 2
    })
    .await;
    first.close().await;
    second.close().await;
    drop(first);
    let again = open_with(one.path(), postgres.url()).await;
    until("connected", async || again.health().postgres.unwrap().connected).await;
    again.close().await;
    let mut database = postgres.connect().await;
    assert_eq!(counts(&mut database).await, (2, 2));
    let installations = sqlx::query("SELECT id FROM installation").fetch_all(&mut database).await.unwrap();
    assert_eq!(installations.len(), 1);
    assert!(installations[0].try_get_raw(0).is_ok());
}

/// Not a test of its own: the box that the next test kills.
#[tokio::test]
#[ignore = "started by the test below"]
async fn box_that_is_killed() {
    let Ok(directory) = std::env::var("STORE_DIRECTORY") else { return };
    let store = open_with(Path::new(&directory), std::env::var("STORE_POSTGRES").unwrap()).await;
    let mut recorder = store.recorder();
    let first: u32 = std::env::var("STORE_FIRST").unwrap().parse().unwrap();
    for n in first..first + 100_000 {
        recorder.cdr(record(n));
        if n % 5 == 0 {
            println!("committed {}", store.health().journal.committed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn a_box_killed_at_any_moment_has_kept_and_forwards_once_all_it_called_committed() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut promised = 0;
    for round in 0..5_u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "box_that_is_killed", "--ignored", "--nocapture"])
            .env("STORE_DIRECTORY", directory.path())
            .env("STORE_POSTGRES", postgres.url())
            .env("STORE_FIRST", (round * 100_000).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = std::thread::spawn(move || {
            let committed = stdout.lines().map_while(Result::ok);
            committed.filter_map(|line| line.strip_prefix("committed ")?.parse::<usize>().ok()).last()
        });
        tokio::time::sleep(Duration::from_millis(700 + u64::from(round) * 37)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        promised += lines.join().unwrap().unwrap_or(0);
    }
    assert!(promised > 500, "the box was killed before it did anything: {promised}");

    let store = open_with(directory.path(), postgres.url()).await;
    until("all forwarded", async || {
        let health = store.health().postgres.unwrap();
        health.connected && health.behind == 0
    })
    .await;
    let kept = all(&store).await.len();
    assert!(kept >= promised, "{kept} of {promised}");
    store.close().await;
    assert_eq!(counts(&mut postgres.connect().await).await, (kept as i64, kept as i64));
}

/// What a record costs, for whoever changes the writer:
/// `cargo test -p store --release --test forward cost -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn cost_of_a_record() {
    for (rate, gather) in [(500, 10), (500, 40), (500, 100), (500, 400), (5_000, 40)] {
        let directory = tempfile::tempdir().unwrap();
        let gather_for = Duration::from_millis(gather);
        let store = Store::open(directory.path(), Config { gather: gather_for, ..config() }).await.unwrap();
        let mut recorder = store.recorder();
        let made: Vec<_> = (0..rate * 4).map(record).collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = postgres::time_of("/proc/self");
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        for (n, record) in made.into_iter().enumerate() {
            if n % (rate as usize / 50) == 0 {
                tick.tick().await;
            }
            recorder.cdr(record);
        }
        until("committed", async || store.health().journal.committed == u64::from(rate) * 4).await;
        let spent = postgres::time_of("/proc/self") - before;
        let each = spent.as_secs_f64() * 1e6 / f64::from(rate) / 4.0;
        println!("{each:.1} µs CPU per record at {rate}/s, gathered for {gather} ms");
        store.close().await;
    }
}

const PARENTS_WHOLE: &str = "SELECT count(*) FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
    WHERE x.indrelid = 'cdr'::regclass AND x.indisvalid AND c.relname NOT IN ('cdr_pkey', 'cdr_started', 'cdr_call')";

async fn all_indexes(database: &mut PgConnection) {
    until("all indexes are there", async || {
        sqlx::query_scalar::<_, i64>(PARENTS_WHOLE).fetch_one(&mut *database).await.unwrap() == 9
    })
    .await;
}

/// How many rows the plans are asked about.
fn rows() -> u32 {
    std::env::var("DRAWBRIDGE_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(20_000)
}

#[tokio::test]
async fn reports_by_number_trunk_code_and_disposition_read_an_index_of_each_month() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    store.recorder().cdr(record(7));
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 1).await;
    let mut database = postgres.connect().await;
    all_indexes(&mut database).await;
    store.close().await;
    drop(store);
    // As a database that is older than these indexes has it; one of them was being made when a box died.
    execute(&mut database, "DROP INDEX cdr_caller, cdr_called, cdr_disposition").await;
    execute(&mut database, "CREATE INDEX cdr_2026_01_by_called ON cdr_2026_01 (called, started_at)").await;
    let broken =
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'cdr_2026_01_by_called'::regclass";
    execute(&mut database, broken).await;
    execute(&mut database, "SELECT cdr_month('2026-02-01Z')").await;
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT column_name::text FROM information_schema.columns WHERE table_name = 'cdr' ORDER BY ordinal_position",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let values = columns.iter().map(|column| match column.as_str() {
        "id" => "gen_random_uuid()".to_owned(),
        "started_at" => "started_at + i * interval '1 minute' * (80000.0 / max)".to_owned(),
        "caller" | "called" | "called_sent" => format!("'+49' || {column} || i"),
        "trunk_in" | "trunk_out" => format!("'{column}' || i % 200"),
        "disposition" => "CASE WHEN i % 100 = 0 THEN 'blocked' ELSE 'answered' END".to_owned(),
        "sip_code_a" | "sip_code_b" => "CASE WHEN i % 100 = 0 THEN 503 ELSE 200 END".to_owned(),
        other => other.to_owned(),
    });
    let many = format!(
        "INSERT INTO cdr ({}) SELECT {} FROM cdr, (SELECT {rows} AS max) AS most, generate_series(1, {rows}) AS i",
        columns.join(", "),
        values.collect::<Vec<_>>().join(", "),
        rows = rows()
    );
    execute(&mut database, &many).await;
    let store = open_with(directory.path(), postgres.url()).await;
    // Records come in meanwhile.
    store.recorder().cdr(record(8));
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 1).await;
    all_indexes(&mut database).await;
    execute(&mut database, "ANALYZE cdr").await;
    for wanted in [
        "caller = '+49+15550000000712'",
        "called = '+49+16660000000712'",
        "called_sent = '+49666000000712'",
        "(caller = '+4912' OR called = '+4912' OR called_sent = '+4912')",
        "trunk_in = 'trunk_in17'",
        "trunk_out = 'trunk_out17'",
        "sip_code_a = 503",
        "sip_code_b = 503",
        "disposition = 'blocked'",
        "started_at >= '2026-01-20Z' AND started_at < '2026-01-20T01:00Z'",
        "started_at >= '2026-01-20Z' AND started_at < '2026-01-25Z' AND trunk_out = 'trunk_out17'",
    ] {
        let sql = format!(
            "EXPLAIN (COSTS OFF) SELECT * FROM cdr WHERE {wanted} ORDER BY started_at DESC LIMIT 100"
        );
        let plan: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut database).await.unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("Index") && !plan.contains("Seq Scan"), "{wanted}:\n{plan}");
        println!("{wanted}:\n{plan}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_report_that_is_read_holds_up_no_record_of_a_new_month() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    store.recorder().cdr(record(1));
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 1).await;
    let mut report = postgres.connect().await;
    execute(&mut report, "BEGIN").await;
    assert_eq!(counts(&mut report).await, (1, 1));
    let mut later = record(2);
    later.started_at.0 += 40 * 24 * 3600 * 1_000_000;
    store.recorder().cdr(later);
    let begin = std::time::Instant::now();
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 2).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let mut database = postgres.connect().await;
    let of_month: Vec<String> =
        sqlx::query_scalar("SELECT indexdef FROM pg_indexes WHERE tablename = 'cdr_2026_02' ORDER BY 1")
            .fetch_all(&mut database)
            .await
            .unwrap();
    assert!(of_month.len() >= 3, "a month has the indexes of the table: {of_month:?}");
    execute(&mut report, "COMMIT").await;
    store.close().await;
}

#[tokio::test]
async fn a_migration_gives_way_to_reports_and_is_made_when_they_are_over() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), postgres.url()).await;
    store.recorder().cdr(record(1));
    until("forwarded", async || store.health().postgres.unwrap().forwarded == 1).await;
    store.close().await;
    drop(store);
    let mut database = postgres.connect().await;
    for before in [
        "DROP VIEW calls",
        "ALTER TABLE cdr DROP COLUMN a_tls, DROP COLUMN b_tls, DROP COLUMN tags",
        "CREATE VIEW calls AS SELECT * FROM cdr",
        "DROP FUNCTION cdr_drop_of, cdr_months_before, cdr_calls",
        "DROP TABLE forwarded",
        "DELETE FROM _sqlx_migrations WHERE version >= 7",
    ] {
        execute(&mut database, before).await;
    }
    let mut report = postgres.connect().await;
    execute(&mut report, "BEGIN").await;
    assert_eq!(counts(&mut report).await, (1, 1));
    let store = open_with(directory.path(), postgres.url()).await;
    store.recorder().cdr(record(2));
    until("the migration gave way", async || {
        store.health().postgres.unwrap().error.is_some_and(|error| error.contains("lock timeout"))
    })
    .await;
    let begin = std::time::Instant::now();
    for _ in 0..5 {
        assert_eq!(counts(&mut database).await, (1, 1), "others read meanwhile");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    execute(&mut report, "COMMIT").await;
    until("forwarded", async || counts(&mut database).await == (2, 2)).await;
    store.close().await;
}

#[tokio::test]
async fn each_box_drops_what_is_its_own_and_a_month_of_nobody_else_goes_whole() {
    let postgres = Postgres::start().await;
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let long = Config { node: "edge-2".into(), postgres: Some(postgres.url()), ..config() };
    let keeps = Store::open(other.path(), long).await.unwrap();
    keeps.recorder().cdr(record(1));
    until("forwarded", async || keeps.health().postgres.unwrap().forwarded == 1).await;
    // Rows of a box that keeps them for a day, from before it did.
    let plain = open_with(one.path(), postgres.url()).await;
    let mut recorder = plain.recorder();
    (2..9_000).for_each(|n| recorder.cdr(record(n)));
    until("forwarded", async || plain.health().postgres.unwrap().forwarded == 8_998).await;
    plain.close().await;
    drop(plain);
    let mut database = postgres.connect().await;
    assert_eq!(counts(&mut database).await, (8_999, 8_999));
    // Nothing is dropped before.
    all_indexes(&mut database).await;
    let day = Duration::from_secs(24 * 3600);
    let short = Config { postgres: Some(postgres.url()), retention: Some(day), ..config() };
    let short = Store::open(one.path(), short).await.unwrap();
    until("its own are gone", async || counts(&mut database).await == (1, 1)).await;
    let left: Vec<String> =
        sqlx::query_scalar("SELECT node FROM cdr").fetch_all(&mut database).await.unwrap();
    assert_eq!(left, ["edge-2"], "who keeps them for ever has them");
    let drop_of = |node: &str| format!("SELECT months FROM cdr_drop_of('{node}', now(), 1000)");
    let months = async |database: &mut PgConnection, node: &str| {
        let sql = sqlx::AssertSqlSafe(drop_of(node));
        sqlx::query_scalar::<_, i32>(sql).fetch_one(database).await
    };
    assert_eq!(months(&mut database, "edge-1").await.unwrap(), 0);
    // Nobody is kept waiting for long by a month that is read.
    let mut report = postgres.connect().await;
    execute(&mut report, "BEGIN").await;
    counts(&mut report).await;
    let error = months(&mut database, "edge-2").await.unwrap_err();
    assert!(error.to_string().contains("lock timeout"), "{error}");
    execute(&mut report, "COMMIT").await;
    assert_eq!(months(&mut database, "edge-2").await.unwrap(), 1);
    // A record that comes late makes its month again.
    keeps.recorder().cdr(record(9_500));
    until("forwarded", async || keeps.health().postgres.unwrap().forwarded == 2).await;
    assert_eq!(keeps.health().postgres.unwrap().refused, 0);
    short.close().await;
    keeps.close().await;
}
