//! Calls that the process takes with it: each has its record at the next start.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod records;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use call::{CdrFact, Disposition, EndedBy, Utc};
use records::{all, config, live_and_die, now, record, until};
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

/// Commits nothing.
fn slow() -> Config {
    Config { gather: Duration::from_secs(600), ..config() }
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
        ..standing(1)
    };
    live_and_die(directory.path(), config(), async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(Box::new(CdrFact { ended_at: Utc(now()), ..up.clone() }), None);
        recorder.flush();
        until("known", async || store.health().journal.open == 1).await;
        tokio::time::sleep(2 * LATE).await;
    });
    let died = now();
    std::thread::sleep(Duration::from_millis(300));

    let records = found(directory.path());
    let [Record { node, fact, .. }] = &records[..] else { panic!("{records:#?}") };
    assert_eq!((node.as_str(), fact.id, fact.ended_by), ("edge-1", up.id, EndedBy::Crash));
    assert_eq!((fact.is_last, fact.disposition, fact.sip_code_a), (true, Disposition::Answered, Some(200)));
    let early = Duration::from_micros((died - fact.ended_at.0).try_into().unwrap());
    assert!(early < LATE, "{early:?} before");
    assert_eq!(fact.duration_ms, (fact.ended_at.0 - up.answered_at.unwrap().0) as u64 / 1000);
    assert_eq!(fact.ring_ms, 1000);
    assert_eq!(fact.started_at, up.started_at);
    assert_eq!(found(directory.path()).len(), 1, "once, however often it is started");
}

#[test]
fn a_call_that_somebody_had_hung_up_ends_as_and_when_that_was_said() {
    let directory = tempfile::tempdir().unwrap();
    let hung_up = CdrFact { is_last: false, ..record(1) };
    live_and_die(directory.path(), config(), async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(standing(1).into(), Some(b"both talk".as_slice().into()));
        recorder.flush();
        recorder.open_cdr(hung_up.into(), None);
        recorder.flush();
        until("known", async || store.health().journal.open == 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    });
    let records = found(directory.path());
    assert_eq!(records.iter().map(|record| &record.fact).collect::<Vec<_>>(), [&record(1)]);
}

#[test]
fn a_call_that_had_just_begun_when_the_process_died_ends_when_it_was_last_alive_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut died = 0;
    live_and_die(directory.path(), slow(), async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(Box::new(CdrFact { ended_at: Utc(now()), ..standing(1) }), None);
        recorder.flush();
        tokio::time::sleep(2 * LATE).await;
        died = now();
    });
    let early = told_too_early(directory.path(), died);
    assert!(early < LATE, "{early:?}");
}

/// How long before `died` the only record's call is said to have ended.
fn told_too_early(directory: &Path, died: i64) -> Duration {
    let records = found(directory);
    let [Record { fact, .. }] = &records[..] else { panic!("{records:#?}") };
    assert_eq!((fact.ended_by, fact.is_last), (EndedBy::Crash, true));
    // It lives on for a moment behind `died`.
    Duration::from_micros((died - fact.ended_at.0).try_into().unwrap_or(0))
}

/// For so long a sign of life may wait for a disk on which others write as well. How soon it comes on one that is free
/// `make kills` measures.
const LATE: Duration = Duration::from_millis(1500);

/// A call is up, and the journal knows of it.
async fn talk(store: &Store) {
    let mut recorder = store.recorder();
    recorder.open_cdr(Box::new(CdrFact { ended_at: Utc(now()), ..standing(1) }), None);
    recorder.flush();
    until("known", async || store.health().journal.open == 1).await;
    tokio::time::sleep(2 * LATE).await;
}

#[test]
fn a_memory_that_dies_with_its_container_takes_no_end_of_a_call_along() {
    let (directory, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spool = memory.path().join("spool");
    let config = Config { spool: SpoolPlace::At(spool.clone()), ..config() };
    live_and_die(directory.path(), config, async |store| talk(store).await);
    let died = now();
    std::fs::remove_dir_all(spool).unwrap();
    std::thread::sleep(2 * LATE);
    assert!(told_too_early(directory.path(), died) < LATE);
}

#[test]
fn a_store_that_is_closed_while_calls_are_open_says_when_that_was() {
    let directory = tempfile::tempdir().unwrap();
    live_and_die(directory.path(), config(), async |store| {
        talk(store).await;
        store.close().await;
    });
    let died = now();
    std::thread::sleep(2 * LATE);
    assert!(told_too_early(directory.path(), died) < LATE);
}

#[test]
fn two_processes_do_not_take_away_each_others_spool() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spool = SpoolPlace::At(one.path().join("spool"));
    let shared = || Config { spool: spool.clone(), ..slow() };
    live_and_die(one.path(), shared(), async |store| {
        let mut recorder = store.recorder();
        recorder.cdr(record(1));
        recorder.flush();
        let error = Store::open(other.path(), shared()).await.unwrap_err();
        assert!(error.to_string().contains("give each its own cdr.spool"), "{error}");
    });
    live_and_die(one.path(), shared(), async |store| assert_eq!(all(store).await.len(), 1));
}

