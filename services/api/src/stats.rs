//! What carriers measure each other by.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::control::{StatsQuestion, TrunkStats};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::rfc3339;

/// The longest time of one row.
const DAY: u64 = 86_400;

/// Figures by trunk and interval, the oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stats {
    stats: Vec<Row>,
}

/// One trunk in one interval.
#[derive(Serialize, ToSchema)]
pub(crate) struct Row {
    /// Null for phones.
    trunk: Option<String>,
    /// When the interval began.
    #[schema(format = "date-time")]
    from: String,
    /// Attempts to reach the trunk, or calls that came from it.
    seizures: u64,
    /// Those that were answered.
    answered: u64,
    /// Answer-seizure ratio: answered of all, in per cent.
    asr: f64,
    /// Network effectiveness ratio: answered, busy, rung out or refused by who was called, of all, in per cent.
    ner: f64,
    /// Average duration of what was answered, in seconds.
    acd_s: Option<f64>,
    /// Mean time from INVITE to ringing or the answer, in milliseconds.
    pdd_ms: Option<f64>,
}

impl From<TrunkStats> for Row {
    fn from(stats: TrunkStats) -> Row {
        let TrunkStats { trunk, from, seizures, answered, asr, ner, acd_s, pdd_ms } = stats;
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        Row {
            trunk,
            from: rfc3339::format(from),
            seizures,
            answered,
            asr: rounded(asr),
            ner: rounded(ner),
            acd_s: acd_s.map(rounded),
            pdd_ms: pdd_ms.map(rounded),
        }
    }
}

/// ASR, NER, ACD and PDD by trunk and interval, out of this box's journal.
#[utoipa::path(
    get,
    path = "/v1/stats",
    operation_id = "stats",
    tag = "cdrs",
    params(
        ("from" = String, Query, format = "date-time", description = "Begun at or after this time"),
        ("to" = String, Query, format = "date-time", description = "Begun before this time"),
        ("interval" = Option<u32>, Query, minimum = 60, maximum = 86400, description = "Seconds of one row, 3600 when absent"),
        ("by" = Option<String>, Query, description = "trunk_out (each attempt counts; when absent) or trunk_in (each call counts)"),
        ("trunk" = Option<String>, Query, description = "One trunk alone")
    ),
    responses(
        (status = 200, description = "At most 10000 rows; of more there is none, but a problem (400)", body = Stats),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn stats(
    State(api): State<Api>,
    Query(given): Query<Vec<(String, String)>>,
) -> Result<Json<Stats>, Problem> {
    let stats = api.records.stats(question(given)?).await?;
    Ok(Json(Stats { stats: stats.into_iter().map(Row::from).collect() }))
}

fn question(given: Vec<(String, String)>) -> Result<StatsQuestion, Problem> {
    let mut parameters = Parameters::new(given);
    let time = "an RFC 3339 time such as 2026-01-02T03:04:05Z";
    let from = parameters.read("from", time, rfc3339::parse);
    let to = parameters.read("to", time, rfc3339::parse);
    let seconds = |text: &str| text.parse().ok().filter(|seconds| (60..=DAY).contains(seconds));
    let interval = parameters.read("interval", "seconds from 60 to 86400", seconds).unwrap_or(3600);
    let by_source = parameters.read("by", "trunk_out or trunk_in", |text| match text {
        "trunk_in" => Some(true),
        "trunk_out" => Some(false),
        _ => None,
    });
    let trunk = parameters.text("trunk");
    for (name, value) in [("from", from), ("to", to)] {
        if value.is_none() {
            parameters.error(name, format!("expected {time}"));
        }
    }
    parameters.finish()?;
    // Both are there, or it would have been said.
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let interval = Duration::from_secs(interval);
    Ok(StatsQuestion { from, to, interval, by_source: by_source.unwrap_or(false), trunk })
}
