//! The thread that writes recordings: frames of the calls' timelines into files, within the limits.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use call::MediaId;
use foldhash::{HashMap, HashMapExt};
use sip::Time;

use super::timeline::{RATE, Timeline};
use super::{Books, Cut, Layout, Note, ORDERS, QUEUE, RecordingLimits};

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
    /// Of [`ROUND`].
    every: Duration,
    limits: RecordingLimits,
    /// Octets in the directory.
    used: u64,
    surveyed: Instant,
    start: Instant,
    /// The time of the newest note that was read, by the relay's clock.
    read_to: Time,
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
        let (surveyed, read_to) = (Instant::now(), Time::ZERO);
        Ok(Writer { every: ROUND, limits, used, surveyed, start, read_to, books, open: HashMap::new() })
    }

    pub(super) fn run(mut self, queue: &Receiver<Note>) {
        let mut round = Instant::now();
        loop {
            if round.elapsed() >= self.every {
                round = Instant::now();
                let due = self.catch_up(queue);
                self.write_all(due);
            }
            match queue.recv_timeout(self.every.saturating_sub(round.elapsed())) {
                Ok(note) => self.read(note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let (open, now): (Vec<MediaId>, Time) = (self.open.keys().copied().collect(), self.now());
                    return open.into_iter().for_each(|session| self.end(session, now));
                }
            }
        }
    }

    /// Reads what has come while files were written; up to when their frames are due. While more waits, that is the time
    /// of what was read last: frames that are let go take nothing of it any more.
    fn catch_up(&mut self, queue: &Receiver<Note>) -> Time {
        for _ in 0..QUEUE + ORDERS {
            // Taken before the look: what comes behind it is no older than that.
            let now = self.now();
            match queue.try_recv() {
                Ok(note) => self.read(note),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return now,
            }
        }
        self.read_to
    }

    fn read(&mut self, note: Note) {
        match note {
            Note::Begin { session, name, at } => {
                self.read_to = self.read_to.max(at);
                self.begin(session, &name, at);
            }
            Note::Heard { session, tapped } => {
                self.books.waiting.fetch_sub(1, Relaxed);
                self.read_to = tapped.iter().fold(self.read_to, |to, tapped| to.max(tapped.at));
                if let Some(recording) = self.open.get_mut(&session) {
                    let missed = tapped.iter().filter(|tapped| !recording.timeline.hear(tapped)).count();
                    self.books.missed.fetch_add(missed as u64, Relaxed);
                }
            }
            Note::End { session, at } => {
                self.read_to = self.read_to.max(at);
                self.end(session, at);
                // Nobody asks how it ended any more.
                self.books.take(|ended| ended == session);
            }
        }
    }

    fn now(&self) -> Time {
        Time::from_micros(self.start.elapsed().as_micros() as u64)
    }

    fn begin(&mut self, session: MediaId, name: &str, begun: Time) {
        self.end(session, begun);
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

    /// Writes what is due by now, and ends what has come to a limit.
    fn write_all(&mut self, now: Time) {
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

    fn end(&mut self, session: MediaId, now: Time) {
        let Some(mut recording) = self.open.remove(&session) else { return };
        self.books.open.store(self.open.len(), Relaxed);
        recording.timeline.end(now);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use call::Side;

    use super::super::Tapped;
    use super::*;

    const CALL: MediaId = MediaId(1);
    /// As A-law, a sample that is not silent.
    const LOUD: u8 = 0xAA;
    /// Of a packet, as far as the sender's time stamps go.
    const PACKET: Duration = Duration::from_millis(1);
    const SAMPLES: usize = 8;

    fn begin(at: Time) -> Note {
        Note::Begin { session: CALL, name: "one.wav".into(), at }
    }

    fn end(at: Time) -> Note {
        Note::End { session: CALL, at }
    }

    /// A millisecond of A, so many of them after the beginning of the recording.
    fn heard(n: usize, begun: Time) -> Note {
        let n = u32::try_from(n).unwrap();
        let payload = vec![LOUD; SAMPLES].into();
        let (timestamp, at) = (n * SAMPLES as u32, begun + PACKET * n);
        let tapped = Tapped { side: Side::A, payload_type: 8, ssrc: 1, timestamp, at, payload };
        Note::Heard { session: CALL, tapped: vec![tapped] }
    }

    /// What a writer makes of these notes that comes to them all at once, `behind` the beginning of the clock, and whose disk
    /// is so slow that each round is over when the one before it is. The samples that are heard, all of them, and how many
    /// packets it missed.
    fn written(name: &str, behind: Duration, notes: Vec<Note>) -> (usize, usize, u64) {
        let directory = std::env::temp_dir().join(format!("drawbridge-{name}-{}", std::process::id()));
        let limits = RecordingLimits {
            directory: directory.clone(),
            max_bytes: 1 << 30,
            max_length: Duration::from_secs(3600),
            layout: Layout::Mixed,
        };
        fs::create_dir_all(&directory).unwrap();
        let books = Arc::new(Books::default());
        let start = Instant::now().checked_sub(behind).unwrap();
        let writer = Writer::new(limits, start, Arc::clone(&books)).unwrap();
        let writer = Writer { every: Duration::ZERO, ..writer };
        let (queue, waiting) = sync_channel(notes.len());
        books.waiting.store(notes.len(), Relaxed);
        notes.into_iter().for_each(|note| queue.send(note).unwrap());
        drop(queue);
        writer.run(&waiting);
        let mut wav = hound::WavReader::open(directory.join("one.wav")).unwrap();
        let samples: Vec<i16> = wav.samples().map(Result::unwrap).collect();
        fs::remove_dir_all(directory).unwrap();
        let loud = samples.iter().filter(|sample| **sample != 0).count();
        (loud, samples.len(), books.missed.load(Relaxed))
    }

    #[test]
    fn a_writer_that_is_seconds_behind_loses_nothing_that_waits_for_it() {
        let begun = Time::from_micros(500_000);
        let over = begun + PACKET * 3000;
        let notes = std::iter::once(begin(begun)).chain((0..2000).map(|n| heard(n, begun)));
        let notes = notes.chain([end(over)]).collect();
        assert_eq!(
            written("behind", Duration::from_secs(10), notes),
            (2000 * SAMPLES, 3000 * SAMPLES, 0),
            "two seconds of talk and one of silence"
        );
    }

    #[test]
    fn a_writer_for_which_more_waits_than_it_reads_at_once_lets_go_what_it_has_read() {
        let begun = Time::ZERO;
        let count = QUEUE + ORDERS + 3000;
        let notes = std::iter::once(begin(begun)).chain((0..count).map(|n| heard(n, begun)));
        let notes = notes.chain([end(begun + PACKET * count as u32)]).collect();
        assert_eq!(
            written("far-behind", Duration::from_secs(60), notes),
            (count * SAMPLES, count * SAMPLES, 0)
        );
    }

    #[test]
    fn a_packet_whose_frames_are_written_is_counted_as_missed() {
        let begun = Time::ZERO;
        let mut notes = vec![begin(begun), heard(0, begun), end(begun + PACKET)];
        // By now the writer has let go of everything up to here.
        let others = (0..QUEUE + ORDERS).map(|n| heard(n + 2000, begun));
        notes.splice(2..2, others.chain([heard(100, begun), heard(101, begun)]));
        let (_, _, missed) = written("missed", Duration::from_secs(60), notes);
        assert_eq!(missed, 2);
    }
}
