//! Whether the journal and PostgreSQL say the same: `drawbridge cdr verify`.
//!
//! Both are read a page at a time while the box runs. What the journal has and the forwarder has not sent yet is no difference.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use crate::cdr::COLUMNS;
use crate::error::VerifyError;
use crate::journal;
use crate::postgres::{Target, record_columns, record_values};
use crate::sink::{Batch, Shape};

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
    /// This box's records in PostgreSQL, since the first that the journal still has.
    pub postgres: u64,
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

/// Compares the journal in `data_dir` with the database at `postgres`, for the records of `node`.
///
/// # Errors
/// When either cannot be read.
pub async fn verify(data_dir: &Path, postgres: &str, node: &str) -> Result<Verified, VerifyError> {
    let target = Target::parse(postgres)?;
    let mut journal = journal::connect_reader(&data_dir.join("drawbridge.db")).await?;
    let mut database = target.connect_to_read().await?;
    let installation: String =
        sqlx::query_scalar("SELECT id::text FROM installation LIMIT 1").fetch_one(&mut database).await?;
    let position: Option<i64> = sqlx::query_scalar("SELECT position FROM sink WHERE name = ?")
        .bind(format!("postgres:{installation}"))
        .fetch_optional(&mut journal)
        .await?;
    let mut found = Verified::default();
    compare_journal(&mut journal, &mut database, position.unwrap_or(0), &mut found).await?;
    compare_database(&mut journal, &mut database, node, &mut found).await?;
    journal.close().await?;
    database.close().await?;
    Ok(found)
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
    position: i64,
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
        let waits = page.last > position;
        let rows =
            sqlx::query(AssertSqlSafe(sql.as_str())).bind(&page.json).fetch_all(&mut *database).await?;
        for row in rows {
            let (missing, other): (bool, bool) = (row.try_get("missing")?, row.try_get("other")?);
            match (missing, other) {
                // A page that is half sent is looked at as one that waits.
                (true, _) if waits => found.waiting += 1,
                (true, _) => found.differs(row.try_get("id")?, "PostgreSQL does not have it"),
                (false, true) => {
                    found.journal += 1;
                    found.differs(row.try_get("id")?, "PostgreSQL has other values");
                }
                (false, false) => found.journal += 1,
            }
        }
    }
    Ok(())
}

/// Every record of this box in PostgreSQL is in the journal, as far back as that goes.
async fn compare_database(
    journal: &mut SqliteConnection,
    database: &mut PgConnection,
    node: &str,
    found: &mut Verified,
) -> Result<(), VerifyError> {
    let first: Option<i64> =
        sqlx::query_scalar("SELECT min(started_at) FROM cdr").fetch_one(&mut *journal).await?;
    let Some(first) = first else { return Ok(()) };
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
        let ids: Vec<&String> = rows.iter().map(|(_, id)| id).collect();
        let known: Vec<String> =
            sqlx::query_scalar("SELECT id FROM cdr WHERE id IN (SELECT value FROM json_each(?))")
                .bind(serde_json::to_string(&ids).unwrap_or_default())
                .fetch_all(&mut *journal)
                .await?;
        let known: BTreeSet<String> = known.into_iter().collect();
        for (_, id) in rows {
            if !known.contains(&id) {
                found.differs(id, "the journal does not have it");
            }
        }
    }
}
