//! What a shard has handed over and the journal has not committed yet, where the end of the process does not take it along.
//!
//! A commit is made for many records at once, so a record waits some tens of milliseconds in memory; a process that is killed
//! would lose it, and peers have heard of the call already. So each shard writes what it hands over into a small file first,
//! once for everything that it sends in one go, before it sends it. The files belong into memory (`/dev/shm`): they are to
//! outlive the process and not the machine, and writing them never waits for a disk.
//!
//! There are two files a shard, written in turn. When one is long and everything in the other is committed, that one is
//! emptied. At the start `crash.rs` reads what a process has left.
//!
//! Here, and beside the journal, the process says again and again that it lives ([`Alive`]): a place in memory may be gone at the
//! next start, with the container that it belonged to, and a disk may be busy at the moment that counts.

use std::cmp::Reverse;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::health::Shared;
use crate::uptime::Uptime;
use crate::writer::utc_now;

/// Begins each file; the number is the version of what follows.
const MAGIC: &[u8; 8] = b"dbspool1";

/// Of the header: the magic and the generation.
const HEADER: usize = 16;

/// The length at which the other file's turn comes.
const TURN: u64 = 256 * 1024;

/// The longest that a file becomes while the journal takes nothing.
const MOST: u64 = 64 * 1024 * 1024;

/// So much longer for the ends of calls of which it says that they are up: more than the queue has room for.
const MOST_ENDS: u64 = 2 * 1024 * 1024;

/// The longest entry: the columns of a record, each text at its longest, or those of an ordinary one and the call.
const MAX_ENTRY: usize = 128 * 1024;

/// What an entry is: how far an attempt is that goes on, its record, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Open = 1,
    Closed = 2,
    /// As `Open`, with what another process needs to go on with the call: the length of the record, the record, the rest.
    Kept = 3,
    /// An attempt is over whose record is in the log alone: its id.
    Over = 4,
    /// An attempt is over whose record is on its way to the journal, and has no place here: its id, and when it ended.
    Ended = 5,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Open, Kind::Closed, Kind::Kept, Kind::Over, Kind::Ended];
}

/// An entry of a spool: the writer says so when it is committed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) spool: u16,
    pub(crate) number: u64,
}

/// How far each spool is committed. A fixed table, so that saying so takes no lock.
#[derive(Debug)]
pub(crate) struct Marks([AtomicU64; Marks::SPOOLS]);

impl Default for Marks {
    fn default() -> Marks {
        Marks([const { AtomicU64::new(0) }; Marks::SPOOLS])
    }
}

impl Marks {
    /// As many as there can be shards.
    const SPOOLS: usize = 256;

    pub(crate) fn committed(&self, mark: Mark) {
        if let Some(spool) = self.0.get(usize::from(mark.spool)) {
            spool.fetch_max(mark.number, Ordering::Relaxed);
        }
    }

    fn of(&self, spool: u16) -> u64 {
        self.0.get(usize::from(spool)).map_or(u64::MAX, |spool| spool.load(Ordering::Relaxed))
    }
}

/// Where spools are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolPlace {
    /// In memory where the system has a place for that, else in the data directory.
    Auto,
    /// In this directory.
    At(PathBuf),
    /// In the data directory.
    DataDir,
}

impl SpoolPlace {
    /// Makes the directory, and takes it for this process: another one would take away what this one has written.
    pub(crate) fn prepare(&self, data_dir: &Path) -> io::Result<(PathBuf, File)> {
        let directory = match self {
            SpoolPlace::Auto => match in_memory(data_dir) {
                Some(directory) => directory,
                None => private(data_dir.join("spool"))?,
            },
            SpoolPlace::At(directory) => private(directory.clone())?,
            SpoolPlace::DataDir => private(data_dir.join("spool"))?,
        };
        let lock = File::open(&directory)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let directory = directory.display();
                io::Error::other(format!(
                    "{directory} is the spool of another process; give each its own cdr.spool"
                ))
            }
            TryLockError::Error(error) => error,
        })?;
        Ok((directory, lock))
    }
}

fn private(directory: PathBuf) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    Ok(directory)
}

