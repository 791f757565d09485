//! What a destination of records has in common with every other: how far it has come, in batches of the journal's records, and
//! what becomes of one that it refuses.
//!
//! A destination is offered the records after its position, in order, and only when it has taken them the position moves.
//! Dying anywhere in between repeats a batch, which must do no harm there. A record that is refused for what it is, is put
//! aside, so that it holds up no other, and offered again at the next connection, when those that are new have been taken. A
//! destination that refuses one after the other is broken itself: it is left alone for a while. Records that it has no table for
//! are no sign of that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use sqlx::SqliteConnection;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::batch::{Batch, Shape};
use crate::cdr::clean;
use crate::health::SinkShared;
use crate::writer::Committed;

/// How long a wake-up waits for more: an fsync or a request is paid for each batch.
pub(crate) const GATHER: Duration = Duration::from_millis(100);

/// Records that are refused one after the other before it is the destination that is taken to be at fault.
const MOST_REFUSED: u32 = 5;

/// Records that were refused before and are offered again in one go.
const AGAIN: usize = 100;

/// A position that no destination says that it has.
const NEVER: i64 = i64::MAX;

/// What gets every record that the journal has.
pub(crate) trait Destination: Send {
    /// Whether it says at each connection how far it has come, and may have lost what it had taken.
    const SAYS_POSITION: bool;

    /// Takes a batch, all or none of it, with which it has everything up to `position`. One that it has taken before it leaves as
    /// it is.
    fn take(&mut self, batch: &Batch, position: i64) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// Why a destination did not take something.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is away, wedged, or set up wrongly: the same batch may go through later.
    Away(String),
    /// It says that a value breaks a rule of its own: the rest of the batch may go through without that record.
    Record(String),
    /// It has no place for a record of that time, which however many records in a row may share: nothing is wrong with it.
    Place(String),
}

impl Refusal {
    pub(crate) fn into_reason(self) -> String {
        match self {
            Refusal::Away(why) | Refusal::Record(why) | Refusal::Place(why) => why,
        }
    }
}

/// Where records come from and positions go to.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) committed: watch::Receiver<Committed>,
    pub(crate) progress: Sender<Progress>,
}

impl Source {
    /// Whether the store was closed before it was time to try again.
    pub(crate) async fn is_over_before(&mut self, backoff: &mut Backoff) -> bool {
        let ended = self.committed.wait_for(|committed| committed.last);
        tokio::time::timeout(backoff.wait(), ended).await.is_ok()
    }
}

/// What a sink has taken, kept by the writer with its next commit.
#[derive(Debug)]
pub(crate) struct Progress {
    sink: Arc<str>,
    position: i64,
    aside: Vec<(i64, Aside)>,
}

/// What became of a record that a sink has refused.
#[derive(Debug)]
enum Aside {
    Refused(String),
    /// Taken after all at this position, and to be offered again where that was lost.
    Taken(i64),
    /// There is nothing left to do.
    Done,
}

impl Progress {
    /// The sink has everything up to here.
    pub(crate) fn new(sink: &Arc<str>, position: i64) -> Progress {
        Progress { sink: Arc::clone(sink), position, aside: Vec::new() }
    }

    pub(crate) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut keep = connection.prepare_cached(
            "INSERT INTO sink (name, position, revision) VALUES (?, ?, 1)
             ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position), revision = 1",
        )?;
        keep.execute((&*self.sink, self.position))?;
        for (seq, aside) in &self.aside {
            match aside {
                Aside::Refused(reason) => connection.execute(
                    "INSERT INTO sink_refused (sink, seq, reason) VALUES (?, ?, ?)
                     ON CONFLICT (sink, seq) DO UPDATE SET reason = excluded.reason, taken_at = NULL",
                    (&*self.sink, seq, clean(reason)),
                )?,
                Aside::Taken(position) => connection.execute(
                    "UPDATE sink_refused SET taken_at = ? WHERE sink = ? AND seq = ?",
                    (position, &*self.sink, seq),
                )?,
                Aside::Done => connection
                    .execute("DELETE FROM sink_refused WHERE sink = ? AND seq = ?", (&*self.sink, seq))?,
            };
        }
        Ok(())
    }
}

/// How far a sink has come, as the journal knows.
pub(crate) async fn position(journal: &mut SqliteConnection, sink: &str) -> Result<i64, sqlx::Error> {
    Ok(known(journal, sink).await?.map_or(0, |(position, _)| position))
}

/// The same, and by which revision of the sinks; `None`: the sink is a new one.
async fn known(journal: &mut SqliteConnection, sink: &str) -> Result<Option<(i64, i64)>, sqlx::Error> {
    let known = sqlx::query_as("SELECT position, revision FROM sink WHERE name = ?").bind(sink);
    known.fetch_optional(journal).await
}

/// What an earlier version kept under another name is kept under this one, unless that is known already.
pub(crate) fn rename(journal: &mut Connection, earlier: &str, name: &str) -> rusqlite::Result<()> {
    let transaction = journal.transaction()?;
    let renamed = transaction.execute(
        "UPDATE sink SET name = ?2, revision = 1
         WHERE name = ?1 AND revision = 0 AND NOT EXISTS (SELECT 1 FROM sink WHERE name = ?2)",
        (earlier, name),
    )?;
    if renamed > 0 {
        transaction.execute("UPDATE sink_refused SET sink = ?2 WHERE sink = ?1", (earlier, name))?;
    }
    transaction.commit()
}

