//! Calls that the process takes with it: each has its record at the next start.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod records;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use call::{CdrFact, Disposition, EndedBy, Utc};
use records::{all, config, record, until};
use sqlx::{Connection, SqliteConnection};
use store::{Config, Record, SpoolPlace, Store};

/// How far the `n`th call is: answered two seconds after its beginning, and nothing heard of it since.
fn standing(n: u32) -> CdrFact {
    let whole = record(n);
    CdrFact {
        is_last: false,
        ended_by: EndedBy::Crash,
        ended_at: whole.answered_at.unwrap(),
        duration_ms: 0,
        from_a: Default::default(),
        from_b: Default::default(),
        ..whole
    }
}

/// A process of its own: whatever it has not written when `life` returns is gone, as with a process that is killed.
fn live_and_die(directory: &Path, config: Config, life: impl AsyncFnOnce(&Store)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(async {
        let store = Store::open(directory, config).await.unwrap();
        life(&store).await;
        store
    });
    drop(runtime);
    drop(store);
}

/// Commits nothing.
fn slow() -> Config {
    Config { gather: Duration::from_secs(600), ..config() }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

/// The records at the next start, in the order of their numbers.
fn found(directory: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    live_and_die(directory, config(), async |store| records = all(store).await);
    records.reverse();
    records
}

#[test]
fn a_call_that_was_up_when_the_process_died_ends_when_it_was_last_alive() {
    let directory = tempfile::tempdir().unwrap();
    let begun = now();
    let up = CdrFact {
        started_at: Utc(begun - 3_000_000),
        ringing_at: Some(Utc(begun - 2_000_000)),
        answered_at: Some(Utc(begun - 1_000_000)),
        ended_at: Utc(begun - 1_000_000),
        ..standing(1)
    };
    live_and_die(directory.path(), config(), async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(&up, None);
        recorder.flush();
        until("known", async || store.health().journal.open == 1).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
    });
    let died = now();
    std::thread::sleep(Duration::from_millis(300));

    let records = found(directory.path());
    let [Record { node, fact, .. }] = &records[..] else { panic!("{records:#?}") };
    assert_eq!((node.as_str(), fact.id, fact.ended_by), ("edge-1", up.id, EndedBy::Crash));
    assert_eq!((fact.is_last, fact.disposition, fact.sip_code_a), (true, Disposition::Answered, Some(200)));
    assert!((died - 150_000..=died).contains(&fact.ended_at.0), "{} µs before", died - fact.ended_at.0);
    assert_eq!(fact.duration_ms, (fact.ended_at.0 - up.answered_at.unwrap().0) as u64 / 1000);
    assert_eq!(fact.ring_ms, 1000);
    assert_eq!(fact.started_at, up.started_at);
    assert_eq!(found(directory.path()).len(), 1, "once, however often it is started");
}

#[test]
fn what_was_handed_over_and_not_committed_is_kept_as_it_was_said() {
    let directory = tempfile::tempdir().unwrap();
    live_and_die(directory.path(), slow(), async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(&standing(1), None);
        recorder.open_cdr(&standing(2), None);
        recorder.flush();
        recorder.cdr(record(1));
        recorder.cdr(record(3));
        recorder.flush();
        assert_eq!(store.health().journal.committed, 0);
    });
    let records = found(directory.path());
    assert_eq!(
        records.iter().map(|record| record.fact.id).collect::<Vec<_>>(),
        [1, 2, 3].map(|n| record(n).id)
    );
    assert_eq!(records[0].fact, record(1), "its end was known");
    assert_eq!(records[1].fact.ended_by, EndedBy::Crash);
    assert_eq!(records[2].fact, record(3));
}

#[test]
fn a_record_that_was_committed_is_not_written_again_from_the_spool() {
    let directory = tempfile::tempdir().unwrap();
    live_and_die(directory.path(), config(), async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(&standing(1), None);
        recorder.flush();
        until("open", async || store.health().journal.open == 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        recorder.cdr(record(1));
        recorder.flush();
        until("committed", async || store.health().journal.committed == 1).await;
        assert_eq!(store.health().journal.open, 0);
    });
    let records = found(directory.path());
    assert_eq!(records.iter().map(|record| &record.fact).collect::<Vec<_>>(), [&record(1)]);
}

