//! How far attempts are that the queue had no room for: kept until it has, in the order in which they were said.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::open::Open;

/// Of each attempt the last that was said, so there are no more than calls are up.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// By the number of the entry in the spool.
    entries: BTreeMap<u64, (Uuid, Open)>,
    numbers: HashMap<Uuid, u64>,
    /// How many there were when that was told last.
    told: usize,
}

impl Late {
    pub(crate) fn keep(&mut self, id: Uuid, number: u64, open: Open) {
        self.forget(id);
        self.entries.insert(number, (id, open));
        self.numbers.insert(id, number);
    }

    /// Something later was said of this attempt.
    pub(crate) fn forget(&mut self, id: Uuid) {
        if let Some(number) = self.numbers.remove(&id) {
            self.entries.remove(&number);
        }
    }

    pub(crate) fn take_first(&mut self) -> Option<(Uuid, Open)> {
        let (_, (id, open)) = self.entries.pop_first()?;
        self.numbers.remove(&id);
        Some((id, open))
    }

    /// How many there are, and were when this was asked last.
    pub(crate) fn counted(&mut self) -> (usize, usize) {
        let before = std::mem::replace(&mut self.told, self.entries.len());
        (self.told, before)
    }

    /// The spool has to keep its entries from this one on.
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(number, _)| *number)
    }
}
