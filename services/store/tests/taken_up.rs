//! Calls that go on in the process after the one that was killed, and processes that do not get as far as that.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../call/tests/wire/harness/mod.rs"]
mod harness;
mod records;

use std::path::Path;
use std::time::Duration;

use call::{CdrFact, EndedBy, Utc};
use harness::call_up;
use records::{all, live_and_die, now, record, until};
use store::{Config, Record};

/// For so long a sign of life may wait for a disk on which others write as well.
const LATE: Duration = Duration::from_millis(1500);

/// Those of the calls of the harness.
fn config() -> Config {
    let listeners = ["lab", "outside", "stream"].map(str::to_owned).to_vec();
    Config { listeners, recover: Some(1), ..Config::new("edge-1") }
}

/// Two talk, and their box is killed; when that was.
fn talk_and_die(directory: &Path) -> i64 {
    let (world, ..) = call_up();
    live_and_die(directory, config(), async |store| {
        let up = CdrFact { ended_at: Utc(now()), ..world.open_records.last().unwrap().clone() };
        let mut recorder = store.recorder();
        recorder.open_cdr(up.into(), world.kept.clone());
        recorder.flush();
        until("known", async || store.health().journal.open == 1).await;
        tokio::time::sleep(2 * LATE).await;
    });
    now()
}

/// When the only call ended, which no process goes on with any more, and how it did.
fn ended(directory: &Path) -> i64 {
    let mut records = Vec::new();
    live_and_die(directory, Config { recover: None, ..config() }, async |store| records = all(store).await);
    let [Record { fact, .. }] = &records[..] else { panic!("{records:#?}") };
    assert_eq!((fact.ended_by, fact.is_last), (EndedBy::Crash, true));
    fact.ended_at.0
}

fn assert_ended(directory: &Path, died: i64) {
    let late = Duration::from_micros((ended(directory) - died).unsigned_abs());
    assert!(late < LATE, "{late:?} from when it died");
}

#[test]
fn a_call_whose_box_fails_to_start_again_lasted_until_it_died_however_often_that_is_tried() {
    let directory = tempfile::tempdir().unwrap();
    let died = talk_and_die(directory.path());
    for _ in 0..2 {
        std::thread::sleep(LATE);
        live_and_die(directory.path(), config(), async |store| {
            assert_eq!(store.interrupted().len(), 1);
            // Long enough for a sign of life.
            tokio::time::sleep(Duration::from_millis(200)).await;
            store.close().await;
        });
    }
    assert_ended(directory.path(), died);
}

#[test]
fn a_call_goes_on_though_process_after_process_dies_before_it_begins() {
    let directory = tempfile::tempdir().unwrap();
    let died = talk_and_die(directory.path());
    for _ in 0..3 {
        live_and_die(directory.path(), config(), async |store| {
            assert_eq!(store.interrupted().len(), 1, "it is no call that a backup has brought back");
        });
    }
    assert_ended(directory.path(), died);
}

#[test]
fn a_call_that_was_taken_up_lasted_until_the_process_died_that_did() {
    let directory = tempfile::tempdir().unwrap();
    talk_and_die(directory.path());
    live_and_die(directory.path(), config(), async |store| {
        assert_eq!(store.interrupted().len(), 1);
        store.begun();
        tokio::time::sleep(2 * LATE).await;
    });
    assert_ended(directory.path(), now());
}

#[test]
fn a_call_that_ended_while_its_record_was_nowhere_but_in_memory_is_not_taken_up_and_lasted_until_then() {
    let directory = tempfile::tempdir().unwrap();
    let (world, ..) = call_up();
    let up = world.open_records.last().unwrap();
    let at = |seconds: i64| Utc(now() - seconds * 1_000_000);
    let (begun, answered, ended) = (at(10), at(9), at(5));
    let up = CdrFact { started_at: begun, answered_at: Some(answered), ended_at: answered, ..up.clone() };
    // The disk takes nothing.
    let stuck = Config { gather: Duration::from_secs(600), ..config() };
    live_and_die(directory.path(), stuck, async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(up.clone().into(), world.kept.clone());
        recorder.flush();
        while store.health().journal.unspooled == 0 {
            let other = CdrFact { is_last: false, ended_by: EndedBy::Crash, ..record(1) };
            recorder.open_cdr(other.into(), Some(vec![0; 120_000].into()));
            recorder.flush();
        }
        recorder.cdr(CdrFact { ended_at: ended, ended_by: EndedBy::Caller, is_last: true, ..up.clone() });
        recorder.flush();
        assert_eq!(store.health().journal.lost, 0, "the queue has it");
    });
    let mut records = Vec::new();
    live_and_die(directory.path(), config(), async |store| {
        assert_eq!(store.interrupted(), []);
        records = all(store).await;
    });
    let told = records.iter().find(|record| record.fact.id == up.id).map(|record| &record.fact);
    let told = told.map(|fact| (fact.ended_by, fact.is_last, fact.ended_at, fact.duration_ms));
    let lasted = (ended.0 - answered.0) as u64 / 1000;
    assert_eq!(told, Some((EndedBy::Crash, true, ended, lasted)));
}