/// A directory of this box's own in `/dev/shm`, found again by the data directory: by its path, and by where it is stored, since
/// containers that share this memory may each have one of the same path. Everybody may write there, so one that belongs
/// to somebody else is left alone.
fn in_memory(data_dir: &Path) -> Option<PathBuf> {
    let whole = data_dir.canonicalize().ok()?;
    let stored = std::fs::metadata(&whole).ok()?;
    let stored = [stored.dev().to_le_bytes(), stored.ino().to_le_bytes()];
    // FNV-1a: a name that the next version of the program gives as well.
    let hash = whole
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .chain(stored.iter().flatten())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let shared = Path::new("/dev/shm");
    if !shared.is_dir() {
        return None;
    }
    let directory = private(shared.join(format!("drawbridge-{hash:016x}"))).ok()?;
    let owner = |path: &Path| {
        std::fs::symlink_metadata(path).ok().filter(|found| found.is_dir()).map(|found| found.uid())
    };
    (owner(&directory)? == std::fs::metadata("/proc/self").ok()?.uid()).then_some(directory)
}

/// One shard's spool.
#[derive(Debug)]
pub(crate) struct Spool {
    index: u16,
    shared: Arc<Shared>,
    files: Option<Files>,
    /// Of the next write.
    buffer: Vec<u8>,
    waiting: u64,
    /// Entries since the last write for which there is no place.
    left_out: u64,
    /// The last entry.
    number: u64,
    /// The entries from this one on are needed, whatever is committed behind it.
    held: Option<u64>,
    /// Attempts whose records were taken since the last write, and when they ended; `None`: the record has no place but here.
    ends: Vec<(Uuid, Option<i64>)>,
}

#[derive(Debug)]
struct Files {
    current: File,
    size: u64,
    generation: u64,
    other: File,
    /// The last entry in the other one.
    other_last: u64,
    /// A part of an entry is at the end, behind which nothing can be read: what is there so far is kept, and nothing is written any
    /// more.
    is_broken: bool,
}

impl Spool {
    /// Without the files nothing is written: the spool's place said no, which the log says once.
    pub(crate) fn open(directory: &Path, index: u16, shared: Arc<Shared>) -> Spool {
        let known = usize::from(index) < Marks::SPOOLS;
        let files = known.then(|| Files::open(directory, index)).transpose();
        let files = files.unwrap_or_else(|error| {
            let directory = directory.display();
            tracing::warn!(%error, %directory, "no spool: a process that is killed loses the records of its last moments");
            None
        });
        Spool {
            index,
            shared,
            files,
            buffer: Vec::new(),
            waiting: 0,
            left_out: 0,
            number: 0,
            held: None,
            ends: Vec::new(),
        }
    }

    /// Takes an entry for the next [`flush`](Spool::flush).
    pub(crate) fn push(&mut self, kind: Kind, record: &[u8]) -> Mark {
        self.put(kind, &[record])
    }

    /// The same of an attempt that another process can go on with.
    pub(crate) fn push_kept(&mut self, record: &[u8], state: &[u8]) -> Mark {
        let length = (record.len() as u32).to_le_bytes();
        self.put(Kind::Kept, &[&length, record, state])
    }

    fn put(&mut self, kind: Kind, pieces: &[&[u8]]) -> Mark {
        self.number += 1;
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if self.files.is_some() && length <= MAX_ENTRY {
            self.buffer.extend((length as u32).to_le_bytes());
            self.buffer.push(kind as u8);
            pieces.iter().for_each(|piece| self.buffer.extend_from_slice(piece));
            self.waiting += 1;
        } else {
            self.left_out += 1;
        }
        Mark { spool: self.index, number: self.number }
    }

    /// The record that was taken last is of this attempt, which ended then; `None`: the record has no other place. Where there is none
    /// here either, it is at least told that the attempt is over: the next process would take it for one that goes on.
    pub(crate) fn is_over(&mut self, attempt: Uuid, ended_at: Option<i64>) {
        self.ends.push((attempt, ended_at));
    }

    /// From now on entries are kept from this one on, because it is not on its way to the journal; `None`: all are.
    pub(crate) fn hold(&mut self, from: Option<u64>) {
        self.held = from;
    }

    /// Writes what was taken.
    pub(crate) fn flush(&mut self) {
        let is_written = self.buffer.is_empty() || self.write();
        if !is_written || self.left_out > 0 {
            self.write_ends();
        }
        self.ends.clear();
        if self.left_out > 0 {
            let why = match &self.files {
                Some(_) => format!("expected entries of up to {MAX_ENTRY} octets"),
                None => "there is no file".to_owned(),
            };
            self.shared.spooled(std::mem::take(&mut self.left_out), Some(why));
        }
    }

