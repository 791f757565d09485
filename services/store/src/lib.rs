//! What outlives the process: call records and registrations.
//!
//! A [`Store`] is one SQLite file in the data directory. Shards hand records over through a [`Recorder`], which never
//! waits; one task gathers what is waiting, commits it (many records to one fsync), and only what is committed is
//! forwarded to PostgreSQL, to a file of JSON lines and to a webhook, each by a task with a position of its own. No task can hold up a
//! call or another: with the disk full records wait in memory up to a bound, with PostgreSQL away they wait in the journal.
//!
//! Start reading at [`Store::open`], then `writer.rs` (the group commit), `sink.rs` (what destinations have in common),
//! `forward.rs`, `lines.rs` and `webhook.rs`.

mod age;
mod backoff;
mod batch;
mod binding;
mod cdr;
mod commit;
mod crash;
mod encoded;
mod error;
mod forward;
mod health;
mod indexes;
mod journal;
mod late;
mod lines;
mod mos;
mod open;
mod postgres;
mod query;
mod recorder;
mod reserve;
mod sink;
mod spool;
mod stats;
mod uptime;
mod verify;
mod view;
mod webhook;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use call::{BindingChange, Interrupted};
use sqlx::SqlitePool;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use crate::cdr::Record;
pub use crate::error::{Error, OpenError, VerifyError};
pub use crate::health::{Health, JournalHealth, SinkHealth};
pub use crate::lines::Lines;
pub use crate::query::{Filter, MAX_PAGE, Order, Page};
pub use crate::recorder::Recorder;
pub use crate::spool::SpoolPlace;
pub use crate::stats::{By, Figures, MAX_ROWS, Question};
pub use crate::verify::{Difference, Verified, verify};
pub use crate::webhook::Webhook;

/// How a store is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this box, in every record.
    pub node: String,
    /// Names of the listeners in the order of their [`ListenerId`](call::ListenerId)s: registrations are kept with the
    /// name, because the index may differ after a change of configuration.
    pub listeners: Vec<String>,
    /// `postgres://…`, where records go as well.
    pub postgres: Option<String>,
    /// A file that gets records as well.
    pub lines: Option<Lines>,
    /// An address on the web that gets records as well.
    pub webhook: Option<Webhook>,
    /// How long records are kept, in the journal once PostgreSQL has them, and there, those of this node, by whole months; for ever
    /// when absent.
    pub retention: Option<Duration>,
    /// The most records that wait in memory while the disk takes none.
    pub queue: usize,
    /// How long the first record of a commit waits for others.
    pub gather: Duration,
    /// Where records wait for that, so that a killed process does not take them along.
    pub spool: SpoolPlace,
    /// Calls that were up when the process before this one died go on in one of so many shards; `None`: their records are
    /// closed.
    pub recover: Option<u16>,
}

impl Config {
    /// A journal alone, with the defaults of everything else.
    pub fn new(node: impl Into<String>) -> Config {
        Config {
            node: node.into(),
            listeners: Vec::new(),
            postgres: None,
            lines: None,
            webhook: None,
            retention: None,
            queue: 65_536,
            gather: Duration::from_millis(100),
            spool: SpoolPlace::DataDir,
            recover: None,
        }
    }
}

/// The journal and its tasks. Dropping it without [`close`](Store::close) leaves the tasks running until the runtime
/// ends; what they have not committed by then is gone.
#[derive(Debug)]
pub struct Store {
    records: tokio::sync::mpsc::Sender<recorder::Handed>,
    bindings: tokio::sync::mpsc::Sender<BindingChange>,
    shared: Arc<health::Shared>,
    spool: PathBuf,
    alive: [spool::Alive; 2],
    /// While it is there, they are given.
    alive_for: Mutex<Option<[mpsc::SyncSender<()>; 2]>>,
    recorders: AtomicU16,
    readers: SqlitePool,
    listeners: Arc<[String]>,
    closing: watch::Sender<bool>,
    tasks: Mutex<Option<Tasks>>,
    interrupted: Mutex<Vec<Interrupted>>,
    /// Held for as long as the store is: two processes with one journal would each forward half of it, and with one spool
    /// each take away the other's.
    _locks: [std::fs::File; 2],
}