/// What is known of one destination.
pub(crate) struct Sink {
    pub(crate) name: Arc<str>,
    /// Everything up to here is there, or in `refused`.
    pub(crate) position: i64,
    refused: BTreeSet<i64>,
    /// What was refused and was taken after all, at this position: not known to be there for good. [`NEVER`]: it may be lost.
    taken: BTreeMap<i64, i64>,
    /// An earlier version kept the position, which did not tell the destination.
    is_untold: bool,
    shape: Shape,
    /// Records of one batch.
    most: i64,
    /// Records that were refused since one was taken.
    in_a_row: u32,
    /// Up to which of `refused` this round of offering them again has come.
    offered: i64,
    /// What comes behind a position, read while the destination took what was before.
    next: Option<(i64, Batch)>,
}

impl Sink {
    /// As the journal knows it.
    pub(crate) async fn load(
        journal: &mut SqliteConnection,
        name: &str,
        shape: Shape,
        most: i64,
    ) -> Result<Sink, sqlx::Error> {
        let known = known(journal, name).await?;
        let aside: Vec<(i64, Option<i64>)> =
            sqlx::query_as("SELECT seq, taken_at FROM sink_refused WHERE sink = ?")
                .bind(name)
                .fetch_all(journal)
                .await?;
        let refused = aside.iter().filter(|(_, taken_at)| taken_at.is_none()).map(|(seq, _)| *seq);
        Ok(Sink {
            name: name.into(),
            position: known.map_or(0, |(position, _)| position),
            refused: refused.collect(),
            taken: aside.iter().filter_map(|(seq, taken_at)| Some((*seq, (*taken_at)?))).collect(),
            is_untold: known.is_some_and(|(_, revision)| revision == 0),
            shape,
            most,
            in_a_row: 0,
            offered: 0,
            next: None,
        })
    }

    /// Goes back to where a destination says that it is, which may have lost what it had taken: a standby took over, or somebody
    /// has restored a backup. `None`: it knows of no position. What is put aside is no reason to go back, or those in
    /// front of it would be refused again, and again.
    pub(crate) async fn go_back(
        &mut self,
        journal: &mut SqliteConnection,
        has: Option<i64>,
    ) -> Result<(), sqlx::Error> {
        let has = match has {
            None if self.is_untold => return Ok(()),
            has => has.unwrap_or(0),
        };
        let lost: Vec<i64> =
            sqlx::query_scalar("SELECT seq FROM cdr WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?")
                .bind(has)
                .bind(self.position)
                .bind(
                    i64::try_from(self.refused.len() + self.taken.len())
                        .unwrap_or(i64::MAX)
                        .saturating_add(1),
                )
                .fetch_all(journal)
                .await?;
        if let Some(first) =
            lost.into_iter().find(|seq| !self.refused.contains(seq) && !self.taken.contains_key(seq))
        {
            let (sink, from) = (&*self.name, self.position);
            tracing::warn!(
                sink,
                from,
                to = first - 1,
                "records that were taken are gone; they are sent again"
            );
            self.position = first - 1;
        }
        Ok(())
    }

    /// Of what was taken after all, what a destination that says that it is here has for good. A later position came with a later
    /// transaction; the same one may be from before, so that is offered again.
    pub(crate) async fn settle(&mut self, has: Option<i64>, source: &Source, health: &SinkShared) {
        let mut aside = Vec::new();
        self.taken.retain(|seq, taken_at| {
            let is_there = has.is_some_and(|has| has > *taken_at);
            if !is_there {
                *taken_at = NEVER;
            }
            aside.push((*seq, if is_there { Aside::Done } else { Aside::Taken(NEVER) }));
            !is_there
        });
        if !aside.is_empty() {
            self.report(source, health, aside).await;
        }
    }

    /// Forwards the next batch; whether there was one.
    pub(crate) async fn forward(
        &mut self,
        journal: &mut SqliteConnection,
        destination: &mut impl Destination,
        source: &Source,
        health: &SinkShared,
    ) -> Result<bool, String> {
        let batch = match self.next.take() {
            Some((position, batch)) if position == self.position => batch,
            Some(_) | None => match Batch::read(journal, self.shape, self.position, self.most).await? {
                Some(batch) => batch,
                None => return Ok(false),
            },
        };
        // A batch that is full has more behind it: reading that takes about as long as the destination takes for this.
        let (taken, next) = if batch.records >= self.most.unsigned_abs() {
            tokio::join!(
                destination.take(&batch, batch.last),
                Batch::read(journal, self.shape, batch.last, self.most)
            )
        } else {
            (destination.take(&batch, batch.last).await, Ok(None))
        };
        match taken {
            Ok(()) => {
                // What could not be read is read again, and told then: this batch was taken.
                self.next = next.ok().flatten().map(|next| (batch.last, next));
                self.position = batch.last;
                self.in_a_row = 0;
                health.forwarded(batch.records);
                self.report(source, health, Vec::new()).await;
            }
            Err(Refusal::Away(why)) => return Err(why),
            Err(Refusal::Record(_) | Refusal::Place(_)) => {
                self.one_by_one(journal, destination, source, health, batch.last).await?
            }
        }
        Ok(true)
    }

