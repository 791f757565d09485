//! The start after a process that did not end well: what it had handed over is committed, and the calls that it took with it
//! get their records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Connection, Row, SqliteConnection};

use crate::cdr::{COLUMNS, Value};
use crate::encoded::decode;
use crate::error::OpenError;
use crate::spool::{self, Kind};
use crate::writer;

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Attempts that were not over: their records say `crash`.
    pub(crate) crashed: u64,
    /// Records that were handed over and not committed.
    pub(crate) uncommitted: u64,
}

/// Commits everything that is known of the process before this one, in one transaction, and takes the spool away. Dying in
/// between repeats it, which changes nothing: each record has the key that it would have had.
pub(crate) async fn recover(
    path: &Path,
    connection: &mut SqliteConnection,
    spool: &Path,
) -> Result<Found, OpenError> {
    let unreadable =
        |source| OpenError::File { what: "cannot read the spool", path: spool.to_owned(), source };
    let files = spool::left_behind(spool).map_err(unreadable)?;
    let alive = spool::last_alive(spool).unwrap_or(0);
    let failed = |source| OpenError::Journal { path: path.to_owned(), source };
    let found = commit(connection, &files, alive).await.map_err(failed)?;
    spool::clear(spool, false);
    if found.crashed + found.uncommitted > 0 {
        let (crashed, uncommitted) = (found.crashed, found.uncommitted);
        tracing::warn!(
            crashed,
            uncommitted,
            "the process before this one died: the records of its calls are written"
        );
    }
    Ok(found)
}

async fn commit(
    connection: &mut SqliteConnection,
    files: &[Vec<u8>],
    alive: i64,
) -> Result<Found, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut found = Found::default();
    let kept: Vec<Vec<u8>> = sqlx::query("SELECT record FROM open_cdr")
        .fetch_all(&mut *transaction)
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut open: BTreeMap<String, Attempt<'_>> = BTreeMap::new();
    for attempt in kept.iter().filter_map(|record| Attempt::read(record)) {
        open.insert(attempt.text("id"), attempt);
    }
    for (kind, record) in files.iter().flat_map(|file| spool::entries(file)) {
        let Some(attempt) = Attempt::read(record) else { continue };
        match kind {
            Kind::Open => {
                open.insert(attempt.text("id"), attempt);
            }
            Kind::Closed => {
                open.remove(&attempt.text("id"));
                found.uncommitted += attempt.insert(&mut transaction).await?;
            }
        }
    }
    for (id, attempt) in std::mem::take(&mut open) {
        if !exists(&mut transaction, "SELECT 1 FROM cdr WHERE id = ?", &id).await? {
            open.insert(id, attempt);
        }
    }
    let last = last_of_each(&open);
    for (id, mut attempt) in open {
        let call = attempt.text("call_id");
        let has_end = "SELECT 1 FROM cdr WHERE call_id = ? AND is_last";
        let is_last = last.contains(&id) && !exists(&mut transaction, has_end, &call).await?;
        attempt.end(alive, is_last);
        found.crashed += attempt.insert(&mut transaction).await?;
    }
    sqlx::query("DELETE FROM open_cdr").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(found)
}

async fn exists(connection: &mut SqliteConnection, sql: &'static str, id: &str) -> Result<bool, sqlx::Error> {
    Ok(sqlx::query(sql).bind(id).fetch_optional(connection).await?.is_some())
}

/// Of the open attempts of a call the one that tells how the call ended: who talked, else the one that began last.
fn last_of_each(open: &BTreeMap<String, Attempt<'_>>) -> BTreeSet<String> {
    let mut calls: BTreeMap<String, Vec<(&String, &Attempt<'_>)>> = BTreeMap::new();
    for (id, attempt) in open {
        calls.entry(attempt.text("call_id")).or_default().push((id, attempt));
    }
    let rank = |attempt: &Attempt<'_>| (attempt.integer("answered_at"), attempt.integer("attempt"));
    let last = calls.values().filter_map(|attempts| attempts.iter().max_by_key(|(_, attempt)| rank(attempt)));
    last.map(|(id, _)| (*id).clone()).collect()
}

/// A record as its values.
struct Attempt<'a>(Vec<Value<'a>>);

impl<'a> Attempt<'a> {
    /// `None`: no record of this program's.
    fn read(bytes: &'a [u8]) -> Option<Attempt<'a>> {
        let attempt = Attempt(decode(bytes)?);
        (!attempt.text("id").is_empty()).then_some(attempt)
    }

    fn value(&self, name: &str) -> &Value<'a> {
        let index = COLUMNS.iter().position(|column| column.name == name);
        index.and_then(|index| self.0.get(index)).unwrap_or(&Value::Null)
    }

    fn set(&mut self, name: &str, value: i64) {
        let index = COLUMNS.iter().position(|column| column.name == name);
        if let Some(slot) = index.and_then(|index| self.0.get_mut(index)) {
            *slot = Value::Integer(value);
        }
    }

    fn text(&self, name: &str) -> String {
        match self.value(name) {
            Value::Text(text) => text.to_string(),
            Value::Null | Value::Integer(_) | Value::Real(_) => String::new(),
        }
    }

    fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Value::Integer(integer) => Some(*integer),
            Value::Null | Value::Text(_) | Value::Real(_) => None,
        }
    }

    /// It ended when the process did: when that was last known to live, or later said something of this very attempt.
    fn end(&mut self, alive: i64, is_last: bool) {
        let ended = self.integer("ended_at").unwrap_or(0).max(alive);
        let since = |from: Option<i64>| from.map_or(0, |from| (ended - from).max(0) / 1000);
        let (ringing, answered) = (self.integer("ringing_at"), self.integer("answered_at"));
        self.set("ended_at", ended);
        self.set("is_last", i64::from(is_last));
        self.set("duration_ms", since(answered));
        if answered.is_none() {
            self.set("ring_ms", since(ringing));
        }
    }

    /// How many rows that made: none when it was there.
    async fn insert(self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        for value in self.0 {
            writer::add(value, &mut arguments)?;
        }
        let done = sqlx::query_with(sqlx::AssertSqlSafe(writer::insert_sql(1)), arguments)
            .execute(connection)
            .await?;
        Ok(done.rows_affected())
    }
}