/// How long a closing store lets the forwarder catch up. What it does not forward waits for the next start.
const LAST_BATCHES: Duration = Duration::from_secs(3);

/// How long it may take in all. A disk that refuses is given up before that; one that does not even answer is left behind.
const LONGEST_CLOSE: Duration = Duration::from_secs(12);

#[derive(Debug)]
struct Tasks {
    writer: JoinHandle<()>,
    /// One for each sink.
    forwarders: Vec<JoinHandle<()>>,
    committed: watch::Receiver<writer::Committed>,
}

impl Store {
    /// Opens the journal in `data_dir`, making both when they are not there, brings its schema up to date and starts
    /// the tasks on the current tokio runtime. PostgreSQL is not waited for.
    ///
    /// # Errors
    /// When the directory or file cannot be used, another process has it, its schema is newer than this program, or
    /// `config.postgres` or the webhook's address is no URL.
    pub async fn open(data_dir: &Path, config: Config) -> Result<Store, OpenError> {
        let target = config.postgres.as_deref().map(postgres::Target::parse).transpose()?;
        let webhook = config.webhook.as_ref();
        let webhook = webhook.map(|webhook| webhook::Caller::new(webhook, &config.node)).transpose()?;
        let (lock, path) = journal::prepare(data_dir)?;
        if reserve::give(data_dir) {
            tracing::warn!("the disk is full: the journal is opened with the room that was put by for it");
        }
        let mut connection = journal::open(&path).await?;
        let spool = config.spool.prepare(data_dir);
        let (spool, spool_lock) = spool.map_err(|source| OpenError::File {
            what: "cannot have the directory of the spool for",
            path: data_dir.to_owned(),
            source,
        })?;
        let survivors = crash::Survivors { shards: config.recover, listeners: &config.listeners };
        let alive = spool::Alive::last(&[data_dir, &spool]);
        let run = journal::another_run(&connection);
        let run = run.map_err(|source| OpenError::Journal { path: path.clone(), source })?;
        let (found, later) = match crash::recover(&path, &mut connection, &spool, alive, run, survivors) {
            Ok(found) => (found, None),
            Err(error) => match crash::Later::after(&error, &spool, alive, run) {
                Some(later) => (crash::Found::default(), Some((later, error.to_string()))),
                None => return Err(error),
            },
        };
        if let Some((_, error)) = &later {
            tracing::error!(error, "the records of the process before this one wait for room on the disk");
            // After an error SQLite may have rolled back by itself; a new connection has no doubt about it.
            connection = journal::open(&path).await?;
        }
        if let Some(webhook) = &webhook {
            let renamed = sink::rename(&mut connection, &webhook.earlier_name(), &webhook.name());
            renamed.map_err(|source| OpenError::Journal { path: path.clone(), source })?;
        }
        let last_seq = journal::last_seq(&connection);
        let last_seq = last_seq.map_err(|source| OpenError::Journal { path: path.clone(), source })?;
        let looked = journal::looked(&connection);
        let looked = looked.map_err(|source| OpenError::Journal { path: path.clone(), source })?;
        drop(connection);
        reserve::keep(data_dir);
        let readers = journal::readers(&path);

        let sinks = [target.is_some(), config.lines.is_some(), webhook.is_some()];
        let shared = Arc::new(health::Shared::new(config.node, sinks));
        shared.committed(0, last_seq);
        shared.open(found.goes_on.len());
        shared.awaits_calls(!found.goes_on.is_empty());
        let later = later.map(|(later, error)| {
            shared.journal_error(Some(error));
            shared.is_uncommitted(true);
            later
        });
        let listeners: Arc<[String]> = config.listeners.into();
        let (records_in, records) = tokio::sync::mpsc::channel(config.queue.max(1));
        let (bindings_in, bindings) = tokio::sync::mpsc::channel(16_384);
        let (progress_in, progress) = tokio::sync::mpsc::channel(256);
        let (closing, closing_seen) = watch::channel(false);
        let (committed, committed_seen) = watch::channel(writer::Committed { seq: last_seq, last: false });

        let age = Arc::new(age::Age::new(config.retention, looked, alive));
        let writer = writer::Writer::new(writer::Inputs {
            path: path.clone(),
            journal: Arc::new(Mutex::new(commit::Journal::new(path.clone(), Arc::clone(&listeners), later))),
            gather: config.gather,
            age: Arc::clone(&age),
            shared: Arc::clone(&shared),
            open: found.goes_on,
            records,
            bindings,
            progress,
            closing: closing_seen,
            committed,
        });
        let source = sink::Source { path, committed: committed_seen.clone(), progress: progress_in };
        let mut forwarders = Vec::new();
        if let Some(lines) = config.lines {
            forwarders.push(tokio::spawn(lines::run(lines, source.clone(), Arc::clone(&shared))));
        }
        if let Some(webhook) = webhook {
            forwarders.push(tokio::spawn(webhook::run(webhook, source.clone(), Arc::clone(&shared))));
        }
        if let Some(target) = target {
            let forward = forward::run(target, source, (config.retention, age), Arc::clone(&shared));
            forwarders.push(tokio::spawn(forward));
        }
        let tasks = Tasks { writer: tokio::spawn(writer.run()), forwarders, committed: committed_seen };
        let alive = [&spool, data_dir].map(|directory| spool::Alive::open(directory, run));
        let alive_for = alive.each_ref().map(|sign| live(sign.clone(), Arc::clone(&shared)));
        Ok(Store {
            records: records_in,
            bindings: bindings_in,
            shared,
            spool,
            alive,
            alive_for: Mutex::new(Some(alive_for)),
            recorders: AtomicU16::new(0),
            readers,
            listeners,
            closing,
            tasks: Mutex::new(Some(tasks)),
            interrupted: Mutex::new(found.interrupted),
            _locks: [lock, spool_lock],
        })
    }

