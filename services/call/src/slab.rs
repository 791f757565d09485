//! Where calls, legs and transactions are kept, so that nothing about them changes unseen by the journal.
//!
//! A [`Slab`] hands out keys like the slot map that it is made of. Each thing in it belongs to a journal, that of the call
//! for which it was made. Whoever changes a thing goes through [`Slab::get_mut`], and that leaves a note; after an input
//! the notes say whose journals it belongs into. In a replay the keys are those of the record, so that the tags, branches
//! and tokens in which they stand are the same too.

use std::collections::{BTreeMap, VecDeque};

use slotmap::{Key, KeyData, SlotMap};
use smallvec::SmallVec;

use crate::journal::JournalKey;

/// Things with keys.
pub(crate) struct Slab<K: Key, V> {
    store: Store<K, Kept<V>>,
    notes: Notes<K>,
}

enum Store<K: Key, V> {
    /// Keys are made here.
    Live(SlotMap<K, V>),
    /// Keys are those of a record.
    Replayed { kept: BTreeMap<K, V>, keys: VecDeque<K>, invented: u32 },
}

struct Kept<V> {
    journal: JournalKey,
    value: V,
}

/// What an input did here.
pub(crate) struct Notes<K> {
    /// Whose things were changed.
    pub(crate) touched: Touched,
    /// What was made.
    pub(crate) created: SmallVec<[K; 4]>,
    /// Whose things were taken out.
    pub(crate) removed: Touched,
}

/// Journals, each once.
pub(crate) type Touched = SmallVec<[JournalKey; 2]>;

pub(crate) fn touch(touched: &mut Touched, journal: JournalKey) {
    if !journal.is_null() && !touched.contains(&journal) {
        touched.push(journal);
    }
}

impl<K: Key, V> Default for Slab<K, V> {
    fn default() -> Slab<K, V> {
        Slab { store: Store::Live(SlotMap::with_key()), notes: Notes::default() }
    }
}

impl<K> Default for Notes<K> {
    fn default() -> Notes<K> {
        Notes { touched: Touched::new(), created: SmallVec::new(), removed: Touched::new() }
    }
}

impl<K: Key> Notes<K> {
    /// The keys of what was made, as a journal has them.
    pub(crate) fn created_keys(&self) -> SmallVec<[KeyData; 4]> {
        self.created.iter().map(Key::data).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.touched.clear();
        self.created.clear();
        self.removed.clear();
    }
}

impl<K: Key, V> Slab<K, V> {
    /// A slab for a replay.
    pub(crate) fn replayed() -> Slab<K, V> {
        let store = Store::Replayed { kept: BTreeMap::new(), keys: VecDeque::new(), invented: 0 };
        Slab { store, notes: Notes::default() }
    }

    /// The keys of what the next input of a replay makes.
    pub(crate) fn expect(&mut self, recorded: &[u64]) {
        if let Store::Replayed { keys, .. } = &mut self.store {
            *keys = recorded.iter().map(|key| K::from(KeyData::from_ffi(*key))).collect();
        }
    }

    /// Whether as much was made as [`expect`](Slab::expect) said.
    pub(crate) fn is_as_expected(&self) -> bool {
        match &self.store {
            Store::Live(_) => true,
            Store::Replayed { keys, invented, .. } => keys.is_empty() && *invented == 0,
        }
    }

    pub(crate) fn notes(&mut self) -> &mut Notes<K> {
        &mut self.notes
    }

    /// What was made for a call belongs to its journal.
    pub(crate) fn give_created_to(&mut self, journal: JournalKey) {
        for key in std::mem::take(&mut self.notes.created) {
            if let Some(kept) = self.store.get_mut(key) {
                kept.journal = journal;
            }
        }
    }

    pub(crate) fn insert(&mut self, value: V) -> K {
        self.insert_with_key(|_| value)
    }

    pub(crate) fn insert_with_key(&mut self, make: impl FnOnce(K) -> V) -> K {
        match self.try_insert_with_key(|key| Ok::<V, std::convert::Infallible>(make(key))) {
            Ok(key) => key,
            Err(never) => match never {},
        }
    }

    pub(crate) fn try_insert_with_key<E>(&mut self, make: impl FnOnce(K) -> Result<V, E>) -> Result<K, E> {
        let keep = |value| Kept { journal: JournalKey::null(), value };
        let key = match &mut self.store {
            Store::Live(map) => map.try_insert_with_key(|key| make(key).map(keep))?,
            Store::Replayed { kept, keys, invented } => {
                // Without a recorded key the replay has left the record already; any key will do.
                let key = keys.pop_front().unwrap_or_else(|| {
                    *invented += 1;
                    K::from(KeyData::from_ffi(u64::from(u32::MAX - *invented) | 1 << 32))
                });
                kept.insert(key, keep(make(key)?));
                key
            }
        };
        self.notes.created.push(key);
        Ok(key)
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.store.get(key).map(|kept| &kept.value)
    }

    /// To change it, which is noted.
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let kept = self.store.get_mut(key)?;
        touch(&mut self.notes.touched, kept.journal);
        Some(&mut kept.value)
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let kept = match &mut self.store {
            Store::Live(map) => map.remove(key),
            Store::Replayed { kept, .. } => kept.remove(&key),
        }?;
        touch(&mut self.notes.touched, kept.journal);
        if !kept.journal.is_null() {
            self.notes.removed.push(kept.journal);
        }
        Some(kept.value)
    }

    pub(crate) fn contains_key(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        match &self.store {
            Store::Live(map) => map.len(),
            Store::Replayed { kept, .. } => kept.len(),
        }
    }

    /// All of them, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let (live, replayed) = match &self.store {
            Store::Live(map) => (Some(map.iter()), None),
            Store::Replayed { kept, .. } => (None, Some(kept.iter().map(|(key, kept)| (*key, kept)))),
        };
        let all = live.into_iter().flatten().chain(replayed.into_iter().flatten());
        all.map(|(key, kept)| (key, &kept.value))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.iter().map(|(key, _)| key)
    }
}

impl<K: Key, V> Store<K, V> {
    fn get(&self, key: K) -> Option<&V> {
        match self {
            Store::Live(map) => map.get(key),
            Store::Replayed { kept, .. } => kept.get(&key),
        }
    }

    fn get_mut(&mut self, key: K) -> Option<&mut V> {
        match self {
            Store::Live(map) => map.get_mut(key),
            Store::Replayed { kept, .. } => kept.get_mut(&key),
        }
    }
}
