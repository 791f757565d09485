//! Reading records: filters, and pages that stay in place while new records come in.
//!
//! A record is committed when its attempt is over, so one of a long call comes late, behind others that began after it. Whoever
//! reads from the newest back would never see it. So there are two orders: by when calls began, newest first, within what the
//! journal had when the first page was read; and by arrival (`seq`), which says where that reader goes on, and which sees
//! every record once, whenever it comes.

use std::time::{Duration, Instant};

use call::{Disposition, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};
use uuid::Uuid;

use crate::cdr::Record;
use crate::error::Error;

/// The most records of a page.
pub const MAX_PAGE: usize = 1000;

/// Rows that a page by arrival looks at: it reads on from where it is, and a filter that matches little must not make it read
/// for longer than [`DEADLINE`].
const MOST_LOOKED_AT: i64 = 100_000;

/// How long a search may read. A filter that matches little makes SQLite read much.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

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
    /// Which records come first; a cursor says it as well, and counts.
    pub order: Order,
    /// [`Page::next_cursor`] of the page before, or a [`Page::follow_cursor`].
    pub cursor: Option<String>,
    /// The most records wanted, up to [`MAX_PAGE`]; 0 is taken as 1.
    pub limit: usize,
}

/// Which records come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Those that began last: by `started_at`, then `id`, both descending.
    #[default]
    Newest,
    /// Those that came first: by `seq`, ascending.
    Arrival,
}

/// Some records.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// In the order that was asked for.
    pub records: Vec<Record>,
    /// Where the next page begins. Of [`Order::Newest`] it is absent when this is the last one. Of [`Order::Arrival`] it is
    /// always there, also when there is nothing yet or the filter let nothing through: what comes later is behind it.
    pub next_cursor: Option<String>,
    /// Of [`Order::Newest`]: by arrival, everything that the journal did not have when the first page was read.
    pub follow_cursor: Option<String>,
    /// There is more behind `next_cursor` now.
    pub more: bool,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cursor {
    /// The last record of the page before, and the last that the journal had when the first page was read.
    Newest { started_at: i64, id: Uuid, upto: i64 },
    /// The last record that was looked at.
    Arrival { seq: i64 },
}

impl Cursor {
    fn parse(text: &str) -> Result<Cursor, Error> {
        Cursor::read(text).ok_or_else(|| Error::Cursor(text.chars().take(80).collect()))
    }

    fn read(text: &str) -> Option<Cursor> {
        if let Some(seq) = text.strip_prefix("seq.") {
            return Some(Cursor::Arrival { seq: seq.parse().ok().filter(|seq| *seq >= 0)? });
        }
        let mut parts = text.split('.');
        let (started_at, id, upto) = (parts.next()?, parts.next()?, parts.next()?);
        let (started_at, upto) = (started_at.parse().ok()?, upto.parse().ok()?);
        parts.next().is_none().then_some(Cursor::Newest { started_at, id: Uuid::try_parse(id).ok()?, upto })
    }

    /// The last `seq` of which it knows.
    fn upto(self) -> i64 {
        match self {
            Cursor::Newest { upto, .. } => upto,
            Cursor::Arrival { seq } => seq,
        }
    }

    fn text(self) -> String {
        match self {
            Cursor::Newest { started_at, id, upto } => format!("{started_at}.{}.{upto}", id.simple()),
            Cursor::Arrival { seq } => format!("seq.{seq}"),
        }
    }
}

/// One page.
pub(crate) async fn cdrs(pool: &SqlitePool, filter: &Filter) -> Result<Page, Error> {
    let cursor = filter.cursor.as_deref().map(Cursor::parse).transpose()?;
    if let Some(cursor) = cursor
        && cursor.upto() > last_given(pool).await?
    {
        return Err(Error::Cursor(cursor.text()));
    }
    match (cursor, filter.order) {
        (Some(Cursor::Arrival { seq }), _) => by_arrival(pool, filter, seq).await,
        (Some(Cursor::Newest { started_at, id, upto }), _) => {
            newest(pool, filter, upto, Some((started_at, id))).await
        }
        (None, Order::Arrival) => by_arrival(pool, filter, 0).await,
        (None, Order::Newest) => newest(pool, filter, last_seq(pool).await?, None).await,
    }
}

