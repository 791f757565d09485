//! The group commit: one task that writes everything that is written.
//!
//! It sleeps until something is handed over, waits a moment for more, and commits all of it in one transaction. A
//! commit that fails is tried again with the same batch until it succeeds; meanwhile the queues fill, and what finds
//! them full goes to the log. Nothing is forwarded before it is committed here.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use call::BindingChange;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::JoinError;
use uuid::Uuid;

use crate::age::Age;
use crate::backoff::Backoff;
use crate::commit::{Batch, Journal};
use crate::error::CommitError;
use crate::health::Shared;
use crate::journal;
use crate::open::OpenRecords;
use crate::recorder::{Handed, What};
use crate::sink::Progress;
use crate::spool::{LastSign, Mark};

/// The most records of one transaction: bounds the memory of a batch and the time that a listing waits.
const MAX_BATCH: usize = 2048;

/// How often sinks' positions are kept when nothing else is written.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How often expired registrations are dropped.
const EXPIRY: Duration = Duration::from_secs(60);

/// The fewest records that are dropped at once.
const LEAST_PURGED: u32 = 64;

/// How soon what is too old is looked for again when it could not be dropped.
const PURGE_AGAIN: Duration = Duration::from_secs(5);

/// How long a closing store keeps trying a commit that fails.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// How far the journal is committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Committed {
    /// The last record.
    pub(crate) seq: i64,
    /// No more will come.
    pub(crate) last: bool,
}

/// What the writer lives on.
pub(crate) struct Inputs {
    pub(crate) path: PathBuf,
    /// Lent to whoever waits for the disk; nobody else has it at the same time.
    pub(crate) journal: Arc<Mutex<Journal>>,
    pub(crate) gather: Duration,
    pub(crate) age: Arc<Age>,
    pub(crate) shared: Arc<Shared>,
    /// Attempts of the process before this one that go on.
    pub(crate) open: HashSet<Uuid>,
    pub(crate) records: Receiver<Handed>,
    pub(crate) bindings: Receiver<BindingChange>,
    pub(crate) progress: Receiver<Progress>,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) committed: watch::Sender<Committed>,
}

pub(crate) struct Writer {
    inputs: Inputs,
    open: OpenRecords,
    /// When what is too old is looked for again.
    purge_at: Instant,
    /// Records that are dropped at once. Fewer where there was no room on the disk for what that writes.
    purge_most: u32,
    /// What every sink had before the batch was gathered.
    forwarded_to: i64,
    /// When a closing store gives up, once it has found that a commit fails.
    give_up_at: Option<Instant>,
}

/// What woke the writer.
enum Wake {
    Handed,
    Housekeeping,
    Closing,
}

impl Writer {
    pub(crate) fn new(mut inputs: Inputs) -> Writer {
        let open = OpenRecords::new(std::mem::take(&mut inputs.open));
        Writer {
            inputs,
            open,
            purge_at: Instant::now(),
            purge_most: journal::MOST_DROPPED,
            forwarded_to: 0,
            give_up_at: None,
        }
    }

    /// Runs until the store closes and everything is written.
    pub(crate) async fn run(mut self) {
        let mut batch = Batch::default();
        loop {
            match self.wake(&mut batch).await {
                Wake::Handed => {
                    // What would fill a transaction already waits for no more: at such a rate it would fall behind.
                    if self.inputs.records.len() < MAX_BATCH {
                        let closing = self.inputs.closing.wait_for(|closing| *closing);
                        // Elapsed is the ordinary case; a closing store waits for no more either.
                        let _ = tokio::time::timeout(self.inputs.gather, closing).await;
                    }
                    self.drain(&mut batch);
                    self.commit(&mut batch).await;
                }
                Wake::Housekeeping => {
                    self.drain(&mut batch);
                    self.commit(&mut batch).await;
                }
                Wake::Closing => break,
            }
            // A store that closes writes what there is, and does nothing else.
            if Instant::now() >= self.purge_at && !*self.inputs.closing.borrow() {
                self.purge().await;
            }
        }
        self.finish(batch).await;
    }

    async fn wake(&mut self, batch: &mut Batch) -> Wake {
        let inputs = &mut self.inputs;
        tokio::select! {
            _ = inputs.closing.wait_for(|closing| *closing) => Wake::Closing,
            Some(record) = inputs.records.recv() => {
                batch.take(record, &mut self.open);
                Wake::Handed
            }
            Some(binding) = inputs.bindings.recv() => {
                batch.bindings.push(binding);
                Wake::Handed
            }
            () = tokio::time::sleep(HOUSEKEEPING) => Wake::Housekeeping,
        }
    }

    /// Takes what is waiting, as much as one transaction may carry.
    fn drain(&mut self, batch: &mut Batch) {
        // What a sink has refused of it is in `progress` already.
        self.forwarded_to = self.inputs.shared.forwarded_to();
        // What was said of them before is in the queue at the latest now.
        let over = self.inputs.shared.take_over();
        self.open.over(over, self.inputs.records.len(), &mut batch.open);
        batch.lost += self.inputs.shared.take_lost();
        while batch.handed < MAX_BATCH
            && let Ok(record) = self.inputs.records.try_recv()
        {
            batch.take(record, &mut self.open);
        }
        self.inputs.shared.open(self.open.count(&batch.open));
        while batch.bindings.len() < MAX_BATCH
            && let Ok(binding) = self.inputs.bindings.try_recv()
        {
            batch.bindings.push(binding);
        }
        // Positions ride along with records: alone they are not worth an fsync, a repeated row is dropped by its key.
        while let Ok(progress) = self.inputs.progress.try_recv() {
            batch.progress.push(progress);
        }
    }

