//! Records as a file of JSON lines: every committed record, in order, exactly once.
//!
//! A line is an object of the columns of `cdr` and their `seq`, with times as RFC 3339 has them. The file itself says how far
//! it has come: whoever goes on with it, after a restart or an error, cuts off what is no whole line and reads the last
//! one. Only where there is none, because somebody has taken the file away, the position in the journal counts. The
//! file is opened anew for each batch, so that other programs may rotate it as well.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqliteConnection;

use crate::backoff::Backoff;
use crate::batch::{Batch, Shape};
use crate::health::{Shared, SinkShared};
use crate::journal;
use crate::sink::{self, GATHER, Progress, Source};

/// Records of one write.
const BATCH: i64 = 500;

/// No line is longer: a record's texts are cut to far less.
const LONGEST: u64 = 1024 * 1024;

/// A file of JSON lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// The file; older ones are beside it, with `.1`, `.2` … behind their name.
    pub path: PathBuf,
    /// The length in bytes beyond which it becomes an older one.
    pub max_bytes: u64,
    /// How many older ones stay.
    pub keep: u16,
}

/// Writes until the store is closed and everything is written. While the file takes nothing records wait in the journal.
pub(crate) async fn run(lines: Lines, mut source: Source, shared: Arc<Shared>) {
    let Some(health) = &shared.lines else { return };
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
    while let Err(why) = session(&lines, &mut source, health, &mut backoff).await {
        if health.link(false, Some(why.clone())) {
            tracing::error!(why, path = %lines.path.display(), "the file takes no records; they wait in the journal");
        }
        if source.is_over_before(&mut backoff).await {
            return;
        }
    }
}

/// Until something fails. `Ok`: everything is written and no more will come.
async fn session(
    lines: &Lines,
    source: &mut Source,
    health: &SinkShared,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let mut journal = journal::connect_reader(&source.path).await.map_err(|error| error.to_string())?;
    let name: Arc<str> = format!("lines:{}", lines.path.display()).into();
    let mut position = begin(lines, &mut journal, &name).await?;
    health.position(position);
    if health.link(true, None) {
        tracing::info!(position, path = %lines.path.display(), "records go to the file");
    }
    loop {
        let seen = *source.committed.borrow_and_update();
        while let Some(batch) = Batch::read(&mut journal, Shape::ShownLines, position, BATCH).await? {
            let text = batch.json;
            on_disk(lines, move |lines| append(lines, &text)).await?;
            position = batch.last;
            health.position(position);
            health.forwarded(batch.records);
            backoff.reset();
            // Fails when the writer is gone: the file itself knows better.
            let _ = source.progress.send(Progress::new(&name, position)).await;
        }
        if seen.last || source.committed.changed().await.is_err() {
            return Ok(());
        }
        if !source.committed.borrow().last {
            tokio::time::sleep(GATHER).await;
        }
    }
}

/// The last record that is in the file. One of another journal's, which an earlier installation has left, does not count.
async fn begin(lines: &Lines, journal: &mut SqliteConnection, name: &str) -> Result<i64, String> {
    let known = sink::position(journal, name).await.map_err(|error| error.to_string())?;
    let Some((seq, id)) = on_disk(lines, last_line).await? else { return Ok(known) };
    let found: Option<i64> = sqlx::query_scalar("SELECT seq FROM cdr WHERE seq = ? AND id = ?")
        .bind(seq)
        .bind(id)
        .fetch_optional(journal)
        .await
        .map_err(|error| error.to_string())?;
    Ok(found.map_or(known, |found| found.max(known)))
}

async fn on_disk<T: Send + 'static>(
    lines: &Lines,
    work: impl FnOnce(&Lines) -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let lines = lines.clone();
    match tokio::task::spawn_blocking(move || work(&lines)).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Adds whole lines, to a new file when this one is long.
fn append(lines: &Lines, text: &str) -> io::Result<()> {
    let mut file = open(&lines.path)?;
    let length = file.metadata()?.len();
    if length > 0 && length + text.len() as u64 > lines.max_bytes {
        make_older(lines)?;
        file = open(&lines.path)?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

/// Records say who called whom: nobody's business but the box's user.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn make_older(lines: &Lines) -> io::Result<()> {
    for age in (1..lines.keep).rev() {
        match std::fs::rename(older(&lines.path, age), older(&lines.path, age + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::rename(&lines.path, older(&lines.path, 1))
}

fn older(path: &Path, age: u16) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

/// Cuts off what a process or a disk has left of half a line; `seq` and `id` of the last whole one, here or in the newest of
/// the older files.
fn last_line(lines: &Lines) -> io::Result<Option<(i64, String)>> {
    for path in [lines.path.clone(), older(&lines.path, 1)] {
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let from = length.saturating_sub(2 * LONGEST);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.take(2 * LONGEST).read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole == 0 && from > 0 {
            return Err(foreign(&path));
        }
        if whole < tail.len() {
            OpenOptions::new().write(true).open(&path)?.set_len(from + whole as u64)?;
        }
        if let Some(line) =
            tail.get(..whole).and_then(|text| text.trim_ascii_end().rsplit(|byte| *byte == b'\n').next())
            && !line.is_empty()
        {
            return said_in(line).ok_or_else(|| foreign(&path)).map(Some);
        }
    }
    Ok(None)
}

fn said_in(line: &[u8]) -> Option<(i64, String)> {
    let line: serde_json::Value = serde_json::from_slice(line).ok()?;
    Some((line.get("seq")?.as_i64()?, line.get("id")?.as_str()?.to_owned()))
}

fn foreign(path: &Path) -> io::Error {
    io::Error::other(format!("{}: expected lines that this box has written, found others", path.display()))
}
