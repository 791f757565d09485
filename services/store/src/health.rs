//! How the journal and PostgreSQL are doing, readable at any time without asking either.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uuid::Uuid;

use crate::spool::Marks;

/// The most attempts without a record that the writer is told of at once.
const MOST_OVER: usize = 1 << 20;

/// A commit that takes longer than this one, which no lock on the file can make so long, is one that a disk holds up.
const SLOW_COMMIT: Duration = Duration::from_secs(5);

/// The store's condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The local journal.
    pub journal: JournalHealth,
    /// PostgreSQL, when configured.
    pub postgres: Option<SinkHealth>,
    /// The file of JSON lines, when configured.
    pub lines: Option<SinkHealth>,
    /// The webhook, when configured.
    pub webhook: Option<SinkHealth>,
}

/// The local journal's condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalHealth {
    /// Why the last commit failed, or that it takes too long; absent when neither is so. Records wait in memory meanwhile.
    pub error: Option<String>,
    /// Records handed over and not yet committed.
    pub pending: u64,
    /// Records committed since start.
    pub committed: u64,
    /// Records that could not be kept and went to the log instead, since start.
    pub lost: u64,
    /// Attempts that are not over, of which the journal knows or will know with the next commit.
    pub open: u64,
    /// How often how far an attempt was waited in the spool because the queue was half full, since start.
    pub unopened: u64,
    /// Attempts of which that is so now.
    pub late: u64,
    /// Records that the spool did not take, since start. Should the process die before they are committed, they are lost.
    pub unspooled: u64,
    /// Registration changes that could not be kept, since start.
    pub bindings_lost: u64,
}

/// The condition of something that gets every record which the journal has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkHealth {
    /// Whether it took records, or said that it would, when it was last asked.
    pub connected: bool,
    /// Why not, or why the last batch failed.
    pub error: Option<String>,
    /// Records in the journal that it does not have yet.
    pub behind: u64,
    /// Records forwarded since start.
    pub forwarded: u64,
    /// Records that it refuses as they are. They stay in the journal and are offered again at each connection.
    pub refused: u64,
}

/// Counters that the tasks write and [`Health`] is read from.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Name of this box, in every record.
    pub(crate) node: String,
    in_flight: AtomicUsize,
    committed: AtomicU64,
    lost: AtomicU64,
    /// Of these, those that the journal does not count yet.
    lost_uncounted: AtomicI64,
    bindings_lost: AtomicU64,
    open: AtomicUsize,
    unopened: AtomicU64,
    late: AtomicUsize,
    unspooled: AtomicU64,
    spool_error: Mutex<Option<String>>,
    /// Attempts that are over and whose records were lost.
    over: Mutex<Vec<Uuid>>,
    /// When the process before this one lived last is to be known still: what it left is not committed, or its calls do not go
    /// on here yet.
    is_uncommitted: AtomicBool,
    awaits_calls: AtomicBool,
    /// Since when a commit is under way.
    committing: Mutex<Option<Instant>>,
    /// How much the writer was handed, and how much of that it is done with.
    handed: AtomicU64,
    settled: watch::Sender<u64>,
    /// How far the spools are committed.
    pub(crate) marks: Marks,
    journal_error: Mutex<Option<String>>,
    /// Highest `seq` committed.
    last_seq: AtomicI64,
    pub(crate) postgres: Option<SinkShared>,
    pub(crate) lines: Option<SinkShared>,
    pub(crate) webhook: Option<SinkShared>,
}

/// The part of [`Shared`] that a sink's task writes.
#[derive(Debug, Default)]
pub(crate) struct SinkShared {
    /// Highest `seq` that the sink has.
    position: AtomicI64,
    forwarded: AtomicU64,
    refused: AtomicU64,
    link: Mutex<Link>,
}

#[derive(Debug, Default)]
struct Link {
    connected: bool,
    error: Option<String>,
}

