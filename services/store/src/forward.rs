//! From the journal to PostgreSQL: every committed record, in order, exactly once, whatever dies.
//!
//! Records are inserted under their primary keys, and a repeated record is dropped by its key. The position (`sink.rs`)
//! belongs to one database (its `installation` id): pointed at another, the forwarder begins at the start of the journal. The
//! database keeps it as well, in the transaction of each batch (table `forwarded`): one that comes back without its last
//! transactions says so itself, and gets what it has lost once more.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection;

use crate::age::Age;
use crate::backoff::Backoff;
use crate::batch::Shape;
use crate::health::{Shared, SinkShared};
use crate::indexes;
use crate::journal;
use crate::postgres::{Database, Dropped, Origin, Target};
use crate::sink::{GATHER, Refusal, Sink, Source};
use crate::spool::LastSign;

/// Records of one batch.
const BATCH: i64 = 500;

/// How often old months are looked for.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// How long a month that cannot be dropped just now is left alone.
const SOON: Duration = Duration::from_secs(60);

/// How often an idle connection is checked, so that `/health` tells the truth.
const PING: Duration = Duration::from_secs(10);

/// Forwards until the store is closed and everything is forwarded. With the database away it ends at once when the
/// store closes; whoever closes the store ends it when the database is slow.
pub(crate) async fn run(
    target: Target,
    mut source: Source,
    (retention, age): (Option<Duration>, Arc<Age>),
    shared: Arc<Shared>,
) {
    let mut old = OldMonths { node: &shared.node, retention, age, look_at: None, is_unindexed: false };
    let Some(health) = &shared.postgres else { return };
    if let Ok(position) = last_position(&source.path).await {
        health.position(position);
    }
    let mut sink = None;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
    let forwarding = async {
        while let Err(why) = session(&target, &mut source, (&mut sink, &mut old), health, &mut backoff).await
        {
            if health.link(false, Some(why.clone())) {
                tracing::warn!(why, "PostgreSQL takes no records; they wait in the journal");
            }
            if source.is_over_before(&mut backoff).await {
                return;
            }
        }
    };
    tokio::select! {
        () = forwarding => {}
        // Never ends by itself.
        () = indexes::keep(&target) => {}
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
    (sink, old): (&mut Option<Sink>, &mut OldMonths<'_>),
    health: &SinkShared,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let unread = |error: sqlx::Error| format!("reading the journal: {error}");
    let mut journal = journal::connect_reader(&source.path).await.map_err(unread)?;
    let journal_id = journal::identity(&mut journal).await.map_err(unread)?;
    let from = Origin { journal: journal_id.into(), node: old.node.into() };
    let mut database = target.connect(from).await.map_err(Refusal::into_reason)?;
    let name = format!("postgres:{}", database.installation);
    let sink = match sink {
        Some(known) if *known.name == *name => known,
        other => other.insert(Sink::load(&mut journal, &name, Shape::Stored, BATCH).await.map_err(unread)?),
    };
    let has = database.position().await.map_err(Refusal::into_reason)?;
    sink.go_back(&mut journal, has).await.map_err(unread)?;
    sink.settle(has, source, health).await;
    if has.is_none() {
        database.begin(sink.position).await.map_err(Refusal::into_reason)?;
    }
    sink.told(source, health).await;
    health.position(sink.position);
    health.refused(sink.refused());
    if health.link(true, None) {
        tracing::info!(position = sink.position, "PostgreSQL is connected");
    }
    let mut again = true;
    loop {
        let seen = *source.committed.borrow_and_update();
        while sink.forward(&mut journal, &mut database, source, health).await? {
            backoff.reset();
        }
        if again && !seen.last {
            again = sink.offer_again(&mut journal, &mut database, source, health).await?;
            continue;
        }
        if !seen.last && old.drop_from(&mut database).await.map_err(Refusal::into_reason)? {
            continue;
        }
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

/// This box's records in months that ended longer ago than it keeps them. Other boxes may keep theirs for longer.
struct OldMonths<'a> {
    node: &'a str,
    retention: Option<Duration>,
    age: Arc<Age>,
    /// When they are looked for again.
    look_at: Option<Instant>,
    /// That they stay for want of an index is said.
    is_unindexed: bool,
}

impl OldMonths<'_> {
    /// Drops some of them; whether there may be more at once.
    async fn drop_from(&mut self, database: &mut Database) -> Result<bool, Refusal> {
        let Some(retention) = self.retention else { return Ok(false) };
        if self.look_at.is_some_and(|at| Instant::now() < at) {
            return Ok(false);
        }
        // PostgreSQL goes by a clock of its own, which is often that of the same machine.
        if self.age.before(LastSign::now(0)).is_none() {
            return Ok(false);
        }
        // Also where it takes the connection along, or the next one would begin with it.
        self.look_at = Some(Instant::now() + SOON);
        let dropped = database.drop_old(self.node, retention).await?;
        let was_unindexed = std::mem::replace(&mut self.is_unindexed, dropped == Dropped::Unindexed);
        let wait = match dropped {
            Dropped::Some { months, records } => {
                tracing::info!(months, records, "call records older than they are kept were dropped");
                self.look_at = None;
                return Ok(true);
            }
            Dropped::Nothing => AGAIN,
            Dropped::Later => SOON,
            Dropped::Unindexed => {
                if !was_unindexed {
                    tracing::warn!(
                        "call records older than they are kept stay until all months have the index cdr_node"
                    );
                }
                SOON
            }
            Dropped::Refused(why) => {
                tracing::warn!(why, "call records older than they are kept cannot be dropped");
                AGAIN
            }
        };
        self.look_at = Some(Instant::now() + wait);
        Ok(false)
    }
}