    /// Everything that was handed over is written, the forwarder told, and its last position kept.
    async fn finish(&mut self, mut batch: Batch) {
        self.inputs.records.close();
        self.inputs.bindings.close();
        loop {
            self.drain(&mut batch);
            if batch.is_empty() {
                break;
            }
            self.commit(&mut batch).await;
        }
        self.inputs.committed.send_modify(|committed| committed.last = true);
        while let Some(progress) = self.inputs.progress.recv().await {
            batch.progress.push(progress);
        }
        self.commit(&mut batch).await;
        self.at_the_disk(Journal::close).await;
    }

    /// Writes the batch and empties it, however long that takes; gives up only when the store is closing.
    async fn commit(&mut self, batch: &mut Batch) {
        if batch.is_empty() && !lock(&self.inputs.journal).has_later() {
            return self.settle(batch);
        }
        self.inputs.shared.in_flight(batch.records.len());
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            if self.give_up_at.is_some_and(|at| Instant::now() >= at) {
                return self.give_up(batch);
            }
            let taken = std::mem::take(batch);
            let work = move |journal: &mut Journal| (journal.commit(&taken), journal.has_later(), taken);
            let (tried, has_later, taken) = self.at_the_disk(work).await;
            *batch = taken;
            self.inputs.shared.is_uncommitted(has_later);
            match tried {
                Ok(seq) => return self.committed(batch, seq),
                Err(error) => self.failed(&error, batch),
            }
            if *self.inputs.closing.borrow() {
                self.give_up_at.get_or_insert_with(|| Instant::now() + LAST_TRIES);
                tokio::time::sleep(backoff.wait().min(Duration::from_millis(500))).await;
            } else {
                let closing = self.inputs.closing.wait_for(|closing| *closing);
                let _ = tokio::time::timeout(backoff.wait(), closing).await;
            }
        }
    }

    /// Drops what is too old. In a transaction of its own and tried once: a disk that has no room for what that writes may
    /// have room for records, which wait for nothing.
    async fn purge(&mut self) {
        let before = self.inputs.age.before(LastSign::now(0));
        let look = self.inputs.age.to_write();
        let (to, most) = (self.forwarded_to, self.purge_most);
        let tried = self.at_the_disk(move |journal| journal.purge(look, before, to, most)).await;
        if let (Ok(_), Some(look)) = (&tried, look) {
            self.inputs.age.written(look);
        }
        self.purge_at = Instant::now()
            + match tried {
                Ok(is_done) => {
                    self.purge_most = most.saturating_mul(2).min(journal::MOST_DROPPED);
                    if is_done { EXPIRY } else { HOUSEKEEPING }
                }
                Err(error) => {
                    tracing::warn!(%error, "what is too old could not be dropped from the journal");
                    self.purge_most = (self.purge_most / 4).max(LEAST_PURGED);
                    PURGE_AGAIN
                }
            };
    }

    /// Has somebody do this who may wait for the disk.
    async fn at_the_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Journal) -> T + Send + 'static,
    ) -> T {
        let journal = Arc::clone(&self.inputs.journal);
        self.inputs.shared.commits(Some(Instant::now()));
        let done = tokio::task::spawn_blocking(move || work(&mut lock(&journal))).await;
        self.inputs.shared.commits(None);
        match done.map_err(JoinError::try_into_panic) {
            Ok(done) => done,
            // It goes on here, where whoever waits for the writer hears of it.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime ends, and the writer with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }

    fn committed(&mut self, batch: &mut Batch, seq: Option<i64>) {
        let shared = &self.inputs.shared;
        if shared.journal_error(None) {
            tracing::info!("the journal takes records again");
        }
        self.give_up_at = None;
        let seq = seq.unwrap_or(0).max(self.inputs.committed.borrow().seq);
        shared.committed(batch.records.len(), seq);
        self.inputs.committed.send_if_modified(|committed| std::mem::replace(&mut committed.seq, seq) != seq);
        self.open.saved(&batch.open);
        self.settle(batch);
    }

    /// Nothing of the batch is waited for any more, also where there was nothing in it to write.
    fn settle(&self, batch: &mut Batch) {
        if batch.handed > 0 {
            self.inputs.shared.settled(batch.handed);
        }
        for (spool, number) in &batch.marks {
            self.inputs.shared.marks.committed(Mark { spool: *spool, number: *number });
        }
        batch.clear();
    }

    fn failed(&self, error: &CommitError, batch: &Batch) {
        if self.inputs.shared.journal_error(Some(error.to_string())) {
            let path = self.inputs.path.display();
            tracing::error!(%error, %path, waiting = batch.records.len(), "the journal takes no records; they wait in memory");
        }
    }

    fn give_up(&self, batch: &mut Batch) {
        for (id, record) in batch.records.drain(..) {
            self.inputs
                .shared
                .lost(What::Closed { id, record }, "the journal took nothing while the process was ending");
        }
        self.inputs.shared.settled(batch.handed);
        batch.clear();
        // Who ends does not wait for a disk a second time, to count them.
        self.inputs.shared.take_lost();
        self.inputs.shared.in_flight(0);
    }
}

/// Whoever panicked while having it left no half of a transaction: that is rolled back.
fn lock(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Microseconds since 1970.
pub(crate) fn utc_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
