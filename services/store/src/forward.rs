//! From the journal to PostgreSQL: every committed record, in order, exactly once, whatever dies.
//!
//! The forwarder reads the records after its position, inserts them under their primary keys, and only then moves the
//! position. Dying anywhere in between repeats a batch, and a repeated record is dropped by its key. The position
//! belongs to one database (its `installation` id): pointed at another, the forwarder begins at the start of the
//! journal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::cdr::{COLUMNS, clean};
use crate::health::{Shared, SinkShared};
use crate::journal;
use crate::postgres::{Database, Refusal, Target};
use crate::writer::Committed;

/// Records of one batch.
const BATCH: i64 = 500;

/// How long a wake-up waits for more: PostgreSQL pays an fsync per batch too.
const GATHER: Duration = Duration::from_millis(100);

/// How often old months are looked for.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// How often an idle connection is checked, so that `/health` tells the truth.
const PING: Duration = Duration::from_secs(10);

/// Where records come from and positions go to.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) committed: watch::Receiver<Committed>,
    pub(crate) progress: Sender<Progress>,
}

/// What a sink has taken, kept by the writer with its next commit.
#[derive(Debug)]
pub(crate) struct Progress {
    sink: Arc<str>,
    position: i64,
    refused: Vec<(i64, String)>,
    taken_after_all: Vec<i64>,
}

impl Progress {
    /// The sink has everything up to here.
    pub(crate) fn new(sink: &Arc<str>, position: i64) -> Progress {
        Progress { sink: Arc::clone(sink), position, refused: Vec::new(), taken_after_all: Vec::new() }
    }

