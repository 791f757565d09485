//! Attempts that are not over, in the journal: written when they begin and change, taken away with their record.

use std::collections::{BTreeMap, HashSet};

use rusqlite::Connection;
use uuid::Uuid;

/// An attempt that is not over.
#[derive(Debug)]
pub(crate) struct Open {
    /// What its record would say if the process died now.
    pub(crate) record: Box<[u8]>,
    /// With which another process can go on.
    pub(crate) state: Option<Box<[u8]>>,
}

/// Which attempts have a row.
pub(crate) struct OpenRecords {
    kept: HashSet<Uuid>,
    /// Attempts that are over and have no record, while it may still come that they are open.
    over: HashSet<Uuid>,
    /// With so many entries more.
    over_for: usize,
}

/// What one commit changes. An attempt that begins and ends within it leaves no trace here.
#[derive(Default)]
pub(crate) struct Changes {
    written: BTreeMap<Uuid, Open>,
    gone: Vec<Uuid>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.written.is_empty() && self.gone.is_empty()
    }

    pub(crate) fn open(&mut self, id: Uuid, open: Open) {
        self.written.insert(id, open);
    }

    pub(crate) fn clear(&mut self) {
        self.written.clear();
        self.gone.clear();
    }

    pub(crate) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut write = connection.prepare_cached(
            "INSERT INTO open_cdr (id, record, state) VALUES (?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET record = excluded.record, state = excluded.state",
        )?;
        for (id, Open { record, state }) in &self.written {
            write.execute((&id.as_bytes()[..], &record[..], state.as_deref()))?;
        }
        let mut delete = connection.prepare_cached("DELETE FROM open_cdr WHERE id = ?")?;
        for id in &self.gone {
            delete.execute([&id.as_bytes()[..]])?;
        }
        Ok(())
    }
}

impl OpenRecords {
    /// `kept`: those of the process before this one that go on.
    pub(crate) fn new(kept: HashSet<Uuid>) -> OpenRecords {
        OpenRecords { kept, over: HashSet::new(), over_for: 0 }
    }

    /// This attempt's record is in the batch.
    pub(crate) fn closed(&self, id: Uuid, changes: &mut Changes) {
        changes.written.remove(&id);
        if self.kept.contains(&id) {
            changes.gone.push(id);
        }
    }

    /// The records of these attempts were lost. What was said of them before is among the next `waiting` entries.
    pub(crate) fn over(&mut self, attempts: Vec<Uuid>, waiting: usize, changes: &mut Changes) {
        for attempt in attempts {
            self.closed(attempt, changes);
            if waiting > 0 {
                self.over.insert(attempt);
                self.over_for = waiting;
            }
        }
    }

    pub(crate) fn is_over(&self, attempt: Uuid) -> bool {
        self.over.contains(&attempt)
    }

    /// One more entry was taken.
    pub(crate) fn taken(&mut self) {
        self.over_for = self.over_for.saturating_sub(1);
        if self.over_for == 0 && !self.over.is_empty() {
            self.over.clear();
        }
    }

    /// How many there are once the changes are committed.
    pub(crate) fn count(&self, changes: &Changes) -> usize {
        let begun = changes.written.keys().filter(|id| !self.kept.contains(id)).count();
        (self.kept.len() + begun).saturating_sub(changes.gone.len())
    }

    /// The changes are committed.
    pub(crate) fn saved(&mut self, changes: &Changes) {
        self.kept.extend(changes.written.keys());
        for id in &changes.gone {
            self.kept.remove(id);
        }
    }
}
