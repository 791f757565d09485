//! The thread that writes recordings: frames of the calls' timelines into files, within the limits.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use call::MediaId;
use foldhash::{HashMap, HashMapExt};
use sip::Time;

use super::timeline::{RATE, Timeline};
use super::{Books, Cut, Layout, Note, RecordingLimits};

/// How often frames are written.
const ROUND: Duration = Duration::from_millis(200);
/// How often is looked whether somebody has made room.
const SURVEY: Duration = Duration::from_secs(10);
/// Octets of a sample.
const SAMPLE: u64 = 2;
/// Of a WAV file in front of its samples, as written here.
const HEAD: u64 = 44;
/// The name of a file that is not whole.
const PART: &str = "part";

const FULL: &str = "recording.max_mb is reached";
const LONG: &str = "recording.max_length is reached";
const REFUSED: &str = "the file cannot be written";

pub(super) struct Writer {
    limits: RecordingLimits,
    /// Octets in the directory.
    used: u64,
    surveyed: Instant,
    start: Instant,
    books: Arc<Books>,
    open: HashMap<MediaId, Recording>,
}

/// A file that is being written.
struct Recording {
    timeline: Timeline,
    begun: Time,
    wav: hound::WavWriter<io::BufWriter<fs::File>>,
    part: PathBuf,
    whole: PathBuf,
}

impl Writer {
    pub(super) fn new(limits: RecordingLimits, start: Instant, books: Arc<Books>) -> io::Result<Writer> {
        let used = survey(&limits.directory, true)?;
        Ok(Writer { limits, used, surveyed: Instant::now(), start, books, open: HashMap::new() })
    }

    pub(super) fn run(mut self, queue: &Receiver<Note>) {
        let mut round = Instant::now();
        loop {
            if round.elapsed() >= ROUND {
                round = Instant::now();
                self.write_all();
            }
            match queue.recv_timeout(ROUND.saturating_sub(round.elapsed())) {
                Ok(Note::Begin { session, name }) => self.begin(session, &name),
                Ok(Note::Heard { session, tapped }) => {
                    self.books.waiting.fetch_sub(1, Relaxed);
                    if let Some(recording) = self.open.get_mut(&session) {
                        tapped.iter().for_each(|tapped| recording.timeline.hear(tapped));
                    }
                }
                Ok(Note::End { session }) => {
                    self.end(session);
                    // Nobody asks how it ended any more.
                    self.books.take(|ended| ended == session);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let open: Vec<MediaId> = self.open.keys().copied().collect();
                    return open.into_iter().for_each(|session| self.end(session));
                }
            }
        }
    }

    fn now(&self) -> Time {
        Time::from_micros(self.start.elapsed().as_micros() as u64)
    }

