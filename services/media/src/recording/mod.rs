//! Recordings: what the relay threads copy off calls, written to WAV files by a thread of its own.
//!
//! A relay thread never waits for a disk: what it hears goes into a bounded queue, and what has no place there is counted
//! and missing in the file, as silence. A file is a `.part` until it is whole. It ends early where [`RecordingLimits`] say
//! so, or where the disk refuses it; the call goes on, and its shard hears of it.

pub(crate) mod g711;
mod timeline;
mod writer;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use call::MediaId;
use sip::Time;

pub(crate) use self::timeline::Tapped;
use self::writer::Writer;

/// Notes of packets on their way to the writer: two seconds of a hundred calls.
const QUEUE: usize = 20_000;
/// Room behind them for beginnings and ends, which must not be lost: there are two of a recording.
const ORDERS: usize = 20_000;

/// Where recordings go, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingLimits {
    /// The directory of the files.
    pub directory: PathBuf,
    /// The most that all files in it may hold; recordings end when it is reached, and none begins.
    pub max_bytes: u64,
    /// The longest recording.
    pub max_length: Duration,
    /// What is in which channel.
    pub layout: Layout,
}

/// What is in which channel of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// A on the left, B on the right.
    #[default]
    Split,
    /// Both in one.
    Mixed,
}

impl Layout {
    fn channels(self) -> u16 {
        match self {
            Layout::Split => 2,
            Layout::Mixed => 1,
        }
    }
}

/// Counters of recordings since the start, and how they are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordingTotals {
    /// Files that are being written.
    pub open: usize,
    /// Files begun.
    pub begun: u64,
    /// Recordings that ended before their calls, or did not begin: a limit, or the disk.
    pub cut: u64,
    /// Packets that are in no file, or not as a whole, because the writer was behind.
    pub missed: u64,
    /// There is no room for more.
    pub full: bool,
}

/// What the writer is told. Times are when it was told, by the relay's clock: the writer may come to it seconds later.
#[derive(Debug)]
enum Note {
    Begin { session: MediaId, name: Box<str>, at: Time },
    Heard { session: MediaId, tapped: Vec<Tapped> },
    End { session: MediaId, at: Time },
}

/// What the writer and those who tell it share.
#[derive(Debug, Default)]
struct Books {
    /// Notes of packets on their way.
    waiting: AtomicUsize,
    open: AtomicUsize,
    begun: AtomicU64,
    cut: AtomicU64,
    missed: AtomicU64,
    full: AtomicBool,
    /// Recordings that ended by themselves, until their shards have fetched it.
    ended: Mutex<Vec<Cut>>,
    has_ended: AtomicBool,
}

/// A recording that is over before its call, or never began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) session: MediaId,
    pub(crate) why: &'static str,
    /// What there was of it is kept.
    pub(crate) has_file: bool,
}

impl Books {
    fn cut(&self, cut: Cut) {
        self.cut.fetch_add(1, Relaxed);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(cut);
        self.has_ended.store(true, Relaxed);
    }

    /// Those of them that are of these sessions.
    fn take(&self, is_one: impl Fn(MediaId) -> bool) -> Vec<Cut> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = ended.extract_if(.., |cut| is_one(cut.session)).collect();
        self.has_ended.store(!ended.is_empty(), Relaxed);
        taken
    }
}

/// The way to the writer. It ends when this is dropped and everything is written.
#[derive(Debug)]
pub(crate) struct Recorder {
    notes: Option<SyncSender<Note>>,
    books: Arc<Books>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the writer; `start` is the beginning of the relay's clock.
    pub(crate) fn start(limits: RecordingLimits, start: Instant) -> io::Result<Recorder> {
        fs::create_dir_all(&limits.directory)?;
        let books = Arc::new(Books::default());
        let writer = Writer::new(limits, start, Arc::clone(&books))?;
        let (notes, queue) = sync_channel(QUEUE + ORDERS);
        let thread =
            std::thread::Builder::new().name("recordings".into()).spawn(move || writer.run(&queue))?;
        Ok(Recorder { notes: Some(notes), books, thread: Some(thread) })
    }

    /// A call is recorded from now on, into a file of this name.
    pub(crate) fn begin(&self, session: MediaId, name: Box<str>, now: Time) {
        if !self.tell(Note::Begin { session, name, at: now }) {
            self.books.cut(Cut { session, why: "the disk is far behind", has_file: false });
        }
    }

    /// Something of a call was heard.
    pub(crate) fn heard(&self, session: MediaId, tapped: Vec<Tapped>) {
        if self.books.waiting.fetch_add(1, Relaxed) < QUEUE {
            let _ = self.tell(Note::Heard { session, tapped });
        } else {
            self.books.waiting.fetch_sub(1, Relaxed);
            self.books.missed.fetch_add(tapped.len() as u64, Relaxed);
        }
    }

    /// A call is recorded no more. Where the disk hangs for so long that this finds no room, its file ends with the longest
    /// recording.
    pub(crate) fn end(&self, session: MediaId, now: Time) {
        let _ = self.tell(Note::End { session, at: now });
    }

    /// Whether any recording has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.books.has_ended.load(Relaxed)
    }

    /// Those of them that are of these sessions.
    pub(crate) fn take_ended(&self, is_mine: impl Fn(MediaId) -> bool) -> Vec<Cut> {
        self.books.take(is_mine)
    }

    pub(crate) fn totals(&self) -> RecordingTotals {
        let Books { waiting: _, open, begun, cut, missed, full, ended: _, has_ended: _ } = &*self.books;
        RecordingTotals {
            open: open.load(Relaxed),
            begun: begun.load(Relaxed),
            cut: cut.load(Relaxed),
            missed: missed.load(Relaxed),
            full: full.load(Relaxed),
        }
    }

    fn tell(&self, note: Note) -> bool {
        self.notes.as_ref().is_some_and(|notes| notes.try_send(note).is_ok())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.notes = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer of recordings had panicked");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Its shard may have looked for the last time before the writer came to it.
    #[test]
    fn a_recording_that_nobody_wants_any_more_is_not_reported_for_ever() {
        let directory = std::env::temp_dir().join(format!("drawbridge-ended-{}", std::process::id()));
        let limits = RecordingLimits {
            directory: directory.clone(),
            max_bytes: 0,
            max_length: Duration::from_secs(60),
            layout: Layout::Split,
        };
        let recorder = Recorder::start(limits, Instant::now()).unwrap();
        let books = Arc::clone(&recorder.books);
        let (ended, other) = (MediaId(1), MediaId(2));
        for session in [ended, other] {
            recorder.begin(session, format!("{}.wav", session.0).into(), Time::ZERO);
        }
        recorder.end(ended, Time::ZERO);
        drop(recorder);
        assert_eq!(books.cut.load(Relaxed), 2, "there is no room for either");
        let cut = Cut { session: other, why: "recording.max_mb is reached", has_file: false };
        assert_eq!(books.take(|_| true), [cut]);
        assert!(!books.has_ended.load(Relaxed));
        fs::remove_dir_all(directory).unwrap();
    }
}