#[test]
fn a_call_whose_state_cannot_be_read_is_closed_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    for (n, committed) in [(1, true), (2, false)] {
        let config = if committed { config() } else { slow() };
        live_and_die(directory.path(), Config { recover: Some(1), ..config }, async |store| {
            let mut recorder = store.recorder();
            let up = CdrFact { ended_at: Utc(now()), ..standing(n) };
            recorder.open_cdr(&up, Some(b"no call".as_slice().into()));
            recorder.flush();
            until("known", async || !committed || store.health().journal.open == 1).await;
            tokio::time::sleep(Duration::from_millis(if committed { 300 } else { 0 })).await;
        });
        live_and_die(directory.path(), Config { recover: Some(1), ..self::config() }, async |store| {
            assert_eq!(store.interrupted(), []);
            assert_eq!(store.health().journal.open, 0);
        });
        let records = found(directory.path());
        let crashed = |record: &Record| record.fact.ended_by == EndedBy::Crash && record.fact.is_last;
        assert!(records.len() == n as usize && records.iter().all(crashed), "{records:#?}");
    }
}

#[test]
fn of_a_call_that_rang_at_two_places_one_record_tells_how_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let attempt = |call: u32, number: u32, answered: bool| {
        let whole = standing(call * 10 + number);
        CdrFact {
            call_id: record(call).call_id,
            attempt: number,
            answered_at: whole.answered_at.filter(|_| answered),
            disposition: if answered { Disposition::Answered } else { Disposition::Failed },
            ..whole
        }
    };
    live_and_die(directory.path(), slow(), async |store| {
        let mut recorder = store.recorder();
        // Two that ring; one that talks while the target of a transfer rings; one whose last record is written.
        for (call, number, answered) in
            [(1, 1, false), (1, 2, false), (2, 1, true), (2, 2, false), (3, 1, false)]
        {
            recorder.open_cdr(&attempt(call, number, answered), None);
        }
        recorder.cdr(CdrFact { attempt: 2, is_last: true, ..attempt(3, 2, false) });
        recorder.flush();
    });
    let last: Vec<_> = found(directory.path()).iter().map(|record| record.fact.is_last).collect();
    assert_eq!(last, [false, true, true, false, false, true]);
}

#[test]
fn an_entry_that_was_being_written_takes_no_other_with_it() {
    let directory = tempfile::tempdir().unwrap();
    live_and_die(directory.path(), slow(), async |store| {
        let mut recorder = store.recorder();
        recorder.cdr(record(1));
        recorder.flush();
        recorder.cdr(record(2));
        recorder.flush();
    });
    let spool = directory.path().join("spool/0.0.spool");
    let length = std::fs::metadata(&spool).unwrap().len();
    std::fs::OpenOptions::new().write(true).mode(0o600).open(&spool).unwrap().set_len(length - 1).unwrap();
    assert_eq!(
        found(directory.path()).iter().map(|record| record.fact.id).collect::<Vec<_>>(),
        [record(1).id]
    );
}

#[test]
fn a_spool_stays_short_while_records_are_committed() {
    let directory = tempfile::tempdir().unwrap();
    live_and_die(directory.path(), Config { gather: Duration::from_millis(1), ..config() }, async |store| {
        let mut recorder = store.recorder();
        for n in 0..6_000_u32 {
            recorder.cdr(record(n));
            recorder.flush();
            if n % 500 == 499 {
                until("committed", async || store.health().journal.committed == u64::from(n) + 1).await;
            }
        }
    });
    let lengths = std::fs::read_dir(directory.path().join("spool")).unwrap();
    let length: u64 = lengths.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(length < 1_200_000, "{length}");
    assert_eq!(found(directory.path()).len(), 6_000);
}

#[test]
fn a_store_that_is_closed_leaves_no_spool_and_nothing_open() {
    let directory = tempfile::tempdir().unwrap();
    live_and_die(directory.path(), config(), async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(&standing(1), None);
        recorder.flush();
        until("open", async || store.health().journal.open == 1).await;
        recorder.cdr(record(1));
        recorder.flush();
        store.close().await;
    });
    assert!(!directory.path().join("spool").exists());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let open: i64 = runtime.block_on(async {
        let file = directory.path().join("drawbridge.db");
        let mut database = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM open_cdr").fetch_one(&mut database).await.unwrap()
    });
    assert_eq!(open, 0);
    assert_eq!(found(directory.path()).len(), 1);
}

#[test]
fn a_spool_in_memory_is_found_again_by_its_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let in_memory = || Config { spool: SpoolPlace::Auto, ..slow() };
    live_and_die(directory.path(), in_memory(), async |store| {
        let mut recorder = store.recorder();
        recorder.cdr(record(1));
        recorder.flush();
    });
    live_and_die(directory.path(), in_memory(), async |store| {
        assert_eq!(all(store).await.len(), 1);
        store.close().await;
    });
}
