//! One transaction: all that was handed over since the last, or nothing of it.
//!
//! These are the calls into SQLite that every call of the box pays for, so they go to it directly, a prepared statement for each
//! row, by whoever may wait for the disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use call::BindingChange;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql, TransactionBehavior};
use uuid::Uuid;

use crate::age::Look;
use crate::binding;
use crate::cdr::{COLUMNS, Value};
use crate::crash::Later;
use crate::encoded::decode;
use crate::error::CommitError;
use crate::journal;
use crate::open::{Changes, OpenRecords};
use crate::recorder::{Handed, What};
use crate::sink::Progress;
use crate::writer::utc_now;

/// A commit whose outcome is unknown (the disk failed under it) is repeated: the same record must not come twice.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let names = COLUMNS.map(|column| column.name).join(", ");
    let places = ["?"; COLUMNS.len()].join(", ");
    format!("INSERT INTO cdr ({names}) VALUES ({places}) ON CONFLICT (id) DO NOTHING")
});

/// What one transaction writes.
#[derive(Default)]
pub(crate) struct Batch {
    /// As their columns.
    pub(crate) records: Vec<(Uuid, Box<[u8]>)>,
    pub(crate) open: Changes,
    /// How much was handed over, what it replaced included.
    pub(crate) handed: usize,
    /// The last entry of each spool.
    pub(crate) marks: BTreeMap<u16, u64>,
    pub(crate) bindings: Vec<BindingChange>,
    pub(crate) progress: Vec<Progress>,
    /// Records that went to the log instead.
    pub(crate) lost: i64,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.bindings.is_empty()
            && self.progress.is_empty()
            && self.open.is_empty()
            && self.lost == 0
    }

    pub(crate) fn take(&mut self, Handed { what, mark }: Handed, open: &mut OpenRecords) {
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

    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.open.clear();
        self.handed = 0;
        self.marks.clear();
        self.bindings.clear();
        self.progress.clear();
        self.lost = 0;
    }
}

/// The file, as the one that writes it has it.
pub(crate) struct Journal {
    path: PathBuf,
    listeners: Arc<[String]>,
    /// What of the process before this one could not be committed at the start.
    later: Option<Later>,
    connection: Option<Connection>,
}

impl Journal {
    pub(crate) fn new(path: PathBuf, listeners: Arc<[String]>, later: Option<Later>) -> Journal {
        Journal { path, listeners, later, connection: None }
    }

    /// Whether what the process before this one left is still to be committed.
    pub(crate) fn has_later(&self) -> bool {
        self.later.is_some()
    }

    /// What SQLite has beside the file goes into it.
    pub(crate) fn close(&mut self) {
        if let Some(Err((_, error))) = self.connection.take().map(Connection::close) {
            tracing::warn!(%error, "closing the journal");
        }
    }

    /// Commits the batch; the `seq` of the last record, if there was one. May wait for the disk.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<Option<i64>, CommitError> {
        let mut connection = self.connected()?;
        let seq = self.write(batch, &mut connection)?;
        self.connection = Some(connection);
        Ok(seq)
    }

    /// The connection that there is, or a new one. It is given back where all went well: after an error SQLite may have rolled back
    /// by itself, and a new one has no doubt about it.
    fn connected(&mut self) -> rusqlite::Result<Connection> {
        self.connection.take().map_or_else(|| journal::connect_writer(&self.path), Ok)
    }

    fn write(&mut self, batch: &Batch, connection: &mut Connection) -> Result<Option<i64>, CommitError> {
        let mut seq = None;
        if let Some(later) = &self.later {
            seq = Some(later.commit(connection)?);
            self.later = None;
        }
        if batch.is_empty() {
            return Ok(seq);
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !batch.records.is_empty() {
            seq = Some(insert(&transaction, &batch.records)?);
        }
        batch.open.save(&transaction)?;
        let now = utc_now();
        for change in &batch.bindings {
            binding::save(&transaction, change, &self.listeners, now)?;
        }
        for progress in &batch.progress {
            progress.save(&transaction)?;
        }
        if batch.lost > 0 {
            journal::add_lost(&transaction, batch.lost)?;
        }
        transaction.commit()?;
        Ok(seq)
    }

    /// Drops what is too old: registrations, and up to `most` of the records that began `before` and that every sink has, which
    /// is so up to `forwarded_to`. Whether nothing of that is left. In a transaction of its own: a disk that has no room for what
    /// that writes may have room for records. Nothing is dropped without `look`, where there is news of the clocks, being kept.
    pub(crate) fn purge(
        &mut self,
        look: Option<Look>,
        before: Option<i64>,
        forwarded_to: i64,
        most: u32,
    ) -> Result<bool, CommitError> {
        let mut connection = self.connected()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        binding::purge(&transaction, utc_now())?;
        if let Some(look) = look {
            journal::set_looked(&transaction, look)?;
        }
        let purged = match before {
            Some(before) => journal::drop_before(&transaction, before, forwarded_to, most)?,
            None => true,
        };
        transaction.commit()?;
        self.connection = Some(connection);
        Ok(purged)
    }
}

/// Inserts records; the `seq` of the last.
fn insert(connection: &Connection, records: &[(Uuid, Box<[u8]>)]) -> rusqlite::Result<i64> {
    let mut insert = connection.prepare_cached(&INSERT)?;
    let mut is_new = true;
    for (_, record) in records {
        let Some(values) = decode(record) else { continue };
        is_new &= put(&mut insert, &values)? == 1;
    }
    if is_new {
        return Ok(connection.last_insert_rowid());
    }
    journal::last_seq(connection)
}

/// How many rows that made: none when the record was there.
pub(crate) fn insert_values(connection: &Connection, values: &[Value<'_>]) -> rusqlite::Result<usize> {
    put(&mut *connection.prepare_cached(&INSERT)?, values)
}

fn put(insert: &mut Statement<'_>, values: &[Value<'_>]) -> rusqlite::Result<usize> {
    for (place, value) in values.iter().enumerate() {
        insert.raw_bind_parameter(place + 1, value)?;
    }
    insert.raw_execute()
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
        }))
    }
}
