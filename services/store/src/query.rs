//! Reading records: filters, and pages that stay in place while new records come in.

use std::time::{Duration, Instant};

use call::{Disposition, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite, SqlitePool};
use uuid::Uuid;

use crate::cdr::Record;
use crate::error::Error;

/// The most records of a page.
pub const MAX_PAGE: usize = 1000;

/// How long a search may read. A filter that matches little makes SQLite read much.
const DEADLINE: Duration = Duration::from_secs(5);

/// Which records are wanted; everything absent matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Started at or after.
    pub from: Option<Utc>,
    /// Started before.
    pub to: Option<Utc>,
    /// Name of the source or target trunk.
    pub trunk: Option<String>,
    /// The caller's or called number, whole, as received or as sent.
    pub number: Option<String>,
    /// How the attempt went.
    pub disposition: Option<Disposition>,
    /// The final status that the caller got or that the target gave.
    pub code: Option<u16>,
    /// [`Page::next_cursor`] of the page before.
    pub cursor: Option<String>,
    /// The most records wanted, up to [`MAX_PAGE`]; 0 is taken as 1.
    pub limit: usize,
}

/// Some records, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// By `started_at`, then `id`, both descending.
    pub records: Vec<Record>,
    /// Where the next page begins; absent when this is the last. Records that are committed later never move or repeat
    /// one that a page has shown.
    pub next_cursor: Option<String>,
}

/// The last record of a page: the next one begins after it.
struct Cursor {
    started_at: i64,
    id: Uuid,
}

impl Cursor {
    fn parse(text: &str) -> Result<Cursor, Error> {
        let foreign = || Error::Cursor(text.chars().take(80).collect());
        let (started_at, id) = text.split_once('.').ok_or_else(foreign)?;
        Ok(Cursor {
            started_at: started_at.parse().map_err(|_| foreign())?,
            id: Uuid::try_parse(id).map_err(|_| foreign())?,
        })
    }

    fn after(record: &Record) -> String {
        format!("{}.{}", record.fact.started_at.0, record.fact.id.simple())
    }
}

/// One page. Reads one record more than asked, which tells whether there is another page.
pub(crate) async fn cdrs(pool: &SqlitePool, filter: &Filter) -> Result<Page, Error> {
    let limit = filter.limit.clamp(1, MAX_PAGE);
    let mut query = search(filter, limit)?;
    let rows = fetch(pool, &mut query).await?;
    let mut records = rows.iter().take(limit).map(Record::read).collect::<Result<Vec<_>, _>>()?;
    records.shrink_to_fit();
    let next_cursor = if rows.len() > limit { records.last().map(Cursor::after) } else { None };
    Ok(Page { records, next_cursor })
}

/// Every record of a call, in the order of its attempts; the last one at the end.
pub(crate) async fn call(pool: &SqlitePool, call: Uuid) -> Result<Vec<Record>, Error> {
    let mut query = QueryBuilder::new("SELECT * FROM cdr WHERE call_id = ");
    query.push_bind(call.to_string()).push(" ORDER BY is_last, attempt LIMIT ").push_bind(MAX_PAGE as i64);
    fetch(pool, &mut query).await?.iter().map(Record::read).collect()
}

/// Asks within the time that a question may take.
pub(crate) async fn fetch(
    pool: &SqlitePool,
    query: &mut QueryBuilder<Sqlite>,
) -> Result<Vec<SqliteRow>, Error> {
    let mut connection = pool.acquire().await?;
    let deadline = Instant::now() + DEADLINE;
    // Stays with the pooled connection; the next search replaces it.
    connection.lock_handle().await?.set_progress_handler(10_000, move || Instant::now() < deadline);
    match query.build().fetch_all(&mut *connection).await {
        Ok(rows) => Ok(rows),
        Err(_) if Instant::now() >= deadline => Err(Error::Deadline(DEADLINE)),
        Err(error) => Err(error.into()),
    }
}

fn search(filter: &Filter, limit: usize) -> Result<QueryBuilder<Sqlite>, Error> {
    let mut query = QueryBuilder::new("SELECT * FROM cdr WHERE true");
    if let Some(from) = filter.from {
        query.push(" AND started_at >= ").push_bind(from.0);
    }
    if let Some(to) = filter.to {
        query.push(" AND started_at < ").push_bind(to.0);
    }
    if let Some(trunk) = &filter.trunk {
        query.push(" AND (trunk_in = ").push_bind(trunk.clone());
        query.push(" OR trunk_out = ").push_bind(trunk.clone()).push(")");
    }
    if let Some(number) = &filter.number {
        query.push(" AND (caller = ").push_bind(number.clone());
        query.push(" OR called = ").push_bind(number.clone());
        query.push(" OR called_sent = ").push_bind(number.clone()).push(")");
    }
    if let Some(disposition) = filter.disposition {
        query.push(" AND disposition = ").push_bind(disposition.as_str());
    }
    if let Some(code) = filter.code {
        query.push(" AND (sip_code_a = ").push_bind(i64::from(code));
        query.push(" OR sip_code_b = ").push_bind(i64::from(code)).push(")");
    }
    if let Some(cursor) = &filter.cursor {
        let cursor = Cursor::parse(cursor)?;
        query.push(" AND (started_at, id) < (").push_bind(cursor.started_at);
        query.push(", ").push_bind(cursor.id.to_string()).push(")");
    }
    query.push(" ORDER BY started_at DESC, id DESC LIMIT ").push_bind(limit as i64 + 1);
    Ok(query)
}
