//! The start after a process that did not end well: what it had handed over is committed, calls that were up and can go on
//! keep their open records and are handed out, and those that it took with it get theirs closed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use call::{EndedBy, Interrupted};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use uuid::Uuid;

use crate::cdr::{COLUMNS, Value};
use crate::commit::insert_values;
use crate::encoded::{decode, said};
use crate::error::{CommitError, OpenError};
use crate::journal;
use crate::spool::{self, Kind, LastSign};
use crate::uptime::Uptime;
use crate::writer;

/// Which calls go on in this process.
#[derive(Clone, Copy)]
pub(crate) struct Survivors<'a> {
    /// In one of so many shards; `None`: none do.
    pub(crate) shards: Option<u16>,
    /// The listeners that there are.
    pub(crate) listeners: &'a [String],
}

/// A box that was away for longer finds nobody who still talks: who hangs up asks for half a minute and then takes the call for
/// ended, and so do peers that hear nothing.
const MOST_AWAY: i64 = 5 * 60 * 1_000_000;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Attempts that were not over: their records say `crash`.
    pub(crate) crashed: u64,
    /// Records that were handed over and not committed.
    pub(crate) uncommitted: u64,
    /// Attempts that were over and whose records are in the log alone.
    pub(crate) over: u64,
    /// Attempts whose calls go on: their records stay open.
    pub(crate) goes_on: HashSet<Uuid>,
    /// Those calls.
    pub(crate) interrupted: Vec<Interrupted>,
    /// Why others do not, and how many.
    pub(crate) lost: BTreeMap<String, u64>,
}

/// Commits everything that is known of the process before this one, in one transaction, and takes the spool away. Dying in
/// between repeats it, which changes nothing: each record has the key that it would have had. `alive`: when it last lived; `run`: this
/// process.
pub(crate) fn recover(
    path: &Path,
    connection: &mut Connection,
    spool: &Path,
    alive: LastSign,
    run: i64,
    survivors: Survivors<'_>,
) -> Result<Found, OpenError> {
    let unreadable =
        |source| OpenError::File { what: "cannot read the spool", path: spool.to_owned(), source };
    let files = spool::spools(spool).and_then(|paths| spool::left_behind(&paths)).map_err(unreadable)?;
    let failed = |source| OpenError::Journal { path: path.to_owned(), source };
    let found = commit(connection, &files, alive, run, survivors).map_err(failed)?;
    spool::clear(spool, false);
    tell(&found);
    Ok(found)
}

/// What a disk without room could not be given at the start. The box starts all the same, and this comes before everything
/// else that is committed; no call goes on.
pub(crate) struct Later {
    files: Vec<PathBuf>,
    alive: LastSign,
    run: i64,
}

impl Later {
    /// `None`: it is not for want of room that nothing could be committed, or what there is cannot be put aside.
    pub(crate) fn after(error: &OpenError, spool: &Path, alive: LastSign, run: i64) -> Option<Later> {
        let OpenError::Journal { source, .. } = error else { return None };
        if !matches!(source.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::DiskFull)) {
            return None;
        }
        let files = spool::set_aside(spool, writer::utc_now()).ok()?;
        Some(Later { files, alive, run })
    }

    /// The `seq` of the last record then.
    pub(crate) fn commit(&self, connection: &mut Connection) -> Result<i64, CommitError> {
        let files = spool::left_behind(&self.files)?;
        let nobody = Survivors { shards: None, listeners: &[] };
        tell(&commit(connection, &files, self.alive, self.run, nobody)?);
        for path in &self.files {
            // What cannot be taken away is read again at the next start, and changes nothing then.
            let _ = std::fs::remove_file(path);
        }
        Ok(journal::last_seq(connection)?)
    }
}

fn tell(found: &Found) {
    if found.crashed + found.uncommitted > 0 {
        let (crashed, uncommitted) = (found.crashed, found.uncommitted);
        tracing::warn!(
            crashed,
            uncommitted,
            "the process before this one died: the records of its calls are written"
        );
    }
    if found.over > 0 {
        let records = found.over;
        tracing::warn!(records, "the log of the process before this one has records that are nowhere else");
    }
    for (why, calls) in &found.lost {
        tracing::warn!(calls, "calls that were up are lost: {why}");
    }
    if !found.interrupted.is_empty() {
        let calls = found.interrupted.len();
        tracing::warn!(calls, "the process before this one died: the calls that were up go on");
    }
}

