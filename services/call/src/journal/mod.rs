//! The call journal: every input of a call, with everything that the call looked at outside of itself.
//!
//! A [`Journal`] is the whole truth about a call: handed to a fresh Core ([`Replay`]) it gives the same outputs, byte for
//! byte. Recording is on for every call. `stimulus` is what can happen to a call, `tape` what an input finds outside of
//! it (random numbers, who the sender is, the answer to a challenge), `mask` hides the keys of media, `step` is one entry; `Journals` keeps those of calls in
//! progress and a ring of those that are over, all of it bounded. What is never in a journal: passwords, keys
//! of media, and the seed that the tags of other calls come from.

mod bytes;
mod mask;
mod print;
mod replay;
mod step;
mod stimulus;
mod tape;

use std::collections::VecDeque;
use std::sync::Arc;

use routing::Snapshot;
use slotmap::{KeyData, SlotMap, new_key_type};
use smallvec::SmallVec;
use uuid::Uuid;

use self::bytes::Reader;
use crate::settings::{JournalLimits, Settings};
use crate::slab::Touched;

pub(crate) use print::print;
pub(crate) use replay::call_key;
pub use replay::{Astray, Difference, Replay};
pub use step::{Keys, Step};
pub use stimulus::{Ordered, Owner, Stimulus};
pub(crate) use stimulus::{Reachable, put_contact, take_contacts};
pub use tape::Fact;
pub(crate) use tape::Tape;

new_key_type! {
    /// A journal. Everything that a call is made of knows its journal by this.
    pub(crate) struct JournalKey;
}

/// The record of a call, or of calls that met.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The call, and those that it met: a transfer joins two.
    pub calls: SmallVec<[Uuid; 1]>,
    /// What the Core knew of its surroundings. No secrets: the seeds are zero, no users are named.
    pub settings: Settings,
    /// The configurations in force, by [`Step::generation`].
    pub snapshots: SmallVec<[(u32, Arc<Snapshot>); 1]>,
    /// Why the end is missing, if it is.
    pub cut: Option<&'static str>,
    entries: Vec<u8>,
}

impl Journal {
    /// The inputs, in order.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let mut rest = Reader(&self.entries);
        std::iter::from_fn(move || Step::read(step::split(&mut rest)?.1))
    }
}

/// A journal that is being written, or was.
struct Record {
    calls: SmallVec<[Uuid; 1]>,
    /// How many of them are not over.
    open: usize,
    /// Whether it is in [`Journals::finished`].
    finished: bool,
    snapshots: SmallVec<[(u32, Arc<Snapshot>); 1]>,
    cut: Option<&'static str>,
    entries: Vec<u8>,
    /// Journals that this one has taken in.
    former: SmallVec<[JournalKey; 1]>,
}

enum Held {
    Record(Box<Record>),
    /// The calls met, and are told together.
    In(JournalKey),
    /// The journal of all calls of which none is kept.
    Nothing,
}

/// All journals of one Core.
pub(crate) struct Journals {
    limits: JournalLimits,
    held: SlotMap<JournalKey, Held>,
    /// [`Held::Nothing`].
    nothing: JournalKey,
    /// Of calls that are over, the oldest first.
    finished: VecDeque<JournalKey>,
    /// What all of them take.
    size: usize,
    order: u64,
    stimulus: Vec<u8>,
}

/// What an input did, as the books of the Core say.
pub(crate) struct Deed<'a> {
    pub(crate) head: Mark,
    pub(crate) message: &'a [u8],
    pub(crate) touched: Touched,
    /// Calls that began.
    pub(crate) begun: SmallVec<[Uuid; 1]>,
    /// Journals of calls that ended.
    pub(crate) ended: Touched,
    pub(crate) keys: [&'a [KeyData]; 4],
    pub(crate) facts: &'a [u8],
    pub(crate) print: u64,
    pub(crate) snapshot: &'a Arc<Snapshot>,
}

/// How things stood before an input.
pub(crate) struct Mark {
    pub(crate) now: crate::io::Now,
    pub(crate) generation: u32,
    pub(crate) draining: bool,
    pub(crate) last_query: u64,
    pub(crate) outputs: usize,
}

impl Journals {
    pub(crate) fn new(limits: JournalLimits) -> Journals {
        let mut held = SlotMap::with_key();
        let nothing = held.insert(Held::Nothing);
        let (finished, stimulus) = (VecDeque::new(), Vec::new());
        Journals { limits, held, nothing, finished, size: 0, order: 0, stimulus }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.limits.calls > 0
    }

    /// An input begins. What it is must be written down now, before it is used up.
    pub(crate) fn begin(&mut self, stimulus: &Stimulus<'_>) {
        self.stimulus.clear();
        stimulus::put(stimulus, &mut self.stimulus);
    }

