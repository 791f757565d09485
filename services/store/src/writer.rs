//! The group commit: one task that writes everything that is written.
//!
//! It sleeps until something is handed over, waits a moment for more, and commits all of it in one transaction. A
//! commit that fails is tried again with the same batch until it succeeds; meanwhile the queues fill, and what finds
//! them full goes to the log. Nothing is forwarded before it is committed here.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use call::BindingChange;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::binding;
use crate::cdr::{COLUMNS, Value};
use crate::crash::Later;
use crate::encoded::decode;
use crate::health::Shared;
use crate::journal;
use crate::open::{Changes, OpenRecords};
use crate::recorder::{Handed, What};
use crate::sink::Progress;
use crate::spool::Mark;

/// The most records of one transaction: bounds the memory of a batch and the time that a listing waits.
const MAX_BATCH: usize = 2048;

/// Rows that one INSERT has room for; the smallest that is large enough is taken. Each statement costs a hand-over to
/// SQLite's thread and back, so one statement a commit is cheapest; a handful of sizes keeps all of them prepared.
const INSERT_ROWS: [usize; 4] = [1, 8, 32, MOST_ROWS];

/// The largest INSERT: 10,112 parameters of the 32,766 that SQLite takes.
const MOST_ROWS: usize = 128;

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
    pub(crate) gather: Duration,
    pub(crate) retention: Option<Duration>,
    pub(crate) listeners: Arc<[String]>,
    pub(crate) shared: Arc<Shared>,
    /// Attempts of the process before this one that go on.
    pub(crate) open: HashSet<Uuid>,
    /// What of that process could not be committed at the start.
    pub(crate) later: Option<Later>,
    pub(crate) records: Receiver<Handed>,
    pub(crate) bindings: Receiver<BindingChange>,
    pub(crate) progress: Receiver<Progress>,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) committed: watch::Sender<Committed>,
}

pub(crate) struct Writer {
    inputs: Inputs,
    /// For each of [`INSERT_ROWS`].
    inserts: [Arc<str>; INSERT_ROWS.len()],
    open: OpenRecords,
    connection: Option<SqliteConnection>,
    /// When what is too old is looked for again.
    purge_at: Instant,
    /// Records that are dropped at once. Fewer where there was no room on the disk for what that writes.
    purge_most: u32,
    /// What every sink had before the batch was gathered.
    forwarded_to: i64,
}