impl Shared {
    /// `sinks`: whether there is PostgreSQL, a file of lines, a webhook.
    pub(crate) fn new(node: String, sinks: [bool; 3]) -> Shared {
        let [postgres, lines, webhook] = sinks.map(|configured| configured.then(SinkShared::default));
        Shared { node, postgres, lines, webhook, ..Shared::default() }
    }

    pub(crate) fn health(&self, queued: usize) -> Health {
        let last_seq = self.last_seq.load(Ordering::Relaxed);
        Health {
            journal: JournalHealth {
                error: lock(&self.journal_error)
                    .clone()
                    .or_else(|| self.slow_commit())
                    .or_else(|| lock(&self.spool_error).clone()),
                pending: (queued + self.in_flight.load(Ordering::Relaxed)) as u64,
                committed: self.committed.load(Ordering::Relaxed),
                lost: self.lost.load(Ordering::Relaxed),
                open: self.open.load(Ordering::Relaxed) as u64,
                unopened: self.unopened.load(Ordering::Relaxed),
                late: self.late.load(Ordering::Relaxed) as u64,
                unspooled: self.unspooled.load(Ordering::Relaxed),
                bindings_lost: self.bindings_lost.load(Ordering::Relaxed),
            },
            postgres: self.postgres.as_ref().map(|postgres| postgres.health(last_seq)),
            lines: self.lines.as_ref().map(|lines| lines.health(last_seq)),
            webhook: self.webhook.as_ref().map(|webhook| webhook.health(last_seq)),
        }
    }

    /// The last record that every sink has.
    pub(crate) fn forwarded_to(&self) -> i64 {
        let sinks = self.postgres.iter().chain(&self.lines).chain(&self.webhook);
        sinks.map(|sink| sink.position.load(Ordering::Relaxed)).min().unwrap_or(i64::MAX)
    }

    /// A commit begins or is done.
    pub(crate) fn commits(&self, since: Option<Instant>) {
        *lock(&self.committing) = since;
    }

    fn slow_commit(&self) -> Option<String> {
        let since = (*lock(&self.committing))?.elapsed();
        (since > SLOW_COMMIT).then(|| format!("the disk has been taking a commit for {} s", since.as_secs()))
    }