    /// An input has been handled, and concerns a call; says whose things are what was made for it.
    pub(crate) fn add(&mut self, deed: Deed<'_>) -> JournalKey {
        self.order += 1;
        let Some(key) = self.journal_of(&deed) else { return self.nothing };
        let head = step::Head {
            order: self.order,
            now: deed.head.now,
            generation: deed.head.generation,
            draining: deed.head.draining,
            last_query: deed.head.last_query,
            print: deed.print,
        };
        let keys: usize = deed.keys.iter().map(|keys| keys.len()).sum();
        let length = step::length(self.stimulus.len(), deed.message.len(), keys, deed.facts.len());
        let Some(Held::Record(record)) = self.held.get_mut(key) else { return self.nothing };
        record.calls.extend(deed.begun.iter().copied());
        record.open += deed.begun.len();
        if record.finished && record.open > 0 {
            record.finished = false;
            self.finished.retain(|finished| *finished != key);
        }
        if record.entries.len() + length > self.limits.max_bytes {
            record.cut.get_or_insert("it is as long as [journal] max_kb allows");
        }
        if record.cut.is_none() {
            if record.snapshots.iter().all(|(known, _)| *known != head.generation) {
                record.snapshots.push((head.generation, deed.snapshot.clone()));
            }
            let before = record.entries.capacity();
            if before - record.entries.len() < length {
                // By halves rather than twice the size: thousands of these are held at once.
                record.entries.reserve_exact(length.max(before / 2));
            }
            let begin = record.entries.len();
            step::put(&mut record.entries, &head, &self.stimulus, deed.message, deed.keys, deed.facts);
            mask::mask(record.entries.get_mut(begin..).unwrap_or_default());
            self.size += record.entries.capacity() - before;
        }
        for ended in &deed.ended {
            if self.resolve(*ended) == Some(key) {
                self.end(key);
            }
        }
        self.make_room(key);
        key
    }

    /// The journal that an input belongs into.
    fn journal_of(&mut self, deed: &Deed<'_>) -> Option<JournalKey> {
        if deed.touched.is_empty() {
            let room = self.size < self.limits.memory || !self.finished.is_empty();
            return room.then(|| self.held.insert(Held::Record(Box::new(Record::new()))));
        }
        let mut of: Touched = SmallVec::new();
        let mut strange = false;
        for touched in &deed.touched {
            match self.resolve(*touched) {
                Some(key) => crate::slab::touch(&mut of, key),
                None => strange = true,
            }
        }
        let (&key, others) = of.split_first()?;
        for &other in others {
            self.take_in(key, other);
        }
        if let Some(Held::Record(record)) = self.held.get_mut(key).filter(|_| strange) {
            record.cut.get_or_insert("it met a call of which no journal is kept");
        }
        Some(key)
    }

    fn resolve(&self, key: JournalKey) -> Option<JournalKey> {
        match self.held.get(key)? {
            Held::Record(_) => Some(key),
            Held::In(key) => Some(*key),
            Held::Nothing => None,
        }
    }

    /// Two calls met: one journal from now on, and for what went before.
    fn take_in(&mut self, key: JournalKey, other: JournalKey) {
        let Some(slot) = self.held.get_mut(other) else { return };
        let Held::Record(taken) = std::mem::replace(slot, Held::In(key)) else { return };
        for former in &taken.former {
            if let Some(slot) = self.held.get_mut(*former) {
                *slot = Held::In(key);
            }
        }
        self.finished.retain(|finished| *finished != other);
        self.size -= taken.entries.capacity();
        let Some(Held::Record(record)) = self.held.get_mut(key) else { return };
        self.size -= record.entries.capacity();
        record.take_in(*taken, other);
        self.size += record.entries.capacity();
    }

    fn end(&mut self, key: JournalKey) {
        if let Some(Held::Record(record)) = self.held.get_mut(key) {
            record.open = record.open.saturating_sub(1);
            if record.open == 0 && !record.finished {
                record.finished = true;
                self.finished.push_back(key);
            }
        }
    }

    /// Drops the oldest of calls that are over, and where that is not enough ends the journal that grew.
    fn make_room(&mut self, grown: JournalKey) {
        while self.finished.len() > self.limits.calls || self.size > self.limits.memory {
            let Some(oldest) = self.finished.pop_front() else {
                if let Some(Held::Record(record)) = self.held.get_mut(grown) {
                    self.size -= record.entries.capacity();
                    record.entries = Vec::new();
                    record.cut = Some("[journal] memory_mb was used up");
                }
                return;
            };
            if let Some(Held::Record(dropped)) = self.held.remove(oldest) {
                self.size -= dropped.entries.capacity();
                for former in dropped.former {
                    self.held.remove(former);
                }
            }
        }
    }

    /// The journal of a call, in progress or over.
    pub(crate) fn of(&self, call: Uuid, settings: &Settings) -> Option<Box<Journal>> {
        let record = self.held.values().find_map(|held| match held {
            Held::Record(record) => record.calls.contains(&call).then_some(record),
            Held::In(_) | Held::Nothing => None,
        })?;
        Some(Box::new(Journal {
            calls: record.calls.clone(),
            settings: settings.without_secrets(),
            snapshots: record.snapshots.clone(),
            cut: record.cut,
            entries: record.entries.clone(),
        }))
    }
}

impl Record {
    fn new() -> Record {
        Record {
            calls: SmallVec::new(),
            open: 0,
            finished: false,
            snapshots: SmallVec::new(),
            cut: None,
            entries: Vec::new(),
            former: SmallVec::new(),
        }
    }

    fn take_in(&mut self, other: Record, key: JournalKey) {
        self.calls.extend(other.calls);
        self.open += other.open;
        for (generation, snapshot) in other.snapshots {
            if self.snapshots.iter().all(|(known, _)| *known != generation) {
                self.snapshots.push((generation, snapshot));
            }
        }
        self.cut = self.cut.or(other.cut);
        self.former.push(key);
        self.former.extend(other.former);
        let mut steps = Vec::new();
        for entries in [&self.entries, &other.entries] {
            let mut rest = Reader(entries);
            steps.extend(std::iter::from_fn(|| step::split(&mut rest)));
        }
        steps.sort_by_key(|(order, _)| *order);
        self.entries = steps.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>().concat();
    }
}