/// Records that the journal had up to `upto`, which began before this one. Reads one more than asked, which tells whether there
/// is another page.
async fn newest(
    pool: &SqlitePool,
    filter: &Filter,
    upto: i64,
    before: Option<(i64, Uuid)>,
) -> Result<Page, Error> {
    let limit = filter.limit.clamp(1, MAX_PAGE);
    let mut query = search(filter);
    // Said of a computed value, so that it is no reason to read the table in the order of `seq`.
    query.push(" AND seq + 0 <= ").push_bind(upto);
    if let Some((started_at, id)) = before {
        query.push(" AND (started_at, id) < (").push_bind(started_at);
        query.push(", ").push_bind(id.to_string()).push(")");
    }
    query.push(" ORDER BY started_at DESC, id DESC LIMIT ").push_bind(limit as i64 + 1);
    let rows = fetch(pool, &mut query, DEADLINE).await?;
    let records = rows.iter().take(limit).map(Record::read).collect::<Result<Vec<_>, _>>()?;
    let more = rows.len() > limit;
    let last = records.last().filter(|_| more);
    let next =
        last.map(|record| Cursor::Newest { started_at: record.fact.started_at.0, id: record.fact.id, upto });
    let follow_cursor = Some(Cursor::Arrival { seq: upto }.text());
    Ok(Page { next_cursor: next.map(Cursor::text), records, follow_cursor, more })
}

/// Records behind this one in the order of their arrival.
async fn by_arrival(pool: &SqlitePool, filter: &Filter, seq: i64) -> Result<Page, Error> {
    let limit = filter.limit.clamp(1, MAX_PAGE);
    let last = last_seq(pool).await?;
    // Up to here every record was committed when it was asked, so nothing can come before it any more.
    let upto = last.min(seq.saturating_add(MOST_LOOKED_AT));
    let mut query = search(filter);
    query.push(" AND seq > ").push_bind(seq).push(" AND seq <= ").push_bind(upto);
    query.push(" ORDER BY seq LIMIT ").push_bind(limit as i64);
    let rows = fetch(pool, &mut query, DEADLINE).await?;
    let records = rows.iter().map(Record::read).collect::<Result<Vec<_>, _>>()?;
    let looked_to = match rows.last() {
        Some(row) if rows.len() == limit => row.try_get("seq")?,
        Some(_) | None => upto.max(seq),
    };
    let next_cursor = Some(Cursor::Arrival { seq: looked_to }.text());
    Ok(Page { records, next_cursor, follow_cursor: None, more: looked_to < last })
}

async fn last_seq(pool: &SqlitePool) -> Result<i64, Error> {
    let mut query = QueryBuilder::new("SELECT coalesce(max(seq), 0) AS last FROM cdr");
    let rows = fetch(pool, &mut query, DEADLINE).await?;
    Ok(rows.first().map(|row| row.try_get("last")).transpose()?.unwrap_or(0))
}

/// The last `seq` that was ever given, to a record that may be gone by now. A cursor beyond it is of a journal that was younger, before a
/// backup was restored: who follows it would miss what comes until then.
async fn last_given(pool: &SqlitePool) -> Result<i64, Error> {
    let mut query =
        QueryBuilder::new("SELECT coalesce(max(seq), 0) AS last FROM sqlite_sequence WHERE name = 'cdr'");
    let rows = fetch(pool, &mut query, DEADLINE).await?;
    Ok(rows.first().map(|row| row.try_get("last")).transpose()?.unwrap_or(0))
}

/// Every record of a call, in the order of its attempts; the last one at the end.
pub(crate) async fn call(pool: &SqlitePool, call: Uuid) -> Result<Vec<Record>, Error> {
    let mut query = QueryBuilder::new("SELECT * FROM cdr WHERE call_id = ");
    query.push_bind(call.to_string()).push(" ORDER BY is_last, attempt LIMIT ").push_bind(MAX_PAGE as i64);
    fetch(pool, &mut query, DEADLINE).await?.iter().map(Record::read).collect()
}

/// Asks within the time that a question may take.
pub(crate) async fn fetch(
    pool: &SqlitePool,
    query: &mut QueryBuilder<Sqlite>,
    most: Duration,
) -> Result<Vec<SqliteRow>, Error> {
    let mut connection = pool.acquire().await?;
    let deadline = Instant::now() + most;
    // Stays with the pooled connection; the next search replaces it.
    connection.lock_handle().await?.set_progress_handler(10_000, move || Instant::now() < deadline);
    match query.build().fetch_all(&mut *connection).await {
        Ok(rows) => Ok(rows),
        Err(_) if Instant::now() >= deadline => Err(Error::Deadline(most)),
        Err(error) => Err(error.into()),
    }
}

/// What of a filter says which records are wanted.
fn search(filter: &Filter) -> QueryBuilder<Sqlite> {
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
    query
}
