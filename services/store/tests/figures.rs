//! What carriers measure each other by, as RFC 6076 and ITU-T E.425 count it.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod records;

use std::time::Duration;

use call::{CdrFact, Disposition, Origin, Utc};
use records::{START, open, record, transferred, until};
use sqlx::{Connection, SqliteConnection};
use store::{By, Error, Figures, MAX_ROWS, Question};

const HOUR: i64 = 3_600_000_000;

/// Two hours from 03:00 on.
fn question(by: By) -> Question {
    let from = Utc(START - START % HOUR);
    Question { from, to: Utc(from.0 + 2 * HOUR), interval: Duration::from_secs(3600), by, trunk: None }
}

async fn figures(records: impl IntoIterator<Item = CdrFact>, question: Question) -> Vec<Figures> {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    let mut made = 0;
    for record in records {
        recorder.cdr(record);
        made += 1;
    }
    until("committed", async || store.health().journal.committed == made).await;
    let figures = store.stats(&question).await.unwrap();
    store.close().await;
    figures
}

/// An attempt towards `carrier`, which answered it so; `rang`: after 18x.
fn attempt(n: u32, disposition: Disposition, code: Option<u16>, rang: bool) -> CdrFact {
    let rest = record(n);
    let is_answered = code == Some(200);
    CdrFact {
        trunk_out: Some("carrier".into()),
        origin: Origin::Route,
        disposition,
        sip_code_b: code,
        ringing_at: rest.ringing_at.filter(|_| rang),
        pdd_ms: rest.pdd_ms.filter(|_| rang || is_answered),
        answered_at: rest.answered_at.filter(|_| is_answered),
        duration_ms: if is_answered { 60_000 } else { 0 },
        ..rest
    }
}

#[tokio::test]
async fn an_attempt_counts_by_what_its_target_said() {
    use Disposition::{Answered, Busy, Cancelled, Failed, NoAnswer, Rejected};
    let reached = [
        (Answered, Some(200), true),
        (Busy, Some(486), false),
        (Busy, Some(600), false),
        (NoAnswer, Some(480), false),
        (Rejected, Some(603), false),
        // Nobody picked up, or the caller did not wait for it.
        (NoAnswer, Some(408), true),
        (NoAnswer, None, true),
        (Cancelled, Some(487), true),
        // The caller got the 486 of another target, or has left; the call was answered all the same.
        (Failed, Some(486), false),
        (Cancelled, Some(200), false),
    ];
    let unreached = [
        // Another target was busy, which is what the caller got.
        (Busy, Some(503), false),
        (Rejected, Some(404), false),
        // An announcement by 183, and nobody.
        (Rejected, Some(404), true),
        (Rejected, Some(403), false),
        (Rejected, Some(488), false),
        (NoAnswer, Some(408), false),
        (Cancelled, Some(487), false),
        (Failed, None, false),
    ];
    let all = reached.into_iter().chain(unreached);
    let records = (0..).zip(all).map(|(n, (disposition, code, rang))| attempt(n, disposition, code, rang));
    let figures = figures(records, question(By::TrunkOut)).await;
    let [carrier] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!((carrier.seizures, carrier.answered, carrier.effective), (18, 2, 10));
    assert_eq!((carrier.asr(), carrier.acd(), carrier.pdd_ms), (100.0 / 9.0, Some(60.0), Some(1000.0)));
}

#[tokio::test]
async fn what_a_target_was_not_asked_or_sent_elsewhere_is_no_seizure() {
    let answered = |n| attempt(n, Disposition::Answered, Some(200), true);
    let redirected = attempt(1, Disposition::Failed, Some(302), false);
    let blocked =
        CdrFact { attempt: 0, b_destination: None, ..attempt(2, Disposition::Blocked, None, false) };
    let unsent = CdrFact { b_destination: None, ..attempt(3, Disposition::Failed, None, false) };
    // A party that was in a call already, which came from that trunk.
    let taken_over = CdrFact { origin: Origin::Transfer, rank: None, ringing_at: None, ..answered(4) };
    let target = CdrFact { origin: Origin::Transfer, rank: Some(1), ..answered(5) };
    let records = [answered(0), redirected, blocked, unsent, taken_over, target];
    let figures = figures(records, question(By::TrunkOut)).await;
    let [carrier] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!((carrier.seizures, carrier.answered, carrier.effective), (2, 2, 2));
    assert_eq!(carrier.pdd_ms, Some(1_000.0));
}