    fn begin(&mut self, session: MediaId, name: &str) {
        self.end(session);
        if self.is_full() {
            return self.books.cut(Cut { session, why: FULL, has_file: false });
        }
        let whole = self.limits.directory.join(name);
        let part = whole.with_extension(PART);
        let spec = hound::WavSpec {
            channels: self.limits.layout.channels(),
            sample_rate: RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let begun = self.now();
        match hound::WavWriter::create(&part, spec) {
            Ok(wav) => {
                let recording = Recording { timeline: Timeline::new(begun), begun, wav, part, whole };
                self.open.insert(session, recording);
                self.used += HEAD;
                self.books.begun.fetch_add(1, Relaxed);
                self.books.open.store(self.open.len(), Relaxed);
            }
            Err(error) => {
                tracing::warn!(file = %part.display(), %error, "a recording cannot be begun");
                self.books.cut(Cut { session, why: REFUSED, has_file: false });
            }
        }
    }

    /// Writes what is due, and ends what has come to a limit.
    fn write_all(&mut self) {
        let now = self.now();
        let mut over = Vec::new();
        for (session, recording) in &mut self.open {
            let written = recording.write(self.limits.layout, Some(now));
            if let Err(error) = &written {
                tracing::warn!(file = %recording.part.display(), %error, "a recording cannot be written");
                over.push((*session, REFUSED));
            } else if now.since(recording.begun) >= self.limits.max_length {
                over.push((*session, LONG));
            }
            self.used += written.unwrap_or(0);
        }
        if self.is_full() {
            over.extend(self.open.keys().map(|session| (*session, FULL)));
        }
        for (session, why) in over {
            if let Some(recording) = self.open.remove(&session) {
                // What is on its way still would be more than there may be.
                recording.finish();
                self.books.open.store(self.open.len(), Relaxed);
                self.books.cut(Cut { session, why, has_file: true });
            }
        }
    }

    /// Whether the files hold as much as they may. Somebody may have taken some away since they were counted.
    fn is_full(&mut self) -> bool {
        let was_full = self.books.full.load(Relaxed);
        if self.used >= self.limits.max_bytes && self.surveyed.elapsed() >= SURVEY {
            self.surveyed = Instant::now();
            self.used = survey(&self.limits.directory, false).unwrap_or(self.used);
        }
        let is_full = self.used >= self.limits.max_bytes;
        if is_full != was_full {
            self.books.full.store(is_full, Relaxed);
            let directory = self.limits.directory.display();
            if is_full {
                tracing::error!(%directory, used = self.used, "no room for recordings: calls go on without");
            } else {
                tracing::info!(%directory, used = self.used, "there is room for recordings again");
            }
        }
        is_full
    }

    fn end(&mut self, session: MediaId) {
        let Some(mut recording) = self.open.remove(&session) else { return };
        self.books.open.store(self.open.len(), Relaxed);
        recording.timeline.end(self.now());
        match recording.write(self.limits.layout, None) {
            Ok(octets) => self.used += octets,
            Err(error) => {
                tracing::warn!(file = %recording.part.display(), %error, "a recording cannot be written");
            }
        }
        recording.finish();
    }
}

impl Recording {
    /// Writes the frames that are due, or all that there are; the octets they take.
    fn write(&mut self, layout: Layout, due: Option<Time>) -> Result<u64, hound::Error> {
        let mut samples = 0;
        for [a, b] in self.timeline.take(due) {
            match layout {
                Layout::Split => {
                    self.wav.write_sample(a)?;
                    self.wav.write_sample(b)?;
                }
                Layout::Mixed => self.wav.write_sample(a.saturating_add(b))?,
            }
            samples += u64::from(layout.channels());
        }
        Ok(samples * SAMPLE)
    }

    /// The file is whole.
    fn finish(self) {
        let Recording { timeline: _, begun: _, wav, part, whole } = self;
        let kept = wav.finalize().map_err(io::Error::other).and_then(|()| fs::rename(&part, &whole));
        if let Err(error) = kept {
            tracing::warn!(file = %part.display(), %error, "a recording cannot be finished");
        }
    }
}

/// The octets of all files. `mend`: nobody writes any of them, so that those that are not whole were left by a process that
/// died, and are made whole.
fn survey(directory: &Path, mend: bool) -> io::Result<u64> {
    let mut used = 0;
    for file in fs::read_dir(directory)? {
        let file = file?;
        let path = file.path();
        if mend && path.extension().is_some_and(|extension| extension == PART) {
            match make_whole(&path) {
                Ok(()) => tracing::info!(file = %path.display(), "a recording that was cut off is kept"),
                Err(error) => tracing::warn!(file = %path.display(), %error, "a recording is damaged"),
            }
        }
        // What is gone meanwhile takes no room.
        used += file.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(used)
}

/// Writes the length of a file into its head, and gives it the name of a whole one.
fn make_whole(part: &Path) -> io::Result<()> {
    let mut file = fs::File::options().read(true).write(true).open(part)?;
    let length = file.metadata()?.len();
    let samples = length
        .checked_sub(HEAD)
        .and_then(|samples| u32::try_from(samples).ok())
        .ok_or_else(|| io::Error::other("expected a head of 44 octets and less than 4 GiB of samples"))?;
    let samples = samples - samples % 4;
    for (place, size) in [(4, samples + HEAD as u32 - 8), (HEAD - 4, samples)] {
        file.seek(SeekFrom::Start(place))?;
        file.write_all(&size.to_le_bytes())?;
    }
    file.set_len(HEAD + u64::from(samples))?;
    fs::rename(part, part.with_extension("wav"))
}
