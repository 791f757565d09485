//! Whether the journal and PostgreSQL say the same: `drawbridge cdr verify`.
//!
//! Both are read a page at a time while the box runs. What the journal has and the forwarder has not sent yet is no difference, and
//! neither is what is older than records are kept: either may have dropped it already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use crate::batch::{Batch, Shape};
use crate::cdr::COLUMNS;
use crate::error::VerifyError;
use crate::journal;
use crate::postgres::{Target, record_columns, record_values};
use crate::sink::position;
use crate::writer::utc_now;

/// Records of one page.
const PAGE: i64 = 500;

/// More differences than this are counted and not named.
const MOST: usize = 1000;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records in the journal that PostgreSQL should have.
    pub journal: u64,
    /// Records that the forwarder has not sent yet.
    pub waiting: u64,
    /// This box's records in PostgreSQL, as far back as the journal goes.
    pub postgres: u64,
    /// Records that the journal could not keep: they are in the log alone.
    pub lost: u64,
    /// How many differ.
    pub differences: u64,
    /// The first of them.
    pub named: Vec<Difference>,
}

/// A record that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The record.
    pub id: String,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Compares the journal in `data_dir` with the database at `postgres`, for the records of `node`, which are kept for so long.
///
/// # Errors
/// When either cannot be read.
pub async fn verify(
    data_dir: &Path,
    postgres: &str,
    node: &str,
    retention: Option<Duration>,
) -> Result<Verified, VerifyError> {
    let target = Target::parse(postgres)?;
    let mut journal = journal::connect_reader(&data_dir.join("drawbridge.db")).await?;
    let (found, expected) = journal::schemas(&mut journal).await?;
    if found != expected {
        return Err(VerifyError::Schema { found, expected });
    }
    let mut database = target.connect_to_read().await?;
    let sent = Sent::read(&mut journal, &mut database).await?;
    let lost: i64 = sqlx::query_scalar("SELECT lost FROM journal").fetch_one(&mut journal).await?;
    let mut found = Verified { lost: lost.unsigned_abs(), ..Verified::default() };
    let kept = Kept(retention.map(|retention| i64::try_from(retention.as_micros()).unwrap_or(i64::MAX)));
    compare_journal(&mut journal, &mut database, &sent, kept, &mut found).await?;
    compare_database(&mut journal, &mut database, node, kept, &mut found).await?;
    journal.close().await?;
    database.close().await?;
    Ok(found)
}

/// How far the forwarder has come.
struct Sent {
    position: i64,
    refused: BTreeSet<i64>,
}

impl Sent {
    /// As PostgreSQL knows it: where it has lost records, they are on their way again. An earlier version has told the journal
    /// alone.
    async fn read(journal: &mut SqliteConnection, database: &mut PgConnection) -> Result<Sent, VerifyError> {
        let installation: String =
            sqlx::query_scalar("SELECT id::text FROM installation LIMIT 1").fetch_one(&mut *database).await?;
        let sink = format!("postgres:{installation}");
        let is_told: bool = sqlx::query_scalar("SELECT to_regclass('forwarded') IS NOT NULL")
            .fetch_one(&mut *database)
            .await?;
        let mut told = None;
        if is_told {
            told = sqlx::query_scalar("SELECT position FROM forwarded WHERE journal = $1")
                .bind(journal::identity(journal).await?)
                .fetch_optional(&mut *database)
                .await?;
        }
        let position = match told {
            Some(position) => position,
            None => position(journal, &sink).await?,
        };
        let refused = "SELECT seq FROM sink_refused WHERE sink = ? AND taken_at IS NULL";
        let refused: Vec<i64> = sqlx::query_scalar(refused).bind(&sink).fetch_all(&mut *journal).await?;
        Ok(Sent { position, refused: refused.into_iter().collect() })
    }
}

/// For how many microseconds records are kept; for ever where that is not said.
#[derive(Clone, Copy)]
struct Kept(Option<i64>);

impl Kept {
    /// Whether either side may have dropped a record that began then. Asked after both were read.
    fn may_be_gone(self, started_at: i64) -> bool {
        self.0.is_some_and(|kept| started_at < utc_now().saturating_sub(kept))
    }
}

impl Verified {
    fn differs(&mut self, id: String, what: &'static str) {
        self.differences += 1;
        if self.named.len() < MOST {
            self.named.push(Difference { id, what });
        }
    }
}