    /// A record in this batch cannot be taken: finds out which, and puts it aside, so that it holds up no other.
    async fn one_by_one(
        &mut self,
        journal: &mut SqliteConnection,
        destination: &mut impl Destination,
        source: &Source,
        health: &SinkShared,
        last: i64,
    ) -> Result<(), String> {
        while self.position < last {
            let Some(one) = Batch::read(journal, self.shape, self.position, 1).await? else { return Ok(()) };
            let mut aside = Vec::new();
            match destination.take(&one, one.last).await {
                Ok(()) => {
                    self.in_a_row = 0;
                    health.forwarded(1);
                }
                Err(Refusal::Away(why)) => return Err(why),
                Err(Refusal::Record(why)) if self.in_a_row == MOST_REFUSED => {
                    self.in_a_row = 0;
                    return Err(format!("{MOST_REFUSED} records in a row were refused, and now: {why}"));
                }
                Err(Refusal::Record(why)) => {
                    self.in_a_row += 1;
                    aside.push(self.put_aside(&one, why));
                }
                Err(Refusal::Place(why)) => aside.push(self.put_aside(&one, why)),
            }
            self.position = one.last;
            self.report(source, health, aside).await;
        }
        Ok(())
    }

    fn put_aside(&mut self, one: &Batch, why: String) -> (i64, Aside) {
        let (seq, record) = (one.last, &*one.json);
        tracing::error!(seq, why, record, sink = &*self.name, "a call record is refused");
        self.taken.remove(&seq);
        self.refused.insert(seq);
        (seq, Aside::Refused(why))
    }

    /// Offers some of what was refused before, since the rule that it broke may be gone; whether there is more. One that is
    /// away in the middle is offered the rest when it is back.
    pub(crate) async fn offer_again<D: Destination>(
        &mut self,
        journal: &mut SqliteConnection,
        destination: &mut D,
        source: &Source,
        health: &SinkShared,
    ) -> Result<bool, String> {
        let next = self.next_of_those_refused();
        let mut aside = Vec::new();
        let mut away = None;
        for seq in &next {
            match Batch::read(journal, self.shape, seq - 1, 1).await? {
                Some(one) if one.last == *seq => match destination.take(&one, self.position).await {
                    Ok(()) => {
                        health.forwarded(1);
                        aside.push(self.taken_after_all(*seq, D::SAYS_POSITION));
                    }
                    Err(Refusal::Away(why)) => {
                        away = Some(why);
                        break;
                    }
                    Err(Refusal::Record(_) | Refusal::Place(_)) if self.refused.contains(seq) => {}
                    Err(Refusal::Record(why) | Refusal::Place(why)) => aside.push(self.put_aside(&one, why)),
                },
                // Not in the journal any more: there is nothing left to offer.
                Some(_) | None => aside.push(self.taken_after_all(*seq, false)),
            }
            self.offered = *seq;
        }
        if !aside.is_empty() {
            self.report(source, health, aside).await;
        }
        if let Some(why) = away {
            return Err(why);
        }
        let more = next.len() == AGAIN;
        if !more {
            self.offered = 0;
        }
        Ok(more)
    }

    /// Those that may be lost are offered with them.
    fn next_of_those_refused(&self) -> Vec<i64> {
        let ahead = self.offered + 1..;
        let lost = self.taken.range(ahead.clone()).filter(|(_, taken_at)| **taken_at == NEVER);
        let mut next: Vec<i64> = lost.take(AGAIN).map(|(seq, _)| *seq).collect();
        next.extend(self.refused.range(ahead).take(AGAIN));
        next.sort_unstable();
        next.truncate(AGAIN);
        next
    }

    fn taken_after_all(&mut self, seq: i64, may_be_lost: bool) -> (i64, Aside) {
        self.refused.remove(&seq);
        if may_be_lost {
            self.taken.insert(seq, self.position);
            (seq, Aside::Taken(self.position))
        } else {
            self.taken.remove(&seq);
            (seq, Aside::Done)
        }
    }

    /// The destination knows the position, which is kept.
    pub(crate) async fn told(&mut self, source: &Source, health: &SinkShared) {
        if std::mem::take(&mut self.is_untold) {
            self.report(source, health, Vec::new()).await;
        }
    }

    /// How much is refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.len() as u64
    }

    async fn report(&self, source: &Source, health: &SinkShared, aside: Vec<(i64, Aside)>) {
        let progress = Progress { sink: Arc::clone(&self.name), position: self.position, aside };
        // Fails when the writer is gone: then the batch is repeated after the next start, which does no harm. What is refused
        // must be known there before the position is, lest it be dropped from the journal.
        let _ = source.progress.send(progress).await;
        health.position(self.position);
        health.refused(self.refused());
    }
}
