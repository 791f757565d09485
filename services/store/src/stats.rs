//! What carriers measure each other by, out of the journal: ASR, NER, ACD and PDD by trunk and interval (ITU-T E.425, RFC 6076).

use std::time::Duration;

use call::Utc;
use sqlx::{QueryBuilder, Row, SqlitePool};

use crate::error::Error;
use crate::query::fetch;

/// The most rows of an answer.
pub const MAX_ROWS: usize = 10_000;

/// How long a question may read: a month of a million records takes a second or two of the processor.
const DEADLINE: Duration = Duration::from_secs(20);

/// Which trunks are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Those that calls were sent to: each attempt counts.
    #[default]
    TrunkOut,
    /// Those that calls came from: each call counts once, as it ended.
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
    /// Those that reached who was called (ITU-T E.425: answered, busy, rung without an answer, refused by the terminal): busy,
    /// whatever became of them when it had rung, and what only a user says (480, 603). What the network failed or refused, what
    /// policy refused and what a caller took back before it rang did not.
    pub effective: u64,
    /// Time that was talked, in milliseconds.
    pub talked_ms: u64,
    /// Mean post-dial delay in milliseconds, of those that rang or were answered.
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

pub(crate) async fn stats(pool: &SqlitePool, question: &Question) -> Result<Vec<Figures>, Error> {
    let (column, rows) = match question.by {
        By::TrunkOut => ("trunk_out", "attempt > 0 AND trunk_out IS NOT NULL"),
        By::TrunkIn => ("trunk_in", "is_last"),
    };
    let interval = i64::try_from(question.interval.as_micros()).unwrap_or(i64::MAX).max(1);
    let mut query = QueryBuilder::new("SELECT ");
    query.push(column).push(" AS trunk, started_at / ").push_bind(interval).push(" * ").push_bind(interval);
    query.push(
        " AS slot, count(*) AS seizures, sum(disposition = 'answered') AS answered,
          sum(disposition IN ('answered', 'busy')
              OR ringing_at IS NOT NULL AND disposition IN ('no_answer', 'rejected', 'cancelled')
              OR disposition IN ('no_answer', 'rejected') AND sip_code_b IN (480, 603)) AS effective,
          sum(duration_ms) AS talked_ms, avg(pdd_ms) AS pdd_ms
          FROM cdr WHERE ",
    );
    query.push(rows).push(" AND started_at >= ").push_bind(question.from.0);
    query.push(" AND started_at < ").push_bind(question.to.0);
    if let Some(trunk) = &question.trunk {
        query.push(" AND ").push(column).push(" = ").push_bind(trunk.clone());
    }
    query.push(" GROUP BY 1, 2 ORDER BY 2, 1 LIMIT ").push_bind(MAX_ROWS as i64);
    let count = |value: i64| value.unsigned_abs();
    fetch(pool, &mut query, DEADLINE)
        .await?
        .iter()
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