/// Every record of the journal is in PostgreSQL, column by column.
async fn compare_journal(
    journal: &mut SqliteConnection,
    database: &mut PgConnection,
    sent: &Sent,
    kept: Kept,
    found: &mut Verified,
) -> Result<(), VerifyError> {
    let columns = COLUMNS.map(|column| format!("c.{}", column.name)).join(", ");
    let sql = format!(
        "SELECT r.id::text AS id, c.id IS NULL AS missing, ({columns}) IS DISTINCT FROM ({}) AS other
         FROM json_to_recordset($1::json) AS r({}) LEFT JOIN cdr c ON c.id = r.id",
        record_values(),
        record_columns()
    );
    let mut read = 0;
    while let Some(page) =
        Batch::read(journal, Shape::Stored, read, PAGE).await.map_err(VerifyError::Journal)?
    {
        read = page.last;
        let rows =
            sqlx::query(AssertSqlSafe(sql.as_str())).bind(&page.json).fetch_all(&mut *database).await?;
        let mut missing = Vec::new();
        for row in rows {
            let (is_missing, is_other): (bool, bool) = (row.try_get("missing")?, row.try_get("other")?);
            if is_missing {
                missing.push(row.try_get("id")?);
                continue;
            }
            found.journal += 1;
            if is_other {
                found.differs(row.try_get("id")?, "PostgreSQL has other values");
            }
        }
        name_missing(journal, missing, sent, kept, found).await?;
    }
    Ok(())
}

/// Of what PostgreSQL does not have, what it should have. What the journal has dropped meanwhile is not among it.
async fn name_missing(
    journal: &mut SqliteConnection,
    missing: Vec<String>,
    sent: &Sent,
    kept: Kept,
    found: &mut Verified,
) -> Result<(), VerifyError> {
    let known = known(journal, &missing).await?;
    for id in missing {
        let Some((seq, started_at)) = known.get(&id) else { continue };
        if sent.refused.contains(seq) {
            found.differs(id, "PostgreSQL refuses it");
        } else if *seq > sent.position {
            found.waiting += 1;
        } else if !kept.may_be_gone(*started_at) {
            found.differs(id, "PostgreSQL does not have it");
        }
    }
    Ok(())
}

/// Which of these the journal has: `seq` and when they began.
async fn known(
    journal: &mut SqliteConnection,
    ids: &[String],
) -> Result<BTreeMap<String, (i64, i64)>, VerifyError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as("SELECT id, seq, started_at FROM cdr WHERE id IN (SELECT value FROM json_each(?))")
            .bind(serde_json::to_string(ids).unwrap_or_default())
            .fetch_all(journal)
            .await?;
    Ok(rows.into_iter().map(|(id, seq, started_at)| (id, (seq, started_at))).collect())
}

/// Every record of this box in PostgreSQL is in the journal, as far back as that goes. What it keeps for longer, because it is
/// refused, is no measure of that.
async fn compare_database(
    journal: &mut SqliteConnection,
    database: &mut PgConnection,
    node: &str,
    kept: Kept,
    found: &mut Verified,
) -> Result<(), VerifyError> {
    let first: Option<i64> = sqlx::query_scalar(
        "SELECT started_at FROM cdr WHERE seq NOT IN (SELECT seq FROM sink_refused)
         ORDER BY started_at LIMIT 1",
    )
    .fetch_optional(&mut *journal)
    .await?;
    let Some(first) = first else { return Ok(()) };
    let first = kept.0.map_or(first, |kept| first.max(utc_now().saturating_sub(kept)));
    let mut after = (first - 1, String::from("ffffffff-ffff-ffff-ffff-ffffffffffff"));
    loop {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT (extract(epoch from started_at) * 1000000)::bigint, id::text FROM cdr
             WHERE node = $1 AND (started_at, id) > (timestamptz 'epoch' + $2 * interval '1 microsecond', $3::uuid)
             ORDER BY started_at, id LIMIT $4",
        )
        .bind(node)
        .bind(after.0)
        .bind(&after.1)
        .bind(PAGE)
        .fetch_all(&mut *database)
        .await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.clone();
        found.postgres += rows.len() as u64;
        let ids: Vec<String> = rows.iter().map(|(_, id)| id.clone()).collect();
        let known = known(journal, &ids).await?;
        for (started_at, id) in rows {
            if !known.contains_key(&id) && !kept.may_be_gone(started_at) {
                found.differs(id, "the journal does not have it");
            }
        }
    }
}