    /// A way into the journal for one more shard.
    pub fn recorder(&self) -> Recorder {
        let index = self.recorders.fetch_add(1, Ordering::Relaxed);
        Recorder {
            records: self.records.clone(),
            bindings: self.bindings.clone(),
            spool: spool::Spool::open(&self.spool, index, Arc::clone(&self.shared)),
            late: late::Late::default(),
            standing: None,
            record: Vec::with_capacity(1024),
            shared: Arc::clone(&self.shared),
        }
    }

    /// A page of records.
    ///
    /// # Errors
    /// When the cursor is foreign, the search takes too long or the file cannot be read.
    pub async fn cdrs(&self, filter: &Filter) -> Result<Page, Error> {
        query::cdrs(&self.readers, filter).await
    }

    /// Every record of a call, in the order of its attempts. One that was handed over before this is asked is among them: what
    /// is not committed yet is waited for.
    ///
    /// # Errors
    /// When the file cannot be read, and when it takes no records for so long that they may be missing.
    pub async fn call(&self, call: Uuid) -> Result<Vec<Record>, Error> {
        let records = query::call(&self.readers, call).await?;
        if records.last().is_some_and(|record| record.fact.is_last) {
            return Ok(records);
        }
        if !self.shared.is_settled(COMMIT).await {
            return Err(Error::Behind(COMMIT));
        }
        query::call(&self.readers, call).await
    }

    /// What carriers measure, by trunk and interval.
    ///
    /// # Errors
    /// When there are more rows than [`MAX_ROWS`], the search takes too long or the file cannot be read.
    pub async fn stats(&self, question: &Question) -> Result<Vec<Figures>, Error> {
        stats::stats(&self.readers, question).await
    }