    pub(crate) async fn save(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO sink (name, position) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position)",
        )
        .bind(&*self.sink)
        .bind(self.position)
        .execute(&mut *connection)
        .await?;
        for (seq, reason) in &self.refused {
            sqlx::query(
                "INSERT INTO sink_refused (sink, seq, reason) VALUES (?, ?, ?)
                 ON CONFLICT (sink, seq) DO UPDATE SET reason = excluded.reason",
            )
            .bind(&*self.sink)
            .bind(seq)
            .bind(clean(reason))
            .execute(&mut *connection)
            .await?;
        }
        for seq in &self.taken_after_all {
            sqlx::query("DELETE FROM sink_refused WHERE sink = ? AND seq = ?")
                .bind(&*self.sink)
                .bind(seq)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// How far a sink has come, as the journal knows.
pub(crate) async fn position(journal: &mut SqliteConnection, sink: &str) -> Result<i64, sqlx::Error> {
    let position = sqlx::query_scalar("SELECT position FROM sink WHERE name = ?").bind(sink);
    Ok(position.fetch_optional(journal).await?.unwrap_or(0))
}

/// Forwards until the store is closed and everything is forwarded. With the database away it ends at once when the
/// store closes; whoever closes the store ends it when the database is slow.
pub(crate) async fn run(
    target: Target,
    mut source: Source,
    retention: Option<Duration>,
    shared: Arc<Shared>,
) {
    let mut old = OldMonths { retention, looked: None };
    let Some(health) = &shared.postgres else { return };
    if let Ok(position) = last_position(&source.path).await {
        health.position(position);
    }
    let mut sink = None;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
    while let Err(why) = session(&target, &mut source, (&mut sink, &mut old), health, &mut backoff).await {
        if health.link(false, Some(why.clone())) {
            tracing::warn!(why, "PostgreSQL takes no records; they wait in the journal");
        }
        let ended = source.committed.wait_for(|committed| committed.last);
        if tokio::time::timeout(backoff.wait(), ended).await.is_ok() {
            return;
        }
    }
}

/// Where the database used last was, so that `/health` says how far it is behind before it answers. Which database it is
/// will be known when it does.
async fn last_position(path: &Path) -> Result<i64, sqlx::Error> {
    let mut journal = journal::connect_reader(path).await?;
    let position =
        sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM sink WHERE name LIKE 'postgres:%'")
            .fetch_one(&mut journal)
            .await?;
    journal.close().await?;
    Ok(position)
}

/// One connection's life. `Ok`: everything is forwarded and no more will come.
async fn session(
    target: &Target,
    source: &mut Source,
    (sink, old): (&mut Option<Sink>, &mut OldMonths),
    health: &SinkShared,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let mut journal = journal::connect_reader(&source.path).await.map_err(|error| error.to_string())?;
    let mut database = target.connect().await.map_err(Refusal::into_reason)?;
    let name = format!("postgres:{}", database.installation);
    let sink = match sink {
        Some(known) if *known.name == *name => known,
        other => other.insert(Sink::load(&mut journal, &name).await.map_err(|error| error.to_string())?),
    };
    health.position(sink.position);
    health.refused(sink.refused.len() as u64);
    if health.link(true, None) {
        tracing::info!(position = sink.position, "PostgreSQL is connected");
    }
    sink.offer_again(&mut journal, &mut database, source, health).await?;
    loop {
        let seen = *source.committed.borrow_and_update();
        while sink.forward(&mut journal, &mut database, source, health).await? {
            backoff.reset();
        }
        old.drop_from(&mut database).await.map_err(Refusal::into_reason)?;
        if seen.last {
            database.close().await;
            return Ok(());
        }
        match tokio::time::timeout(PING, source.committed.changed()).await {
            Ok(_) if source.committed.borrow().last => {}
            Ok(_) => tokio::time::sleep(GATHER).await,
            Err(_) => database.ping().await.map_err(Refusal::into_reason)?,
        }
    }
}

/// Months that ended longer ago than records are kept.
struct OldMonths {
    retention: Option<Duration>,
    looked: Option<Instant>,
}

impl OldMonths {
    async fn drop_from(&mut self, database: &mut Database) -> Result<(), Refusal> {
        let Some(retention) = self.retention else { return Ok(()) };
        if self.looked.is_some_and(|looked| looked.elapsed() < AGAIN) {
            return Ok(());
        }
        let dropped = database.drop_months(retention).await?;
        self.looked = Some(Instant::now());
        if dropped > 0 {
            tracing::info!(dropped, "months of call records are older than they are kept and were dropped");
        }
        Ok(())
    }
}

/// What is known of one database.
struct Sink {
    name: Arc<str>,
    /// Everything up to here is there, or in `refused`.
    position: i64,
    refused: BTreeSet<i64>,
}

impl Sink {
    async fn load(journal: &mut SqliteConnection, name: &str) -> Result<Sink, sqlx::Error> {
        let position = position(journal, name).await?;
        let refused: Vec<i64> = sqlx::query_scalar("SELECT seq FROM sink_refused WHERE sink = ?")
            .bind(name)
            .fetch_all(journal)
            .await?;
        Ok(Sink { name: name.into(), position, refused: refused.into_iter().collect() })
    }

    /// Forwards the next batch; whether there was one.
    async fn forward(
        &mut self,
        journal: &mut SqliteConnection,
        database: &mut Database,
        source: &Source,
        health: &SinkShared,
    ) -> Result<bool, String> {
        let Some(batch) = Batch::read(journal, self.position, BATCH).await? else { return Ok(false) };
        match batch.insert(database).await {
            Ok(()) => {
                self.position = batch.last;
                health.forwarded(batch.records);
                self.report(source, health, Vec::new(), Vec::new()).await;
            }
            Err(Refusal::Away(why)) => return Err(why),
            Err(Refusal::Record(_)) => self.one_by_one(journal, database, source, health, batch.last).await?,
        }
        Ok(true)
    }

    /// A record in this batch cannot be taken: finds out which, and puts it aside, so that it holds up no other.
    async fn one_by_one(
        &mut self,
        journal: &mut SqliteConnection,
        database: &mut Database,
        source: &Source,
        health: &SinkShared,
        last: i64,
    ) -> Result<(), String> {
        while self.position < last {
            let Some(one) = Batch::read(journal, self.position, 1).await? else { return Ok(()) };
            let mut refused = Vec::new();
            match one.insert(database).await {
                Ok(()) => health.forwarded(1),
                Err(Refusal::Away(why)) => return Err(why),
                Err(Refusal::Record(why)) => {
                    tracing::error!(
                        seq = one.last,
                        why,
                        record = one.json,
                        "PostgreSQL refuses a call record"
                    );
                    self.refused.insert(one.last);
                    refused.push((one.last, why));
                }
            }
            self.position = one.last;
            self.report(source, health, refused, Vec::new()).await;
        }
        Ok(())
    }

    /// Offers what was refused before: the rule that it broke may be gone.
    async fn offer_again(
        &mut self,
        journal: &mut SqliteConnection,
        database: &mut Database,
        source: &Source,
        health: &SinkShared,
    ) -> Result<(), String> {
        let mut taken = Vec::new();
        for seq in &self.refused {
            match Batch::read(journal, seq - 1, 1).await? {
                Some(one) if one.last == *seq => match one.insert(database).await {
                    Ok(()) => {
                        health.forwarded(1);
                        taken.push(*seq);
                    }
                    Err(Refusal::Away(why)) => return Err(why),
                    Err(Refusal::Record(_)) => {}
                },
                // Not in the journal any more: there is nothing left to offer.
                Some(_) | None => taken.push(*seq),
            }
        }
        if !taken.is_empty() {
            self.refused.retain(|seq| !taken.contains(seq));
            self.report(source, health, Vec::new(), taken).await;
        }
        Ok(())
    }

    async fn report(
        &self,
        source: &Source,
        health: &SinkShared,
        refused: Vec<(i64, String)>,
        taken_after_all: Vec<i64>,
    ) {
        health.position(self.position);
        health.refused(self.refused.len() as u64);
        let progress =
            Progress { sink: Arc::clone(&self.name), position: self.position, refused, taken_after_all };
        // Fails when the writer is gone: then the batch is repeated after the next start, which does no harm.
        let _ = source.progress.send(progress).await;
    }
}

/// Some records as one JSON text, which is how both databases handle forty columns a row best.
pub(crate) struct Batch {
    pub(crate) last: i64,
    records: u64,
    pub(crate) json: String,
    /// In which its records began.
    months: String,
}

impl Batch {
    pub(crate) async fn read(
        journal: &mut SqliteConnection,
        position: i64,
        limit: i64,
    ) -> Result<Option<Batch>, String> {
        let (last, records, json, months): (Option<i64>, i64, String, Option<String>) =
            sqlx::query_as(AssertSqlSafe(batch_sql()))
                .bind(position)
                .bind(limit)
                .fetch_one(journal)
                .await
                .map_err(|error| format!("reading the journal: {error}"))?;
        Ok(last.map(|last| Batch {
            last,
            records: records.unsigned_abs(),
            json,
            months: months.unwrap_or_default(),
        }))
    }
}

impl Batch {
    async fn insert(&self, database: &mut Database) -> Result<(), Refusal> {
        database.months(&self.months).await?;
        database.insert(&self.json).await
    }
}

fn batch_sql() -> Arc<str> {
    static SQL: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| {
        let fields = COLUMNS.map(|column| format!("'{0}', {0}", column.name)).join(", ");
        format!(
            "SELECT max(seq), count(*), json_group_array(json_object({fields})),
                    group_concat(DISTINCT strftime('%Y-%m', started_at / 1000000, 'unixepoch'))
             FROM (SELECT * FROM cdr WHERE seq > ? ORDER BY seq LIMIT ?)"
        )
        .into()
    });
    Arc::clone(&SQL)
}

impl Refusal {
    fn into_reason(self) -> String {
        match self {
            Refusal::Away(why) | Refusal::Record(why) => why,
        }
    }
}
