//! Records as lines of JSON in a file: each once, in order, whatever becomes of the process and the file.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod records;

use std::ops::Range;
use std::path::{Path, PathBuf};

use records::{config, record, until};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};
use store::{Config, Lines, Store};

fn with_lines(path: &Path, max_bytes: u64) -> Config {
    let lines = Lines { path: path.to_owned(), max_bytes, keep: 2 };
    Config { lines: Some(lines), ..config() }
}

/// A box's life in which these calls are made.
async fn live(directory: &Path, config: Config, calls: Range<u32>) {
    let store = Store::open(directory, config).await.unwrap();
    let mut recorder = store.recorder();
    for n in calls {
        recorder.cdr(record(n));
        if n.is_multiple_of(7) {
            until("committed", async || store.health().journal.pending == 0).await;
        }
    }
    recorder.flush();
    store.close().await;
    assert_eq!(store.health().lines.unwrap().behind, 0);
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "{text:?}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn sequence(lines: &[Value]) -> Vec<i64> {
    lines.iter().map(|line| line["seq"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_line_says_what_the_record_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cdrs.jsonl");
    live(directory.path(), with_lines(&path, 1 << 20), 1..3).await;
    let lines = lines(&path);
    let [first, _] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!(first["id"], record(1).id.to_string());
    assert_eq!(first["started_at"], "2026-01-02T03:04:06.678901Z");
    assert_eq!(first["answered_at"], "2026-01-02T03:04:08.678901Z");
    assert_eq!(first["is_last"], true);
    assert_eq!(first["b_user_agent"], "gate \"way\" \\ ü");
    assert_eq!(first["duration_ms"], 60_000);
    assert_eq!(first["a_jitter_ms"], 1.5);
    assert_eq!(first["disposition"], "answered");
}

#[tokio::test]
async fn a_record_is_one_line_though_the_process_died_before_it_kept_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cdrs.jsonl");
    live(directory.path(), with_lines(&path, 1 << 20), 0..20).await;
    let url = format!("sqlite://{}", directory.path().join("drawbridge.db").display());
    let mut journal = SqliteConnection::connect(&url).await.unwrap();
    let forgotten = sqlx::query("UPDATE sink SET position = 3").execute(&mut journal).await.unwrap();
    assert_eq!(forgotten.rows_affected(), 1);
    journal.close().await.unwrap();

    live(directory.path(), with_lines(&path, 1 << 20), 20..30).await;
    assert_eq!(sequence(&lines(&path)), (1..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn half_a_line_that_a_dying_process_left_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cdrs.jsonl");
    live(directory.path(), with_lines(&path, 1 << 20), 0..5).await;
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 100]).unwrap();

    live(directory.path(), with_lines(&path, 1 << 20), 5..6).await;
    // The journal has kept that five were written; what the file lost meanwhile is not the box's to know.
    assert_eq!(sequence(&lines(&path)), [1, 2, 3, 4, 6]);
}

#[tokio::test]
async fn a_long_file_becomes_an_older_one_and_few_of_those_stay() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cdrs.jsonl");
    live(directory.path(), with_lines(&path, 30_000), 0..200).await;
    let files: Vec<PathBuf> =
        ["cdrs.jsonl.2", "cdrs.jsonl.1", "cdrs.jsonl"].map(|name| directory.path().join(name)).into();
    let mut all = Vec::new();
    for file in &files {
        assert!(std::fs::metadata(file).unwrap().len() <= 30_000, "{}", file.display());
        all.extend(sequence(&lines(file)));
    }
    assert!(!directory.path().join("cdrs.jsonl.3").exists());
    let first = all[0];
    assert_eq!(all, (first..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_another_program_took_away_begins_anew_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cdrs.jsonl");
    live(directory.path(), with_lines(&path, 1 << 20), 0..5).await;
    std::fs::rename(&path, directory.path().join("archived")).unwrap();
    live(directory.path(), with_lines(&path, 1 << 20), 5..8).await;
    assert_eq!(sequence(&lines(&path)), [6, 7, 8]);
}

#[tokio::test]
async fn records_wait_for_a_file_that_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("logs");
    let path = folder.join("cdrs.jsonl");
    let store = Store::open(directory.path(), with_lines(&path, 1 << 20)).await.unwrap();
    let mut recorder = store.recorder();
    (0..3).for_each(|n| recorder.cdr(record(n)));
    until("told", async || {
        store.health().lines.is_some_and(|lines| !lines.connected && lines.error.is_some())
    })
    .await;
    until("committed", async || store.health().journal.committed == 3).await;
    assert_eq!(store.health().lines.unwrap().behind, 3);

    std::fs::create_dir(&folder).unwrap();
    until("written", async || store.health().lines.is_some_and(|lines| lines.connected && lines.behind == 0))
        .await;
    store.close().await;
    assert_eq!(sequence(&lines(&path)), [1, 2, 3]);
}
