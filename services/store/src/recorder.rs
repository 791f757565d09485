//! The hand-over from the shards: two bounded queues that a shard never waits for.

use std::borrow::Borrow;
use std::sync::Arc;

use call::{BindingChange, CdrFact};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use uuid::Uuid;

use crate::cdr;
use crate::encoded::{decode, put_said};
use crate::health::Shared;
use crate::late::Late;
use crate::open::Open;
use crate::spool::{Kind, Mark, Spool};
use crate::uptime::Uptime;

/// A shard's way into the journal. All share the same queues; each has a spool of its own.
///
/// No method waits, and none fails from the shard's point of view. A record that finds the queue full (the disk has not
/// taken anything for a long time) is written to the log as one line of JSON and counted in
/// [`JournalHealth::lost`](crate::JournalHealth::lost).
#[derive(Debug)]
pub struct Recorder {
    pub(crate) records: Sender<Handed>,
    pub(crate) bindings: Sender<BindingChange>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) spool: Spool,
    pub(crate) late: Late,
    /// How far the attempt is that was spoken of last, in this batch.
    pub(crate) standing: Option<Standing>,
    /// Of the last record; kept for its room.
    pub(crate) record: Vec<u8>,
}

/// How far an attempt is, and with what another process can go on with its call.
#[derive(Debug)]
pub(crate) struct Standing {
    fact: Box<CdrFact>,
    state: Option<Box<[u8]>>,
    said: Option<Uptime>,
}

/// What a shard hands over.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) what: What,
    pub(crate) mark: Mark,
}

#[derive(Debug)]
pub(crate) enum What {
    /// How far an attempt is that goes on.
    Open { id: Uuid, open: Open },
    /// The record of an attempt.
    Closed { id: Uuid, record: Box<[u8]> },
}

impl Recorder {
    /// Takes how far an attempt is that goes on, in place of what was said of it before, and with what another process can go
    /// on with its call, if one can. Records that are whole come first: while the queue is half full these wait in the spool and
    /// here, which is counted in [`JournalHealth::unopened`](crate::JournalHealth::unopened), and are handed over when there is room.
    /// It leaves with the next [`flush`](Recorder::flush) at the latest: what one batch of a shard's says of an attempt again and again
    /// is written once.
    pub fn open_cdr(&mut self, fact: Box<CdrFact>, state: Option<Box<[u8]>>) {
        if self.standing.as_ref().is_some_and(|standing| standing.fact.id != fact.id) {
            self.hand_standing();
        }
        self.standing = Some(Standing { fact, state, said: Uptime::now() });
    }

    fn hand_standing(&mut self) {
        if let Some(Standing { fact, state, said }) = self.standing.take() {
            let open = Open { record: self.encoded(&fact, said), state };
            self.late.forget(fact.id);
            self.hand_open(fact.id, open);
        }
    }

    fn hand_open(&mut self, id: Uuid, open: Open) {
        let mark = match &open.state {
            Some(state) => self.spool.push_kept(&open.record, state),
            None => self.spool.push(Kind::Open, &open.record),
        };
        self.shared.opened();
        if !self.has_room() {
            self.shared.count_unopened();
            return self.late.keep(id, mark.number, open);
        }
        match self.records.try_send(Handed { what: What::Open { id, open }, mark }) {
            Ok(()) => self.shared.handed(),
            // Other shards have filled it since, or it is closed.
            Err(TrySendError::Full(handed) | TrySendError::Closed(handed)) => {
                self.shared.count_unopened();
                if let What::Open { id, open } = handed.what {
                    self.late.keep(id, mark.number, open);
                }
            }
        }
    }

    /// Half of the queue is for records that are whole.
    fn has_room(&self) -> bool {
        self.records.capacity() * 2 >= self.records.max_capacity()
    }

    /// Takes the record of an attempt.
    pub fn cdr(&mut self, fact: impl Borrow<CdrFact>) {
        let fact = fact.borrow();
        // Its record says more than how far it was.
        self.standing.take_if(|standing| standing.fact.id == fact.id);
        self.hand_standing();
        let record = self.encoded(fact, None);
        self.late.forget(fact.id);
        let mark = self.spool.push(Kind::Closed, &record);
        match self.records.try_send(Handed { what: What::Closed { id: fact.id, record }, mark }) {
            Ok(()) => {
                self.spool.is_over(fact.id, Some(fact.ended_at.0));
                self.shared.handed();
            }
            Err(error) => {
                self.spool.is_over(fact.id, None);
                let (handed, why) = match error {
                    TrySendError::Full(handed) => (handed, "the journal's queue is full"),
                    TrySendError::Closed(handed) => (handed, "the journal is closed"),
                };
                self.shared.lost(handed.what, why);
            }
        }
    }

    fn encoded(&mut self, fact: &CdrFact, said: Option<Uptime>) -> Box<[u8]> {
        self.record.clear();
        cdr::encode(&self.shared.node, fact, &mut self.record);
        if let Some(said) = said {
            put_said(said, &mut self.record);
        }
        self.record.as_slice().into()
    }

    /// What was taken is where the end of the process does not reach it when this returns.
    pub fn flush(&mut self) {
        self.hand_standing();
        while self.has_room()
            && let Some((id, open)) = self.late.take_first()
        {
            self.hand_open(id, open);
        }
        // What was held up to now is let go when it is written anew, and not before: the file that has it may be emptied here.
        self.spool.flush();
        self.spool.hold(self.late.first());
        let (late, before) = self.late.counted();
        if late != before {
            self.shared.late(late, before);
        }
    }

    /// Takes a registration's change. One that finds the queue full is only counted: the phone will refresh it.
    pub fn binding(&mut self, change: &BindingChange) {
        if self.bindings.try_send(change.clone()).is_err() {
            self.shared.binding_lost();
        }
    }
}

impl Shared {
    /// Says that a record could not be kept: the log is the only place left for it.
    pub(crate) fn lost(&self, what: What, why: &'static str) {
        match what {
            What::Closed { id, record } => {
                self.count_lost(id);
                let record = cdr::json(decode(&record).unwrap_or_default());
                tracing::error!(why, record, "call record not kept");
            }
            What::Open { .. } => self.count_unopened(),
        }
    }
}
