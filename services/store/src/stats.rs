//! What carriers measure each other by, out of the journal: ASR, NER, ACD and PDD by trunk and interval (ITU-T E.425, RFC 6076).
//!
//! A target is measured by what it said itself; what the caller got of it may be another target's. So a trunk that calls come
//! from is measured by the whole call, of which a transfer makes several attempts that talked.

use std::time::Duration;

use call::Utc;
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};

use crate::error::Error;
use crate::query::fetch;

/// The most rows of an answer.
pub const MAX_ROWS: usize = 10_000;

/// How long a question may read: a month of a million records takes a second or two of the processor.
const DEADLINE: Duration = Duration::from_secs(20);

/// Which trunks are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Those that calls were sent to: each attempt counts that left the box, but those that were sent elsewhere by 3xx (RFC 6076 §4.6).
    #[default]
    TrunkOut,
    /// Those that calls came from: each call that is over counts once, as it ended, in the time in which it began.
    TrunkIn,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Begun at or after.
    pub from: Utc,
    /// Begun before.
    pub to: Utc,
    /// The length of one row's time.
    pub interval: Duration,
    /// Which trunks.
    pub by: By,
    /// One trunk alone.
    pub trunk: Option<String>,
}

/// One trunk in one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// The trunk; absent for phones.
    pub trunk: Option<String>,
    /// When the interval began.
    pub from: Utc,
    /// Attempts, or calls.
    pub seizures: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Those that reached who was called (RFC 6076 §4.7, ITU-T E.425): answered, busy (486, 600), refused by the terminal (480, 603),
    /// or rung without an answer. What the network failed or refused, what policy refused and what a caller took back before it
    /// rang did not. 183 counts as ringing, since that is how gateways to the telephone network ring.
    pub effective: u64,
    /// Time that was talked, in milliseconds.
    pub talked_ms: u64,
    /// Mean post-dial delay in milliseconds, of those that rang or were answered; of a call, with the time that was spent on targets
    /// before the one that rang.
    pub pdd_ms: Option<f64>,
}

impl Figures {
    /// Answer-seizure ratio, in per cent.
    pub fn asr(&self) -> f64 {
        self.answered as f64 * 100.0 / self.seizures.max(1) as f64
    }

    /// Network effectiveness ratio, in per cent.
    pub fn ner(&self) -> f64 {
        self.effective as f64 * 100.0 / self.seizures.max(1) as f64
    }

    /// Average call duration of those that were answered, in seconds.
    pub fn acd(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.talked_ms as f64 / 1000.0 / self.answered as f64)
    }
}

/// Attempts of trunks that were asked. A party that was in a call already when another took it over, which has no rank, was not.
/// Attempts before there were origins have none.
const ATTEMPTS: &str = "
    SELECT trunk_out AS trunk, started_at AS began, duration_ms AS talked_ms, pdd_ms,
           coalesce(sip_code_b BETWEEN 200 AND 299, false) AS answered,
           CASE WHEN sip_code_b BETWEEN 200 AND 299 THEN true
                WHEN sip_code_b IN (480, 486, 600, 603) THEN true
                WHEN sip_code_b IS NULL OR sip_code_b IN (408, 487) THEN ringing_at IS NOT NULL
                ELSE false END AS effective
    FROM cdr
    WHERE attempt > 0 AND b_destination IS NOT NULL AND (origin IS NOT 'transfer' OR rank IS NOT NULL)
      AND coalesce(sip_code_b, 0) NOT BETWEEN 300 AND 399";

/// Calls that are over, by all their rows; which calls, comes behind it.
const CALLS: &str = "
    SELECT trunk, began, talked_ms, pdd_ms, disposition = 'answered' AS answered,
           CASE WHEN disposition IN ('answered', 'busy') THEN true
                WHEN disposition IN ('no_answer', 'cancelled') AND rang THEN true
                WHEN disposition IN ('no_answer', 'rejected') THEN code IN (480, 603) AND said
                ELSE false END AS effective
    FROM (SELECT max(trunk_in) AS trunk, min(started_at) AS began,
                 max(iif(is_last, disposition, NULL)) AS disposition, max(iif(is_last, sip_code_a, NULL)) AS code,
                 max(ringing_at IS NOT NULL) AS rang, max(sip_code_b IN (480, 603)) AS said,
                 sum(iif(disposition = 'answered', duration_ms, 0)) AS talked_ms,
                 (min(started_at + pdd_ms * 1000) - min(started_at)) / 1000 AS pdd_ms
          FROM cdr WHERE call_id IN";

pub(crate) async fn stats(pool: &SqlitePool, question: &Question) -> Result<Vec<Figures>, Error> {
    let count = |value: i64| value.unsigned_abs();
    let rows = fetch(pool, &mut asked(question), DEADLINE).await?;
    // Whoever adds up what was cut off would not know.
    if rows.len() > MAX_ROWS {
        return Err(Error::TooMany);
    }
    rows.iter()
        .map(|row| {
            Ok(Figures {
                trunk: row.try_get("trunk")?,
                from: Utc(row.try_get("slot")?),
                seizures: count(row.try_get("seizures")?),
                answered: count(row.try_get("answered")?),
                effective: count(row.try_get("effective")?),
                talked_ms: count(row.try_get("talked_ms")?),
                pdd_ms: row.try_get("pdd_ms")?,
            })
        })
        .collect()
}

fn asked(question: &Question) -> QueryBuilder<Sqlite> {
    let interval = i64::try_from(question.interval.as_micros()).unwrap_or(i64::MAX).max(1);
    let (from, to) = (question.from.0, question.to.0);
    let mut query = QueryBuilder::new("SELECT trunk, began / ");
    query.push_bind(interval).push(" * ").push_bind(interval);
    query.push(
        " AS slot, count(*) AS seizures, sum(answered) AS answered, sum(effective) AS effective,
          sum(talked_ms) AS talked_ms, avg(pdd_ms) AS pdd_ms FROM (",
    );
    match question.by {
        By::TrunkOut => {
            query.push(ATTEMPTS).push(" AND trunk_out IS NOT NULL AND started_at >= ").push_bind(from);
            query.push(" AND started_at < ").push_bind(to);
        }
        // The first attempt begins with the call, and so does the row of one that never had any.
        By::TrunkIn => {
            query.push(CALLS).push(" (SELECT call_id FROM cdr WHERE attempt <= 1 AND started_at >= ");
            query.push_bind(from).push(" AND started_at < ").push_bind(to);
            query.push(") GROUP BY call_id HAVING max(is_last))");
            query.push(" WHERE coalesce(code, 0) NOT BETWEEN 300 AND 399");
        }
    }
    query.push(")");
    if let Some(trunk) = &question.trunk {
        query.push(" WHERE trunk = ").push_bind(trunk.clone());
    }
    query.push(" GROUP BY 1, 2 ORDER BY 2, 1 LIMIT ").push_bind(MAX_ROWS as i64 + 1);
    query
}
