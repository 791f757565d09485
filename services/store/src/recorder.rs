//! The hand-over from the shards: two bounded queues that a shard never waits for.

use std::sync::Arc;

use call::{BindingChange, CdrFact};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::cdr;
use crate::health::Shared;

/// A shard's way into the journal. Clones share the same queues.
///
/// Both methods return at once and never fail from the shard's point of view. A record that finds the queue full (the
/// disk has not taken anything for a long time) is written to the log as one line of JSON and counted in
/// [`JournalHealth::lost`](crate::JournalHealth::lost).
#[derive(Clone, Debug)]
pub struct Recorder {
    pub(crate) records: Sender<CdrFact>,
    pub(crate) bindings: Sender<BindingChange>,
    pub(crate) shared: Arc<Shared>,
}

impl Recorder {
    /// Takes the record of an attempt.
    pub fn cdr(&mut self, fact: CdrFact) {
        match self.records.try_send(fact) {
            Ok(()) => {}
            Err(TrySendError::Full(fact)) => self.shared.lost(&fact, "the journal's queue is full"),
            Err(TrySendError::Closed(fact)) => self.shared.lost(&fact, "the journal is closed"),
        }
    }

    /// Takes a registration's change. One that finds the queue full is only counted: the phone will refresh it.
    pub fn binding(&mut self, change: &BindingChange) {
        if self.bindings.try_send(change.clone()).is_err() {
            self.shared.binding_lost();
        }
    }

    /// How many records wait in the queue.
    pub(crate) fn queued(&self) -> usize {
        self.records.max_capacity() - self.records.capacity()
    }
}

impl Shared {
    /// Says that a record could not be kept: the log is the only place left for it.
    pub(crate) fn lost(&self, fact: &CdrFact, why: &'static str) {
        self.count_lost();
        tracing::error!(why, record = %cdr::json(&self.node, fact), "call record not kept");
    }
}