    /// Whether it could be.
    fn write(&mut self) -> bool {
        let Some(files) = &mut self.files else { return false };
        let committed = self.shared.marks.of(self.index).min(self.held.map_or(u64::MAX, |from| from - 1));
        if files.size > TURN && committed >= files.other_last {
            // What fails here fails again at the write, and is told there.
            let _ = files.turn(self.number - self.waiting);
        }
        let written = files.append(&self.buffer, MOST);
        self.files.take_if(|files| files.is_broken);
        let is_written = written.is_ok();
        self.shared.spooled(self.waiting, written.err().map(|error| error.to_string()));
        self.buffer.clear();
        self.waiting = 0;
        is_written
    }

    fn write_ends(&mut self) {
        let Some(files) = &mut self.files else { return };
        for (attempt, ended_at) in self.ends.drain(..) {
            let (length, kind) = if ended_at.is_some() { (24_u32, Kind::Ended) } else { (16, Kind::Over) };
            self.buffer.extend(length.to_le_bytes());
            self.buffer.push(kind as u8);
            self.buffer.extend(attempt.as_bytes());
            self.buffer.extend(ended_at.map(i64::to_le_bytes).as_slice().as_flattened());
        }
        // Where there is no place for these either it was told that there is none for records.
        let _ = files.append(&self.buffer, MOST + MOST_ENDS);
        self.files.take_if(|files| files.is_broken);
        self.buffer.clear();
    }
}

impl Files {
    fn open(directory: &Path, index: u16) -> io::Result<Files> {
        let open = |which: u8| {
            let path = directory.join(format!("{index}.{which}.spool"));
            OpenOptions::new().append(true).create(true).mode(0o600).open(path)
        };
        let mut files = Files {
            current: open(1)?,
            size: 0,
            generation: 0,
            other: open(0)?,
            other_last: 0,
            is_broken: false,
        };
        files.other.set_len(0)?;
        files.turn(0)?;
        Ok(files)
    }

    /// Writes whole entries, unless there are `most` octets already.
    fn append(&mut self, entries: &[u8], most: u64) -> io::Result<()> {
        if self.size >= most {
            return Err(io::Error::other("the spool is full: the journal takes nothing"));
        }
        let written = self.current.write_all(entries);
        match written {
            Ok(()) => self.size += entries.len() as u64,
            Err(_) => self.is_broken = self.current.set_len(self.size).is_err(),
        }
        written
    }

    /// The other file's turn. `last` is the last entry in this one.
    fn turn(&mut self, last: u64) -> io::Result<()> {
        self.other.set_len(0)?;
        self.generation += 1;
        self.other.write_all(MAGIC)?;
        self.other.write_all(&self.generation.to_le_bytes())?;
        std::mem::swap(&mut self.current, &mut self.other);
        self.size = HEADER as u64;
        self.other_last = last;
        Ok(())
    }
}

/// What a process has left, file by file and entry by entry, in the order of writing. An entry that was being written when it
/// died is none.
pub(crate) fn left_behind(paths: &[PathBuf]) -> io::Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for path in paths {
        let bytes = std::fs::read(path)?;
        let header = bytes.get(..HEADER).and_then(|header| header.strip_prefix(MAGIC));
        if let Some(generation) = header.and_then(|generation| generation.try_into().ok()) {
            files.push((u64::from_le_bytes(generation), bytes));
        }
    }
    files.sort_by_key(|(generation, _)| *generation);
    Ok(files.into_iter().map(|(_, bytes)| bytes).collect())
}

/// The entries of a file.
pub(crate) fn entries(file: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    let mut rest = file.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (kind, after) = after.split_first()?;
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == *kind)?;
        let (record, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = after;
        Some((kind, record))
    })
}

/// An entry of [`Kind::Kept`]: the record, and the call.
pub(crate) fn split_kept(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = entry.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// An entry of [`Kind::Ended`]: the attempt, and when it ended.
pub(crate) fn split_ended(entry: &[u8]) -> Option<(Uuid, i64)> {
    let (id, ended_at) = entry.split_at_checked(16)?;
    Some((Uuid::from_slice(id).ok()?, i64::from_le_bytes(ended_at.try_into().ok()?)))
}

/// Everything in it is committed: takes the files away, and with `whole` the directory too, if nothing else is in it.
pub(crate) fn clear(directory: &Path, whole: bool) {
    // What cannot be taken away is read again at the next start, and changes nothing then.
    for path in spools(directory).unwrap_or_default() {
        let _ = std::fs::remove_file(path);
    }
    if whole {
        let _ = std::fs::remove_dir(directory);
    }
}

/// Gives what a process has left names that this one gives no file of its own.
pub(crate) fn set_aside(directory: &Path, now: i64) -> io::Result<Vec<PathBuf>> {
    for path in spools(directory)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("aside-") {
            std::fs::rename(&path, directory.join(format!("aside-{now}-{name}")))?;
        }
    }
    spools(directory)
}