#[tokio::test]
async fn a_call_counts_once_with_all_that_was_talked_and_the_time_until_it_first_rang() {
    for question in [question(By::TrunkIn), Question { trunk: Some("pbx".into()), ..question(By::TrunkIn) }] {
        let figures = figures(transferred(), question).await;
        let [pbx] = &figures[..] else { panic!("{figures:?}") };
        assert_eq!((pbx.trunk.as_deref(), pbx.seizures, pbx.answered, pbx.effective), (Some("pbx"), 1, 1, 1));
        assert_eq!((pbx.acd(), pbx.pdd_ms), (Some(660.0), Some(8_000.0)));
    }
    let none = Question { trunk: Some("other".into()), ..question(By::TrunkIn) };
    assert_eq!(figures(transferred(), none).await, []);
}

#[tokio::test]
async fn a_call_belongs_to_the_time_in_which_it_began() {
    let whole = question(By::TrunkIn);
    let [_, talk, newcomer] = transferred();
    // The newcomer's attempt begins behind the end of what is asked for, or the talk's before it.
    let upto = Question { to: newcomer.started_at, ..whole.clone() };
    let figures_upto = figures(transferred(), upto).await;
    assert_eq!(figures_upto.iter().map(Figures::acd).collect::<Vec<_>>(), [Some(660.0)]);
    let since = Question { from: talk.started_at, ..whole.clone() };
    assert_eq!(figures(transferred(), since).await, []);
    // One that is not over has no row yet that says how it ended.
    let [failed, talk, _] = transferred();
    assert_eq!(figures([failed, talk], whole).await, []);
}

#[tokio::test]
async fn calls_count_by_what_the_caller_got() {
    use Disposition::{Answered, Blocked, Busy, Cancelled, Failed, NoAnswer, Rejected};
    let calls = [
        (Answered, Some(200), true),
        (Busy, Some(486), false),
        (NoAnswer, Some(480), false),
        (Rejected, Some(603), false),
        (Cancelled, Some(487), true),
        (Rejected, Some(404), true),
        (Cancelled, Some(487), false),
        (Failed, Some(503), false),
        (Blocked, None, false),
    ];
    let records = (0..).zip(calls).map(|(n, (disposition, code, rang))| CdrFact {
        sip_code_a: code,
        ..attempt(n, disposition, code, rang)
    });
    let figures = figures(records, question(By::TrunkIn)).await;
    let [pbx] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!((pbx.seizures, pbx.answered, pbx.effective), (9, 1, 5));
}

#[tokio::test]
async fn an_answer_that_would_be_cut_off_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    store.recorder().cdr(attempt(0, Disposition::Answered, Some(200), true));
    until("committed", async || store.health().journal.committed == 1).await;
    let file = directory.path().join("drawbridge.db");
    let mut database = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info('cdr')")
        .fetch_all(&mut database)
        .await
        .unwrap();
    let values = columns.iter().map(|column| match column.as_str() {
        "seq" => "seq + i".to_owned(),
        "id" => "lower(hex(randomblob(16)))".to_owned(),
        "started_at" => "started_at + i * 1000000".to_owned(),
        other => other.to_owned(),
    });
    // One a second.
    let many = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MAX_ROWS})
         INSERT INTO cdr ({}) SELECT {} FROM cdr, n",
        columns.join(", "),
        values.collect::<Vec<_>>().join(", ")
    );
    sqlx::query(sqlx::AssertSqlSafe(many)).execute(&mut database).await.unwrap();
    let seconds = |seconds: usize| Question {
        from: Utc(START),
        to: Utc(START + seconds as i64 * 1_000_000),
        interval: Duration::from_secs(1),
        ..question(By::TrunkOut)
    };
    assert_eq!(store.stats(&seconds(MAX_ROWS)).await.unwrap().len(), MAX_ROWS);
    let rows = store.stats(&seconds(MAX_ROWS + 1)).await.map(|rows| rows.len());
    assert!(matches!(rows, Err(Error::TooMany)), "{rows:?}");
    let wider = Question { interval: Duration::from_secs(60), ..seconds(MAX_ROWS + 1) };
    let seizures = store.stats(&wider).await.unwrap().iter().map(|minute| minute.seizures).sum::<u64>();
    assert_eq!(seizures, MAX_ROWS as u64 + 1);
    store.close().await;
}

#[tokio::test]
async fn the_view_calls_has_the_talk_before_a_transfer_and_the_time_spent_on_targets_that_failed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut recorder = store.recorder();
    let [failed, talk, _] = transferred();
    transferred().into_iter().for_each(|attempt| recorder.cdr(attempt));
    store.close().await;
    let file = directory.path().join("drawbridge.db");
    let mut database = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    let sql = "SELECT attempts, call_started_at, call_answered_at, call_duration_ms, call_pdd_ms FROM calls";
    let call: (i64, i64, i64, i64, i64) = sqlx::query_as(sql).fetch_one(&mut database).await.unwrap();
    assert_eq!(call, (3, failed.started_at.0, talk.answered_at.unwrap().0, 660_000, 8_000));
}