/// What one transaction writes.
#[derive(Default)]
struct Batch {
    /// As their columns.
    records: Vec<(Uuid, Box<[u8]>)>,
    open: Changes,
    /// How much was handed over, what it replaced included.
    handed: usize,
    /// The last entry of each spool.
    marks: BTreeMap<u16, u64>,
    bindings: Vec<BindingChange>,
    progress: Vec<Progress>,
    /// Records that went to the log instead.
    lost: i64,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.only_records()
    }

    fn only_records(&self) -> bool {
        self.bindings.is_empty() && self.progress.is_empty() && self.open.is_empty() && self.lost == 0
    }

    fn take(&mut self, Handed { what, mark }: Handed, open: &mut OpenRecords) {
        self.handed += 1;
        self.marks.insert(mark.spool, mark.number);
        match what {
            What::Open { id, .. } if open.is_over(id) => {}
            What::Open { id, open } => self.open.open(id, open),
            What::Closed { id, record } => {
                open.closed(id, &mut self.open);
                self.records.push((id, record));
            }
        }
        open.taken();
    }

    fn clear(&mut self) {
        self.records.clear();
        self.open.clear();
        self.handed = 0;
        self.marks.clear();
        self.bindings.clear();
        self.progress.clear();
        self.lost = 0;
    }
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
            inserts: INSERT_ROWS.map(|rows| insert_sql(rows).into()),
            open,
            connection: None,
            purge_at: Instant::now(),
            purge_most: journal::MOST_DROPPED,
            forwarded_to: 0,
        }
    }

    /// Runs until the store closes and everything is written.
    pub(crate) async fn run(mut self) {
        let mut batch = Batch::default();
        loop {
            match self.wake(&mut batch).await {
                Wake::Handed => {
                    let closing = self.inputs.closing.wait_for(|closing| *closing);
                    // Elapsed is the ordinary case; a closing store waits for no more.
                    let _ = tokio::time::timeout(self.inputs.gather, closing).await;
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
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the journal");
        }
    }

    /// Writes the batch and empties it, however long that takes; gives up only when the store is closing.
    async fn commit(&mut self, batch: &mut Batch) {
        if batch.is_empty() && self.inputs.later.is_none() {
            return;
        }
        self.inputs.shared.in_flight(batch.records.len());
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut give_up_at = None;
        loop {
            self.inputs.shared.commits(Some(Instant::now()));
            let tried = self.try_commit(batch).await;
            self.inputs.shared.commits(None);
            match tried {
                Ok(seq) => return self.committed(batch, seq),
                Err(error) => self.failed(&error, batch),
            }
            // After an error SQLite may have rolled back by itself; a new connection has no doubt about it.
            self.connection = None;
            if *self.inputs.closing.borrow() {
                let give_up_at = *give_up_at.get_or_insert_with(|| Instant::now() + LAST_TRIES);
                if Instant::now() >= give_up_at {
                    return self.give_up(batch);
                }
                tokio::time::sleep(backoff.wait().min(Duration::from_millis(500))).await;
            } else {
                let closing = self.inputs.closing.wait_for(|closing| *closing);
                let _ = tokio::time::timeout(backoff.wait(), closing).await;
            }
        }
    }

    /// The `seq` of the last record, if there was one.
    async fn try_commit(&mut self, batch: &Batch) -> Result<Option<i64>, sqlx::Error> {
        let connection = connected(&mut self.connection, &self.inputs.path).await?;
        let mut recovered = None;
        if let Some(later) = &self.inputs.later {
            recovered = Some(later.commit(connection).await?);
            self.inputs.later = None;
            self.inputs.shared.holds_beats(false);
        }
        if batch.is_empty() {
            return Ok(recovered);
        }
        if batch.records.len() <= MOST_ROWS && batch.only_records() {
            // One statement is a transaction of its own.
            return insert(connection, &self.inserts, &batch.records).await.map(Some);
        }
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut seq = recovered;
        for records in batch.records.chunks(MOST_ROWS) {
            seq = Some(insert(&mut transaction, &self.inserts, records).await?);
        }
        self.open.save(&batch.open, &mut transaction).await?;
        let now = utc_now();
        for change in &batch.bindings {
            binding::save(&mut transaction, change, &self.inputs.listeners, now).await?;
        }
        for progress in &batch.progress {
            progress.save(&mut transaction).await?;
        }
        if batch.lost > 0 {
            journal::add_lost(&mut transaction, batch.lost).await?;
        }
        transaction.commit().await?;
        Ok(seq)
    }

    /// Drops what is too old. In a transaction of its own and tried once: a disk that has no room for what that writes may
    /// have room for records, which wait for nothing.
    async fn purge(&mut self) {
        self.inputs.shared.commits(Some(Instant::now()));
        let tried = self.try_purge().await;
        self.inputs.shared.commits(None);
        self.purge_at = Instant::now()
            + match tried {
                Ok(true) => EXPIRY,
                Ok(false) => HOUSEKEEPING,
                Err(error) => {
                    tracing::warn!(%error, "what is too old could not be dropped from the journal");
                    // After an error SQLite may have rolled back by itself.
                    self.connection = None;
                    self.purge_most = (self.purge_most / 4).max(LEAST_PURGED);
                    PURGE_AGAIN
                }
            };
    }

    /// Whether nothing that is too old is left.
    async fn try_purge(&mut self) -> Result<bool, sqlx::Error> {
        let connection = connected(&mut self.connection, &self.inputs.path).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let now = utc_now();
        binding::purge(&mut transaction, now).await?;
        let mut purged = true;
        if let Some(retention) = self.inputs.retention {
            let before = now - i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
            let (to, most) = (self.forwarded_to, self.purge_most);
            purged = journal::drop_before(&mut transaction, before, to, most).await?;
        }
        transaction.commit().await?;
        self.purge_most = self.purge_most.saturating_mul(2).min(journal::MOST_DROPPED);
        Ok(purged)
    }

    fn committed(&mut self, batch: &mut Batch, seq: Option<i64>) {
        let shared = &self.inputs.shared;
        if shared.journal_error(None) {
            tracing::info!("the journal takes records again");
        }
        let seq = seq.unwrap_or(0).max(self.inputs.committed.borrow().seq);
        shared.committed(batch.records.len(), seq);
        shared.settled(batch.handed);
        self.inputs.committed.send_if_modified(|committed| std::mem::replace(&mut committed.seq, seq) != seq);
        for (spool, number) in &batch.marks {
            shared.marks.committed(Mark { spool: *spool, number: *number });
        }
        self.open.saved(&batch.open);
        batch.clear();
    }

    fn failed(&self, error: &sqlx::Error, batch: &Batch) {
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

/// The connection that there is, or a new one.
async fn connected<'a>(
    connection: &'a mut Option<SqliteConnection>,
    path: &Path,
) -> Result<&'a mut SqliteConnection, sqlx::Error> {
    match connection {
        Some(connection) => Ok(connection),
        empty @ None => Ok(empty.insert(journal::connect_writer(path).await?)),
    }
}

/// Inserts up to [`MOST_ROWS`] records with one statement; the `seq` of the last.
async fn insert(
    connection: &mut SqliteConnection,
    inserts: &[Arc<str>; INSERT_ROWS.len()],
    records: &[(Uuid, Box<[u8]>)],
) -> Result<i64, sqlx::Error> {
    let size = INSERT_ROWS.iter().position(|room| *room >= records.len()).unwrap_or(INSERT_ROWS.len() - 1);
    let sql = AssertSqlSafe(Arc::clone(&inserts[size]));
    let done = sqlx::query_with(sql, arguments(records)?).execute(connection).await?;
    Ok(done.last_insert_rowid())
}

/// Parameters that get no value are NULL, and rows without an id are left out: a statement takes fewer rows than it has
/// room for.
pub(crate) fn insert_sql(rows: usize) -> String {
    let names = COLUMNS.map(|column| column.name).join(", ");
    let row = format!("({})", ["?"; COLUMNS.len()].join(", "));
    let rows = vec![row; rows].join(", ");
    // A commit whose outcome is unknown (the disk failed under it) is repeated: the same record must not come twice.
    format!(
        "INSERT INTO cdr ({names}) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
         ON CONFLICT (id) DO NOTHING"
    )
}

fn arguments(records: &[(Uuid, Box<[u8]>)]) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(records.len() * COLUMNS.len(), 0);
    for (_, record) in records {
        for value in decode(record).unwrap_or_default() {
            add(value, &mut arguments)?;
        }
    }
    Ok(arguments)
}

/// One more parameter.
pub(crate) fn add(value: Value<'_>, arguments: &mut SqliteArguments) -> Result<(), sqlx::Error> {
    match value {
        Value::Null => arguments.add(None::<i64>),
        Value::Text(text) => arguments.add(Arc::<str>::from(text)),
        Value::Integer(integer) => arguments.add(integer),
        Value::Real(real) => arguments.add(real),
    }
    .map_err(sqlx::Error::Encode)
}

/// Microseconds since 1970.
pub(crate) fn utc_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