fn commit(
    connection: &mut Connection,
    files: &[Vec<u8>],
    alive: LastSign,
    run: i64,
    survivors: Survivors<'_>,
) -> rusqlite::Result<Found> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut found = Found::default();
    let kept: Vec<(Vec<u8>, Option<Vec<u8>>)> = transaction
        .prepare("SELECT record, state FROM open_cdr")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    // A process that died before its own first sign of life has left that of the one before it.
    let is_of_another = alive.utc != 0 && !journal::runs(&transaction)?.contains(&alive.run);
    let dropped_before = journal::dropped_before(&transaction)?;
    let mut open: BTreeMap<String, Attempt<'_>> = BTreeMap::new();
    for (record, state) in &kept {
        if let Some(attempt) = Attempt::read(record, state.as_deref()) {
            open.insert(attempt.text("id"), Attempt { is_of_another, ..attempt });
        }
    }
    for (kind, entry) in files.iter().flat_map(|file| spool::entries(file)) {
        let read = match kind {
            Kind::Open | Kind::Closed => Attempt::read(entry, None),
            Kind::Over => {
                let attempt = Uuid::from_slice(entry).ok().and_then(|id| open.remove(&id.to_string()));
                found.over += u64::from(attempt.is_some());
                continue;
            }
            Kind::Ended => {
                let ended = spool::split_ended(entry);
                if let Some((attempt, at)) =
                    ended.and_then(|(id, at)| Some((open.get_mut(&id.to_string())?, at)))
                {
                    attempt.ended_at = Some(at);
                }
                continue;
            }
            Kind::Kept => {
                spool::split_kept(entry).and_then(|(record, state)| Attempt::read(record, Some(state)))
            }
        };
        // A file is emptied when it is long, and what was committed of it may have been dropped for its age by then.
        let Some(attempt) = read.filter(|attempt| attempt.integer("ended_at") >= Some(dropped_before)) else {
            continue;
        };
        match kind {
            Kind::Open | Kind::Kept | Kind::Over | Kind::Ended => {
                open.insert(attempt.text("id"), attempt);
            }
            Kind::Closed => {
                open.remove(&attempt.text("id"));
                found.uncommitted += attempt.insert(&transaction)?;
            }
        }
    }
    for (id, attempt) in std::mem::take(&mut open) {
        if !exists(&transaction, "SELECT 1 FROM cdr WHERE id = ?", &id)? {
            open.insert(id, attempt);
        }
    }
    let mut going_on = Vec::new();
    for (id, attempt) in std::mem::take(&mut open) {
        let has_end = exists(&transaction, HAS_END, &attempt.text("call_id"))?;
        match attempt.survives(alive, survivors) {
            Ok(Some(shard)) if !has_end => going_on.push((shard, attempt)),
            Ok(_) => {
                open.insert(id, attempt);
            }
            Err(why) => {
                *found.lost.entry(why).or_default() += 1;
                open.insert(id, attempt);
            }
        }
    }
    let last = last_of_each(&open);
    let calls: BTreeSet<String> = going_on.iter().map(|(_, attempt)| attempt.text("call_id")).collect();
    for (id, mut attempt) in open {
        let call = attempt.text("call_id");
        let is_last = last.contains(&id) && !calls.contains(&call) && !exists(&transaction, HAS_END, &call)?;
        attempt.end(alive, is_last);
        found.crashed += attempt.insert(&transaction)?;
    }
    journal::set_run(&transaction, run, alive.run)?;
    journal::add_lost(&transaction, i64::try_from(found.over).unwrap_or(i64::MAX))?;
    transaction.execute("DELETE FROM open_cdr", [])?;
    for (shard, attempt) in going_on {
        attempt.stay_open(shard, &mut found, &transaction)?;
    }
    transaction.commit()?;
    Ok(found)
}

const HAS_END: &str = "SELECT 1 FROM cdr WHERE call_id = ? AND is_last";

fn exists(connection: &Connection, sql: &'static str, id: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached(sql)?.exists([id])
}

/// Of the open attempts of a call the one that tells how the call ended: who talked, else the one that began last of those that
/// were not given up.
fn last_of_each(open: &BTreeMap<String, Attempt<'_>>) -> BTreeSet<String> {
    let mut calls: BTreeMap<String, Vec<(&String, &Attempt<'_>)>> = BTreeMap::new();
    for (id, attempt) in open {
        calls.entry(attempt.text("call_id")).or_default().push((id, attempt));
    }
    let rank = |attempt: &Attempt<'_>| {
        let went_on = attempt.text("ended_by") == EndedBy::Crash.as_str();
        (attempt.integer("answered_at"), went_on, attempt.integer("attempt"))
    };
    let last = calls.values().filter_map(|attempts| attempts.iter().max_by_key(|(_, attempt)| rank(attempt)));
    last.map(|(id, _)| (*id).clone()).collect()
}

/// Microseconds between two moments of one start of the machine.
fn since(later: Option<Uptime>, earlier: Option<Uptime>) -> Option<i64> {
    later?.since(earlier?)
}