/// Set in a process that may write no file beyond a length, to the directory that it lives in.
const SHORT: &str = "DRAWBRIDGE_TEST_SHORT_FILES";

#[test]
fn a_write_that_a_full_disk_cuts_short_takes_nothing_after_it_along() {
    if let Some(directory) = std::env::var_os(SHORT) {
        return live_and_die(Path::new(&directory), slow(), async |store| {
            let mut recorder = store.recorder();
            let mut flushed = 0;
            while store.health().journal.unspooled == 0 {
                (flushed..flushed + 20).for_each(|n| recorder.cdr(record(n)));
                recorder.flush();
                flushed += 20;
            }
            assert!(store.health().journal.error.unwrap().starts_with("the spool: "));
            // There is room for a little.
            recorder.cdr(record(1_000_000));
            recorder.flush();
            assert_eq!((store.health().journal.unspooled, store.health().journal.error), (20, None));
        });
    }
    let directory = tempfile::tempdir().unwrap();
    // Without the signal a write gets as far as it can, and then an error.
    let limited = "trap '' XFSZ; ulimit -f 1500; exec \"$0\" --exact \"$1\" --nocapture";
    let done = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .arg("a_write_that_a_full_disk_cuts_short_takes_nothing_after_it_along")
        .env(SHORT, directory.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let records = found(directory.path());
    assert!(records.len() > 100 && records.len() % 20 == 1, "{}", records.len());
    assert_eq!(records.last().unwrap().fact, record(1_000_000));
}

#[test]
fn a_box_that_died_starts_though_the_disk_is_full_and_keeps_its_records_when_there_is_room() {
    let grow = |limit: &str| {
        let id = std::process::id().to_string();
        let done = std::process::Command::new("prlimit").args(["--pid", &id, limit]).status().unwrap();
        assert!(done.success());
    };
    if let Some(directory) = std::env::var_os(SHORT) {
        let grows = std::env::var_os("DRAWBRIDGE_TEST_GROWS").is_some();
        return live_and_die(Path::new(&directory), config(), async |store| {
            assert!(store.health().journal.error.is_some(), "it is loud");
            let mut recorder = store.recorder();
            recorder.cdr(record(900));
            recorder.flush();
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(all(store).await.len(), 0);
            if grows {
                grow("--fsize=unlimited");
                until("there is room", async || store.health().journal.error.is_none()).await;
                assert_eq!(all(store).await.len(), 302);
            }
        });
    }
    for grows in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let lived = std::cell::Cell::new(0);
        live_and_die(directory.path(), config(), async |store| {
            talk(store).await;
            lived.set(now());
            let mut recorder = store.recorder();
            (100..400).for_each(|n| recorder.cdr(record(n)));
            recorder.flush();
        });
        let died = now();
        std::thread::sleep(Duration::from_millis(300));
        let limited = "trap '' XFSZ; ulimit -S -f 100; exec \"$0\" --exact \"$1\" --nocapture";
        let mut process = std::process::Command::new("sh");
        process.args(["-c", limited]).arg(std::env::current_exe().unwrap());
        process
            .arg("a_box_that_died_starts_though_the_disk_is_full_and_keeps_its_records_when_there_is_room");
        process.env(SHORT, directory.path());
        if grows {
            process.env("DRAWBRIDGE_TEST_GROWS", "1");
        }
        let done = process.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let records = found(directory.path());
        assert_eq!(records.len(), 302);
        let ended = records[0].fact.ended_at.0;
        assert!(
            (lived.get() - LATE.as_micros() as i64..=died).contains(&ended),
            "{} µs before",
            died - ended
        );
    }
}

/// A process in a small file system of its own.
const SMALL: &str = "DRAWBRIDGE_TEST_SMALL_DISK";