/// The files of all processes that have not been cleared.
pub(crate) fn spools(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "spool") {
            found.push(path);
        }
    }
    Ok(found)
}

/// A sign of life, in one directory. Not forced onto a disk: it is to outlive the process, as the spool is.
#[derive(Clone, Debug)]
pub(crate) struct Alive(Arc<Sign>);

/// When a process was last known to live.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastSign {
    /// By the wall clock, in microseconds since 1970.
    pub(crate) utc: i64,
    /// `None`: an earlier version of the program has said it.
    pub(crate) uptime: Option<Uptime>,
    /// Which process that was; 0: an earlier version.
    pub(crate) run: i64,
}

impl LastSign {
    pub(crate) fn now(run: i64) -> LastSign {
        LastSign { utc: utc_now(), uptime: Uptime::now(), run }
    }

    /// As many whatever is known, so that a file is written over and never cut.
    fn to_bytes(self) -> [u8; 16 + Uptime::BYTES] {
        let mut bytes = [0; 16 + Uptime::BYTES];
        let (utc, rest) = bytes.split_at_mut(8);
        let (uptime, run) = rest.split_at_mut(Uptime::BYTES);
        utc.copy_from_slice(&self.utc.to_le_bytes());
        uptime.copy_from_slice(&self.uptime.map_or([0; Uptime::BYTES], Uptime::to_bytes));
        run.copy_from_slice(&self.run.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<LastSign> {
        let (utc, rest) = bytes.split_first_chunk()?;
        let (uptime, run) = rest.split_at(rest.len().min(Uptime::BYTES));
        let run = run.try_into().map_or(0, i64::from_le_bytes);
        Some(LastSign { utc: i64::from_le_bytes(*utc), uptime: Uptime::from_bytes(uptime), run })
    }
}

#[derive(Debug)]
struct Sign {
    path: PathBuf,
    file: Option<File>,
    run: i64,
}

impl Alive {
    fn path(directory: &Path) -> PathBuf {
        directory.join("drawbridge.alive")
    }

    /// When the process that had these directories was last known to live.
    pub(crate) fn last(directories: &[&Path]) -> LastSign {
        let read = |directory: &&Path| LastSign::from_bytes(&std::fs::read(Alive::path(directory)).ok()?);
        let now = Uptime::now();
        let ago = |sign: &LastSign| now.zip(sign.uptime).and_then(|(now, then)| now.since(then));
        let order = |sign: &LastSign| (ago(sign).map(Reverse), sign.utc);
        directories.iter().filter_map(read).max_by_key(order).unwrap_or_default()
    }

    pub(crate) fn open(directory: &Path, run: i64) -> Alive {
        let path = Alive::path(directory);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| {
            let path = path.display();
            tracing::warn!(%error, %path, "no sign of life: calls that a dying process takes along end with their last word");
        });
        Alive(Arc::new(Sign { path, file: file.ok(), run }))
    }

    /// May wait for the disk.
    pub(crate) fn beat(&self) {
        if let Some(file) = &self.0.file {
            // Without it a crash is told with the time of the last word of each call.
            let _ = file.write_all_at(&LastSign::now(self.0.run).to_bytes(), 0);
        }
    }

    /// Nobody will ask.
    pub(crate) fn clear(&self) {
        let _ = std::fs::remove_file(&self.0.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_outlives_what_is_committed_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared::new("edge".to_owned(), [false; 3]));
        let mut spool = Spool::open(directory.path(), 0, Arc::clone(&shared));
        let mut write = |record: &[u8], held| {
            let mark = spool.push(Kind::Open, record);
            spool.hold(held);
            spool.flush();
            shared.marks.committed(mark);
            let files = left_behind(&spools(directory.path()).unwrap()).unwrap();
            files.iter().flat_map(|file| entries(file)).any(|(_, entry)| entry == b"first")
        };
        assert!(write(b"first", Some(1)));
        let long = vec![0; 100 * 1024];
        assert!((0..12).all(|_| write(&long, Some(1))), "it is not on its way to the journal");
        assert!(!(0..12).all(|_| write(&long, None)), "it is");
    }
}