/// A record as its values.
struct Attempt<'a> {
    values: Vec<Value<'a>>,
    /// When it was as it says.
    said: Option<Uptime>,
    /// It is from another process than the one of which there are signs of life: a backup of the journal has brought it back.
    is_of_another: bool,
    /// Known of one whose record died with its process.
    ended_at: Option<i64>,
    /// As they were found.
    record: &'a [u8],
    /// With which another process can go on with the call.
    state: Option<&'a [u8]>,
}

impl<'a> Attempt<'a> {
    /// `None`: no record of this program's.
    fn read(record: &'a [u8], state: Option<&'a [u8]>) -> Option<Attempt<'a>> {
        let values = decode(record)?;
        let attempt =
            Attempt { values, said: said(record), is_of_another: false, ended_at: None, record, state };
        (!attempt.text("id").is_empty()).then_some(attempt)
    }

    /// The shard that goes on with its call, if it was up; else why none does.
    fn survives(&self, alive: LastSign, survivors: Survivors<'_>) -> Result<Option<u16>, String> {
        let (Some(state), Some(shards), None) = (self.state, survivors.shards, self.ended_at) else {
            return Ok(None);
        };
        if self.is_of_another {
            return Err(
                "expected the journal as the process before this one left it, got one from before that"
                    .to_owned(),
            );
        }
        let away = self.now() - self.lived_until(alive);
        if away > MOST_AWAY {
            let (most, away) = (MOST_AWAY / 1_000_000, away / 1_000_000);
            return Err(format!("expected the box to be away for at most {most} s, and it was for {away} s"));
        }
        let shard = call::shard_of_kept(state, survivors.listeners, shards);
        shard.map(Some).map_err(|error| error.to_string())
    }

    /// It goes on: its record is that of this process now.
    fn stay_open(self, shard: u16, found: &mut Found, connection: &Connection) -> rusqlite::Result<()> {
        let (Some(state), Ok(id)) = (self.state, Uuid::parse_str(&self.text("id"))) else { return Ok(()) };
        let mut keep =
            connection.prepare_cached("INSERT INTO open_cdr (id, record, state) VALUES (?, ?, ?)")?;
        keep.execute((&id.as_bytes()[..], self.record, state))?;
        let mut last = connection.prepare_cached("SELECT max(attempt) FROM cdr WHERE call_id = ?")?;
        let recorded: Option<i64> = last.query_row([self.text("call_id")], |row| row.get(0))?;
        let attempts = recorded.max(self.integer("attempt")).unwrap_or(0);
        let attempts = u32::try_from(attempts).unwrap_or(0);
        found.goes_on.insert(id);
        let behind = writer::utc_now() - self.now();
        found.interrupted.push(Interrupted { shard, state: state.into(), attempts, behind });
        Ok(())
    }

    /// When its process was last known to live, by the clock of its call. With nothing to go by but the wall clock, that is
    /// taken for it.
    fn lived_until(&self, alive: LastSign) -> i64 {
        let last_word = self.integer("ended_at").unwrap_or(0);
        match since(alive.uptime, self.said) {
            _ if self.is_of_another => last_word,
            Some(micros) => last_word.saturating_add(micros),
            None => last_word.max(alive.utc),
        }
    }

    /// What the clock of its call says now.
    fn now(&self) -> i64 {
        let last_word = self.integer("ended_at").unwrap_or(0);
        since(Uptime::now(), self.said)
            .map_or_else(writer::utc_now, |micros| last_word.saturating_add(micros))
    }

    fn value(&self, name: &str) -> &Value<'a> {
        let index = COLUMNS.iter().position(|column| column.name == name);
        index.and_then(|index| self.values.get(index)).unwrap_or(&Value::Null)
    }

    fn set(&mut self, name: &str, value: i64) {
        let index = COLUMNS.iter().position(|column| column.name == name);
        if let Some(slot) = index.and_then(|index| self.values.get_mut(index)) {
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

    /// It ended when the process did: when that was last known to live, or later said something of this very attempt. Where
    /// a side had left before, the record tells that already, and where it was over before, that is known.
    fn end(&mut self, alive: LastSign, is_last: bool) {
        self.set("is_last", i64::from(is_last));
        if self.text("ended_by") != EndedBy::Crash.as_str() {
            return;
        }
        let ended = self.ended_at.unwrap_or_else(|| self.lived_until(alive));
        let since = |from: Option<i64>| from.map_or(0, |from| (ended - from).max(0) / 1000);
        let (ringing, answered) = (self.integer("ringing_at"), self.integer("answered_at"));
        self.set("ended_at", ended);
        self.set("duration_ms", since(answered));
        if answered.is_none() {
            self.set("ring_ms", since(ringing));
        }
    }

    /// How many rows that made: none when it was there.
    fn insert(self, connection: &Connection) -> rusqlite::Result<u64> {
        Ok(insert_values(connection, &self.values)? as u64)
    }
}