#[test]
fn a_box_that_was_stopped_starts_though_somebody_has_filled_the_disk() {
    if let Some(directory) = std::env::var_os(SMALL) {
        let directory = Path::new(&directory);
        let keep = |n: u32| {
            live_and_die(directory, config(), async |store| {
                store.recorder().cdr(record(n));
                until("committed", async || store.health().journal.committed == 1).await;
                assert_eq!(store.health().journal.error, None);
                assert_eq!(all(store).await.len(), n as usize);
                store.close().await;
            });
        };
        keep(1);
        let mut full = std::fs::File::create(directory.join("somebody's")).unwrap();
        for piece in [1 << 20, 4096] {
            while std::io::Write::write_all(&mut full, &vec![1; piece]).is_ok() {}
        }
        return keep(2);
    }
    let directory = tempfile::tempdir().unwrap();
    let own_mounts = ["--user", "--map-root-user", "--mount"];
    let own_mounts = if rustix::process::geteuid().is_root() { &own_mounts[2..] } else { &own_mounts };
    let script = "mount -t tmpfs -o size=32m tmpfs \"$2\" && exec \"$0\" --exact \"$1\" --nocapture";
    let done = std::process::Command::new("unshare")
        .args(own_mounts)
        .args(["sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg("a_box_that_was_stopped_starts_though_somebody_has_filled_the_disk")
        .arg(directory.path())
        .env(SMALL, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    if said.starts_with("unshare: ") || said.starts_with("mount: ") {
        return eprintln!("not seen, for want of the privilege: {said}");
    }
    assert!(done.status.success(), "{}{said}", String::from_utf8_lossy(&done.stdout));
}

#[test]
fn an_attempt_that_began_while_the_queue_was_full_has_its_record_though_the_box_dies_long_after() {
    let directory = tempfile::tempdir().unwrap();
    let short = Config { queue: 8, gather: Duration::from_millis(1), ..config() };
    live_and_die(directory.path(), short, async |store| {
        let mut somebody =
            SqliteConnection::connect(directory.path().join("drawbridge.db").to_str().unwrap())
                .await
                .unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut somebody).await.unwrap();
        let mut recorder = store.recorder();
        for n in 0..20 {
            recorder.open_cdr(standing(n).into(), None);
            recorder.flush();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let health = store.health().journal;
        assert!(health.unopened > 0 && health.late > 0, "there was no room for all of them: {health:?}");
        sqlx::query("ROLLBACK").execute(&mut somebody).await.unwrap();
        // What comes later is committed, and so much of it that each file of the spool is emptied again and again.
        let long: Box<str> = "x".repeat(1_000).into();
        for n in 100..400 {
            let long = Some(long.clone());
            recorder.cdr(CdrFact {
                a_user_agent: long.clone(),
                b_user_agent: long.clone(),
                route: long,
                ..record(n)
            });
            recorder.flush();
            if n % 6 == 0 {
                until("room", async || store.health().journal.pending == 0).await;
            }
        }
        until("everything", async || store.health().journal.pending == 0).await;
        let health = store.health().journal;
        assert_eq!((health.open, health.late), (20, 0));
    });
    let crashed = found(directory.path()).into_iter().filter(|found| found.fact.ended_by == EndedBy::Crash);
    assert_eq!(crashed.count(), 20);
}

#[test]
fn what_one_batch_says_of_an_attempt_again_and_again_is_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let written = || {
        let files = std::fs::read_dir(directory.path().join("spool")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    live_and_die(directory.path(), slow(), async |store| {
        let mut recorder = store.recorder();
        let empty = written();
        recorder.open_cdr(standing(1).into(), None);
        recorder.flush();
        let once = written() - empty;
        (0..3).for_each(|_| recorder.open_cdr(standing(2).into(), None));
        recorder.flush();
        assert_eq!(written() - empty, 2 * once);
        recorder.open_cdr(standing(3).into(), None);
        recorder.cdr(record(3));
        recorder.cdr(record(4));
        recorder.flush();
        let whole = written() - empty - 2 * once;
        assert!(
            whole < 3 * once + once / 2,
            "{whole} octets of two records, of {once} each and what media counted"
        );
    });
    let found = found(directory.path());
    assert_eq!(found.iter().filter(|found| found.fact.ended_by == EndedBy::Crash).count(), 2);
}

#[test]
fn what_finds_no_spool_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    live_and_die(directory.path(), slow(), async |store| {
        std::fs::create_dir(directory.path().join("spool/0.1.spool")).unwrap();
        let mut recorder = store.recorder();
        (0..3).for_each(|n| recorder.cdr(record(n)));
        recorder.flush();
        let health = store.health().journal;
        assert_eq!((health.unspooled, health.error.as_deref()), (3, Some("the spool: there is no file")));
        let mut other = store.recorder();
        other.open_cdr(standing(3).into(), Some(vec![0; 200_000].into()));
        other.flush();
        let health = store.health().journal;
        assert!(health.unspooled == 4 && health.error.unwrap().contains("131072 octets"));
    });
}

#[test]
fn a_call_that_ended_when_there_was_no_place_for_its_record_is_not_taken_for_one_that_is_up() {
    let directory = tempfile::tempdir().unwrap();
    live_and_die(directory.path(), Config { queue: 8, ..slow() }, async |store| {
        let mut recorder = store.recorder();
        (0..10).for_each(|n| recorder.open_cdr(standing(n).into(), None));
        recorder.flush();
        while store.health().journal.lost == 0 {
            recorder.cdr(record(100 + store.health().journal.pending as u32));
            recorder.flush();
        }
        while store.health().journal.unspooled == 0 {
            recorder.open_cdr(standing(50).into(), Some(vec![0; 120_000].into()));
            recorder.flush();
        }
        let lost = store.health().journal.lost;
        (0..10).for_each(|n| recorder.cdr(record(n)));
        recorder.flush();
        assert_eq!(store.health().journal.lost, lost + 10, "they are in the log");
    });
    let calls: Vec<_> = found(directory.path()).iter().map(|record| record.fact.call_id).collect();
    assert!((0..10).all(|n| !calls.contains(&record(n).call_id)), "{calls:?}");
    assert!(calls.contains(&record(50).call_id) && calls.len() > 2, "the others are there: {calls:?}");
}

#[test]
fn what_was_handed_over_and_not_committed_is_kept_as_it_was_said() {
    let directory = tempfile::tempdir().unwrap();
    live_and_die(directory.path(), slow(), async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(standing(1).into(), None);
        recorder.open_cdr(standing(2).into(), None);
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
        recorder.open_cdr(standing(1).into(), None);
        recorder.flush();
        until("open", async || store.health().journal.open == 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        recorder.cdr(record(1));
        recorder.flush();
        until("committed", async || {
            eprintln!("{:?}", store.health().journal);
            store.health().journal.committed == 1
        })
        .await;
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
            recorder.open_cdr(up.into(), Some(b"no call".as_slice().into()));
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
            recorder.open_cdr(attempt(call, number, answered).into(), None);
        }
        // One that rings at the first of two, while the second has not agreed to its CANCEL.
        recorder.open_cdr(attempt(4, 1, false).into(), None);
        recorder.open_cdr(Box::new(CdrFact { ended_by: EndedBy::Timer, ..attempt(4, 2, false) }), None);
        recorder.cdr(CdrFact { attempt: 2, is_last: true, ..attempt(3, 2, false) });
        recorder.flush();
    });
    let last: Vec<_> = found(directory.path()).iter().map(|record| record.fact.is_last).collect();
    assert_eq!(last, [false, true, true, false, false, true, true, false]);
}

#[test]
fn a_call_that_a_backup_of_the_journal_brings_back_lasts_no_longer_than_its_last_word() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let up = |n| CdrFact { ended_at: Utc(now()), ..standing(n) };
    let said = now();
    live_and_die(directory.path(), config(), async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(up(1).into(), Some(b"both talk".as_slice().into()));
        recorder.flush();
        let mut journal = SqliteConnection::connect(path("drawbridge.db").to_str().unwrap()).await.unwrap();
        let open: i64 = loop {
            match sqlx::query_scalar("SELECT count(*) FROM open_cdr").fetch_one(&mut journal).await.unwrap() {
                0 => tokio::time::sleep(Duration::from_millis(10)).await,
                some => break some,
            }
        };
        assert_eq!(open, 1);
        let backup = format!("VACUUM INTO '{}'", path("backup.db").display());
        sqlx::raw_sql(sqlx::AssertSqlSafe(backup)).execute(&mut journal).await.unwrap();
        recorder.cdr(record(1));
        recorder.flush();
        until("committed", async || store.health().journal.committed == 1).await;
        store.close().await;
    });
    live_and_die(directory.path(), Config { recover: Some(1), ..config() }, async |store| {
        let mut recorder = store.recorder();
        recorder.open_cdr(up(2).into(), None);
        recorder.flush();
        tokio::time::sleep(2 * LATE).await;
    });
    for beside in ["drawbridge.db-wal", "drawbridge.db-shm"] {
        let _ = std::fs::remove_file(path(beside));
    }
    std::fs::rename(path("backup.db"), path("drawbridge.db")).unwrap();
    let records = found(directory.path());
    assert_eq!(records.len(), 2);
    let lasted = |n: usize| Duration::from_micros((records[n].fact.ended_at.0 - said).try_into().unwrap());
    assert!(lasted(0) < LATE, "the one of the backup: {:?}", lasted(0));
    assert!(lasted(1) > LATE, "the one that was up: {:?}", lasted(1));
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
        recorder.open_cdr(standing(1).into(), None);
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