    pub(crate) fn handed(&self) {
        self.handed.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn settled(&self, entries: usize) {
        self.settled.send_modify(|settled| *settled += entries as u64);
    }

    /// Everything that was handed over before this is asked is committed, or lost; `false`: not within so long.
    pub(crate) async fn is_settled(&self, within: Duration) -> bool {
        let handed = self.handed.load(Ordering::Acquire);
        let mut settled = self.settled.subscribe();
        let settling = settled.wait_for(|settled| *settled >= handed);
        tokio::time::timeout(within, settling).await.is_ok()
    }

    pub(crate) fn in_flight(&self, records: usize) {
        self.in_flight.store(records, Ordering::Relaxed);
    }

    pub(crate) fn committed(&self, records: usize, last_seq: i64) {
        self.in_flight(0);
        self.committed.fetch_add(records as u64, Ordering::Relaxed);
        self.last_seq.store(last_seq, Ordering::Relaxed);
    }

    /// Returns whether this is news, so that a disk that stays full fills no log.
    pub(crate) fn journal_error(&self, error: Option<String>) -> bool {
        let mut current = lock(&self.journal_error);
        let news = *current != error;
        *current = error;
        news
    }

    /// An attempt is open. How many there are the writer will count; that the process lives is to be said from now on.
    pub(crate) fn opened(&self) {
        self.open.fetch_max(1, Ordering::Relaxed);
    }

    pub(crate) fn open(&self, attempts: usize) {
        self.open.store(attempts, Ordering::Relaxed);
    }

    /// Whether nothing is owed to the journal any more.
    pub(crate) fn kept_everything(&self) -> bool {
        self.lost.load(Ordering::Relaxed) == 0 && lock(&self.journal_error).is_none()
    }

    /// What the process before this one left is still to be committed.
    pub(crate) fn is_uncommitted(&self, is_uncommitted: bool) {
        self.is_uncommitted.store(is_uncommitted, Ordering::Relaxed);
    }

    /// Its calls are to go on here, and do not yet.
    pub(crate) fn awaits_calls(&self, awaits: bool) {
        self.awaits_calls.store(awaits, Ordering::Relaxed);
    }

    /// Whether it is to be said that the process lives.
    pub(crate) fn are_beats_wanted(&self) -> bool {
        let is_held = [&self.is_uncommitted, &self.awaits_calls].map(|held| held.load(Ordering::Relaxed));
        self.is_open() && is_held == [false; 2]
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// So many entries of a spool were written, or not.
    pub(crate) fn spooled(&self, entries: u64, error: Option<String>) {
        let Some(error) = error else {
            if self.unspooled.load(Ordering::Relaxed) > 0 {
                *lock(&self.spool_error) = None;
            }
            return;
        };
        self.unspooled.fetch_add(entries, Ordering::Relaxed);
        let error = format!("the spool: {error}");
        let mut current = lock(&self.spool_error);
        if current.as_ref() != Some(&error) {
            tracing::error!(
                error,
                "records are not spooled: a process that is killed loses those of its last moments"
            );
            *current = Some(error);
        }
    }

    pub(crate) fn count_unopened(&self) {
        self.unopened.fetch_add(1, Ordering::Relaxed);
    }

    /// Of one recorder so many wait now, and so many did before.
    pub(crate) fn late(&self, now: usize, before: usize) {
        self.late.fetch_add(now, Ordering::Relaxed);
        self.late.fetch_sub(before, Ordering::Relaxed);
    }

    pub(crate) fn count_lost(&self, attempt: Uuid) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.lost_uncounted.fetch_add(1, Ordering::Relaxed);
        let mut over = lock(&self.over);
        if over.len() < MOST_OVER {
            over.push(attempt);
        }
    }

    /// Records that went to the log since this was asked last.
    pub(crate) fn take_lost(&self) -> i64 {
        self.lost_uncounted.swap(0, Ordering::Relaxed)
    }

    /// Those that are over without a record, each once: nothing may say of them any more that they are open.
    pub(crate) fn take_over(&self) -> Vec<Uuid> {
        std::mem::take(&mut *lock(&self.over))
    }

    pub(crate) fn binding_lost(&self) {
        if self.bindings_lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "the journal takes no registrations now; phones will have to register after a restart"
            );
        }
    }
}

impl SinkShared {
    fn health(&self, last_seq: i64) -> SinkHealth {
        let link = lock(&self.link);
        SinkHealth {
            connected: link.connected,
            error: link.error.clone(),
            behind: u64::try_from(last_seq - self.position.load(Ordering::Relaxed)).unwrap_or(0),
            forwarded: self.forwarded.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn position(&self, seq: i64) {
        self.position.store(seq, Ordering::Relaxed);
    }

    pub(crate) fn forwarded(&self, records: u64) {
        self.forwarded.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, records: u64) {
        self.refused.store(records, Ordering::Relaxed);
    }

    /// Returns whether this is news.
    pub(crate) fn link(&self, connected: bool, error: Option<String>) -> bool {
        let mut link = lock(&self.link);
        let news = link.connected != connected || link.error != error;
        *link = Link { connected, error };
        news
    }
}

/// A panic while a plain value was being set leaves a plain value.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_a_disk_holds_up_is_an_error_though_the_disk_gives_none() {
        let shared = Shared::new("edge-1".to_owned(), [false; 3]);
        shared.commits(Instant::now().checked_sub(Duration::from_secs(4)));
        assert_eq!(shared.health(0).journal.error, None);
        shared.commits(Instant::now().checked_sub(Duration::from_secs(7)));
        let error = shared.health(0).journal.error;
        assert_eq!(error.as_deref(), Some("the disk has been taking a commit for 7 s"));
        shared.commits(None);
        assert_eq!(shared.health(0).journal.error, None);
    }
}