    /// The registrations that were live when the process last ended and still are. Those of listeners that are not
    /// configured any more are left out. Connections of streams are gone; the flow's `connection` is 0.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn bindings(&self) -> Result<Vec<BindingChange>, Error> {
        binding::load(&self.readers, &self.listeners).await
    }

    /// The calls that were up when the process before this one died, and that are to go on. Their records stay open until they
    /// have ended. A second call gives none. They go on from [`begun`](Store::begun) on.
    pub fn interrupted(&self) -> Vec<Interrupted> {
        std::mem::take(&mut self.interrupted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The box runs, and the [`interrupted`](Store::interrupted) calls with it. Until then there are no signs of life where there are
    /// such calls: however often a start fails, how long they were without a box is counted from when they last had one.
    pub fn begun(&self) {
        self.shared.awaits_calls(false);
    }

    /// The store's condition now. Never waits for the disk or the network.
    pub fn health(&self) -> Health {
        self.shared.health(self.records.max_capacity() - self.records.capacity())
    }

    /// Commits everything handed over so far, gives PostgreSQL and the other sinks a moment to take it, and ends the tasks. What is handed
    /// over later goes to the log. With a disk that takes nothing it gives up after a few seconds and logs the records;
    /// with one that hangs it leaves them in the spool, and whoever waits for the disk behind: end the runtime without waiting for
    /// its threads. A second call does nothing. Attempts that are open still, because a shard failed, end now; those of
    /// a start that failed when their process last lived.
    pub async fn close(&self) {
        if tokio::time::timeout(LONGEST_CLOSE, self.end()).await.is_err() {
            tracing::error!(
                "the disk does not answer: what it has not taken is in the spool, from which the next start takes it"
            );
        }
    }

    async fn end(&self) {
        self.closing.send_replace(true);
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Tasks { writer, forwarders, mut committed }) = tasks else { return };
        self.alive_for.lock().unwrap_or_else(PoisonError::into_inner).take();
        for sign in &self.alive {
            beat(sign, &self.shared).await;
        }
        self.readers.close().await;
        // An error means that the writer is gone already; joining it says why.
        let _ = committed.wait_for(|committed| committed.last).await;
        let last_batches = tokio::time::Instant::now() + LAST_BATCHES;
        for mut forwarder in forwarders {
            if tokio::time::timeout_at(last_batches, &mut forwarder).await.is_err() {
                tracing::info!("a sink gets the rest of the records after the next start");
                // The writer ends when this end of the channel between them is gone.
                forwarder.abort();
            }
        }
        if let Err(error) = writer.await {
            tracing::error!(%error, "the journal's writer ended badly");
        } else if self.shared.kept_everything() {
            if !self.shared.is_open() {
                self.alive.iter().for_each(spool::Alive::clear);
            }
            spool::clear(&self.spool, true);
        }
    }
}

/// How long a question waits for a commit.
const COMMIT: Duration = Duration::from_secs(2);

/// How often the process says that it lives, while there are calls: how exactly the end of a call is known that it takes along.
const BEAT: Duration = Duration::from_millis(20);

/// On a thread of its own, so that whatever else is done at the moment puts it off the least, and a disk that hangs holds up nobody
/// else. Until the sender is dropped.
fn live(alive: spool::Alive, shared: Arc<health::Shared>) -> mpsc::SyncSender<()> {
    let (alive_for, ends) = mpsc::sync_channel(0);
    let thread = std::thread::Builder::new().name("alive".into()).spawn(move || {
        while ends.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            if shared.are_beats_wanted() {
                alive.beat();
            }
        }
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "no sign of life: calls that a dying process takes along end with their last word");
    }
    alive_for
}

/// A disk that hangs holds up nobody else.
async fn beat(alive: &spool::Alive, shared: &health::Shared) {
    if !shared.are_beats_wanted() {
        return;
    }
    let alive = alive.clone();
    let said = tokio::task::spawn_blocking(move || alive.beat()).await;
    if let Err(error) = said {
        tracing::error!(%error, "the sign of life ended badly");
    }
}
