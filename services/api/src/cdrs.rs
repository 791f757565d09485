//! Call records.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use call::{Disposition, Identity, Tags, TlsVersion};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::cells::Row;
use crate::control::{CdrFilter, CdrPage, CdrRecord, RecordsError, address};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::rfc3339;

/// The most records of a page.
pub const MAX_PAGE: usize = 1000;

/// A page of records, newest first or in the order in which they came.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cdrs {
    cdrs: Vec<Cdr>,
    /// Pass it as `cursor` for the next page; null when this is the last. With `order=arrival` it is always there: what comes later
    /// is behind it.
    next_cursor: Option<String>,
    /// Newest first: pass it as `cursor`, when there is no next page, for what came since the first page was read.
    follow_cursor: Option<String>,
    /// There is more behind `next_cursor` now. With `order=arrival` a page may be empty although there is.
    more: bool,
}

/// The record of an attempt to reach a target; of a call that never had one, the only record.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct Cdr {
    #[schema(format = "uuid")]
    id: String,
    /// The same in all attempts of a call.
    #[schema(format = "uuid")]
    call_id: String,
    /// Counted from 1; 0 when no target was ever tried.
    attempt: u32,
    /// Whether this is the record that tells how the call ended.
    is_last: bool,
    node: String,
    a_sip_call_id: String,
    b_sip_call_id: Option<String>,
    trunk_in: Option<String>,
    trunk_out: Option<String>,
    route: Option<String>,
    caller: String,
    called: String,
    called_sent: Option<String>,
    a_source: String,
    b_destination: Option<String>,
    a_transport: String,
    b_transport: Option<String>,
    a_user_agent: Option<String>,
    b_user_agent: Option<String>,
    #[schema(format = "date-time")]
    started_at: String,
    #[schema(format = "date-time")]
    ringing_at: Option<String>,
    #[schema(format = "date-time")]
    answered_at: Option<String>,
    #[schema(format = "date-time")]
    ended_at: String,
    /// Answer to end.
    duration_ms: u64,
    /// Ringing to answer or end.
    ring_ms: u64,
    /// `answered`, `busy`, `no_answer`, `cancelled`, `rejected`, `failed` or `blocked`.
    #[schema(value_type = String)]
    disposition: &'static str,
    /// `caller`, `callee`, `policy`, `timer`, `media_timeout`, `api`, `error` or `crash`.
    #[schema(value_type = String)]
    ended_by: &'static str,
    sip_code_a: Option<u16>,
    sip_reason_a: Option<String>,
    sip_code_b: Option<u16>,
    sip_reason_b: Option<String>,
    q850: Option<u16>,
    codec_a: Option<String>,
    codec_b: Option<String>,
    /// RTP packets that came from A.
    a_packets: u64,
    a_octets: u64,
    a_lost: u64,
    a_jitter_ms: f32,
    a_mos: Option<f32>,
    /// RTP packets that came from B.
    b_packets: u64,
    b_octets: u64,
    b_lost: u64,
    b_jitter_ms: f32,
    b_mos: Option<f32>,
    /// The place of the target among those that the route named, from 1.
    rank: Option<u16>,
    /// `route`, `failover`, `fork`, `redirect` or `transfer`: how the attempt came about.
    #[schema(value_type = String)]
    origin: &'static str,
    /// Of the target of a transfer: the `id` of the attempt that talked before.
    #[schema(format = "uuid")]
    parent_id: Option<String>,
    /// INVITE to the first ringing or the answer.
    pdd_ms: Option<u64>,
    /// Where the caller wants its media.
    a_media: Option<String>,
    /// Where the callee wants its media.
    b_media: Option<String>,
    /// P-Asserted-Identity as it came.
    pai_in: Option<String>,
    /// P-Asserted-Identity as it was sent.
    pai_out: Option<String>,
    diversion_in: Option<String>,
    diversion_out: Option<String>,
    privacy_in: Option<String>,
    privacy_out: Option<String>,
    /// Cause of the caller's side: what it said, else what its status means (RFC 3398).
    q850_a: Option<u16>,
    /// Cause of the target's side.
    q850_b: Option<u16>,
    /// RTP packets of A that came behind a later one.
    a_reordered: u64,
    /// RTP packets of A that came more than once.
    a_duplicates: u64,
    /// Round trip between the box and A, as RTCP says.
    a_round_trip_ms: Option<u32>,
    /// From the answer to the first media of A.
    a_first_media_ms: Option<u32>,
    /// How often media of A came from another address than before.
    a_moves: u32,
    /// Why nothing was heard of A: `private_address`, `wrong_source`, `no_latch`, `wrong_key` (each with the address),
    /// `wrong_certificate`, `no_handshake` or `nothing_received`.
    a_fault: Option<String>,
    /// RTP packets of B that came behind a later one.
    b_reordered: u64,
    /// RTP packets of B that came more than once.
    b_duplicates: u64,
    /// Round trip between the box and B, as RTCP says.
    b_round_trip_ms: Option<u32>,
    /// From the answer to the first media of B.
    b_first_media_ms: Option<u32>,
    /// How often media of B came from another address than before.
    b_moves: u32,
    /// Why nothing was heard of B: `private_address`, `wrong_source`, `no_latch`, `wrong_key` (each with the address),
    /// `wrong_certificate`, `no_handshake` or `nothing_received`.
    b_fault: Option<String>,
    /// Where the call was recorded.
    recording: Option<String>,
    /// How media from and to A was encrypted: `sdes` or `dtls`, and the suite. Null: not by the box.
    srtp_a: Option<String>,
    /// How media from and to B was encrypted: `sdes` or `dtls`, and the suite. Null: not by the box.
    srtp_b: Option<String>,
    /// How often the box died during the call, was started again and went on with it.
    recovered: u32,
    /// How many milliseconds of media A wants in a packet, where its description says so.
    ptime_a: Option<u16>,
    /// How many B wants.
    ptime_b: Option<u16>,
    /// Which TLS A's connection speaks: `1.2` or `1.3`. Null: none.
    #[schema(value_type = Option<String>)]
    a_tls: Option<&'static str>,
    /// Which TLS B's connection speaks. Null: none, or nothing was heard of B.
    #[schema(value_type = Option<String>)]
    b_tls: Option<&'static str>,
    /// What the configuration of the trunks and the route has for the record besides.
    tags: Option<BTreeMap<String, String>>,
}

impl From<CdrRecord> for Cdr {
    fn from(CdrRecord { node, fact, a_mos, b_mos }: CdrRecord) -> Cdr {
        let identity = |identity: Option<Box<Identity>>| *identity.unwrap_or_default();
        let Identity { asserted: pai_in, diversion: diversion_in, privacy: privacy_in } =
            identity(fact.identity_in);
        let Identity { asserted: pai_out, diversion: diversion_out, privacy: privacy_out } =
            identity(fact.identity_out);
        Cdr {
            id: fact.id.to_string(),
            call_id: fact.call_id.to_string(),
            attempt: fact.attempt,
            is_last: fact.is_last,
            node,
            a_sip_call_id: fact.a_sip_call_id.into(),
            b_sip_call_id: fact.b_sip_call_id.map(Into::into),
            trunk_in: fact.trunk_in.map(Into::into),
            trunk_out: fact.trunk_out.map(Into::into),
            route: fact.route.map(Into::into),
            caller: fact.caller.into(),
            called: fact.called.into(),
            called_sent: fact.called_sent.map(Into::into),
            a_source: address(fact.a_source),
            b_destination: fact.b_destination.map(address),
            a_transport: fact.a_transport.as_str().to_ascii_lowercase(),
            b_transport: fact.b_transport.map(|transport| transport.as_str().to_ascii_lowercase()),
            a_user_agent: fact.a_user_agent.map(Into::into),
            b_user_agent: fact.b_user_agent.map(Into::into),
            started_at: rfc3339::format(fact.started_at),
            ringing_at: fact.ringing_at.map(rfc3339::format),
            answered_at: fact.answered_at.map(rfc3339::format),
            ended_at: rfc3339::format(fact.ended_at),
            duration_ms: fact.duration_ms,
            ring_ms: fact.ring_ms,
            disposition: fact.disposition.as_str(),
            ended_by: fact.ended_by.as_str(),
            sip_code_a: fact.sip_code_a,
            sip_reason_a: fact.sip_reason_a.map(Into::into),
            sip_code_b: fact.sip_code_b,
            sip_reason_b: fact.sip_reason_b.map(Into::into),
            q850: fact.q850,
            codec_a: fact.codec_a.map(Into::into),
            codec_b: fact.codec_b.map(Into::into),
            a_packets: fact.from_a.packets,
            a_octets: fact.from_a.octets,
            a_lost: fact.from_a.lost,
            a_jitter_ms: fact.from_a.jitter_ms,
            a_mos,
            b_packets: fact.from_b.packets,
            b_octets: fact.from_b.octets,
            b_lost: fact.from_b.lost,
            b_jitter_ms: fact.from_b.jitter_ms,
            b_mos,
            rank: fact.rank,
            origin: fact.origin.as_str(),
            parent_id: fact.parent_id.map(|id| id.to_string()),
            pdd_ms: fact.pdd_ms,
            a_media: fact.a_media.map(address),
            b_media: fact.b_media.map(address),
            pai_in: pai_in.map(Into::into),
            pai_out: pai_out.map(Into::into),
            diversion_in: diversion_in.map(Into::into),
            diversion_out: diversion_out.map(Into::into),
            privacy_in: privacy_in.map(Into::into),
            privacy_out: privacy_out.map(Into::into),
            q850_a: fact.q850_a,
            q850_b: fact.q850_b,
            a_reordered: fact.from_a.reordered,
            a_duplicates: fact.from_a.duplicates,
            a_round_trip_ms: fact.from_a.round_trip_ms,
            a_first_media_ms: fact.from_a.first_media_ms,
            a_moves: fact.from_a.moves,
            a_fault: fact.from_a.deaf.map(|deaf| deaf.to_string()),
            b_reordered: fact.from_b.reordered,
            b_duplicates: fact.from_b.duplicates,
            b_round_trip_ms: fact.from_b.round_trip_ms,
            b_first_media_ms: fact.from_b.first_media_ms,
            b_moves: fact.from_b.moves,
            b_fault: fact.from_b.deaf.map(|deaf| deaf.to_string()),
            recording: fact.recording.map(Into::into),
            srtp_a: fact.from_a.srtp.map(|srtp| srtp.to_string()),
            srtp_b: fact.from_b.srtp.map(|srtp| srtp.to_string()),
            recovered: fact.recovered,
            ptime_a: fact.ptime_a,
            ptime_b: fact.ptime_b,
            a_tls: fact.a_tls.map(TlsVersion::as_str),
            b_tls: fact.b_tls.map(TlsVersion::as_str),
            tags: fact.tags.as_deref().map(named),
        }
    }
}

fn named(tags: &Tags) -> BTreeMap<String, String> {
    tags.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Call records, newest first or in the order in which they came.
///
/// A record comes when its attempt is over, that of a long call behind others that began later. Whoever wants every record asks
/// with `order=arrival` and goes on with `next_cursor` for ever, or reads from the newest back and then with `follow_cursor`.
#[utoipa::path(
    get,
    path = "/v1/cdrs",
    operation_id = "list_cdrs",
    tag = "cdrs",
    params(
        ("from" = Option<String>, Query, format = "date-time", description = "Started at or after this time"),
        ("to" = Option<String>, Query, format = "date-time", description = "Started before this time"),
        ("trunk" = Option<String>, Query, description = "Name of the source or target trunk"),
        ("number" = Option<String>, Query, description = "Caller's or called number, whole; a leading + as %2B"),
        ("disposition" = Option<String>, Query, description = "answered, busy, no_answer, cancelled, rejected, failed or blocked"),
        ("code" = Option<u16>, Query, description = "Final status that the caller got or the target gave"),
        ("order" = Option<String>, Query, description = "newest (by when calls began; when absent) or arrival (the first that came first, also those of long calls)"),
        ("cursor" = Option<String>, Query, description = "next_cursor or follow_cursor of a page, with the same filter; 400 when the journal, restored from a backup, is older"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "The most records wanted, 100 when absent")
    ),
    responses(
        (status = 200, description = "A page of records", body = Cdrs),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn list(
    State(api): State<Api>,
    Query(given): Query<Vec<(String, String)>>,
) -> Result<Json<Cdrs>, Problem> {
    let mut page = api.records.cdrs(filter(given)?).await?;
    let cdrs = std::mem::take(&mut page.records).into_iter().map(Cdr::from).collect();
    let CdrPage { next_cursor, follow_cursor, more, .. } = page;
    Ok(Json(Cdrs { cdrs, next_cursor, follow_cursor, more }))
}

/// The same page as CSV (RFC 4180), with a line of names; `tags` is one cell with an object of JSON. A text that a spreadsheet
/// would take for a formula has a `'` in front, and so has one that begins with `'`; telephone numbers stay as they are. The headers `next-cursor`,
/// `follow-cursor` and `more` say what the same fields of `/v1/cdrs` say.
#[utoipa::path(
    get,
    path = "/v1/cdrs.csv",
    operation_id = "export_cdrs",
    tag = "cdrs",
    params(
        ("from" = Option<String>, Query, format = "date-time", description = "Started at or after this time"),
        ("to" = Option<String>, Query, format = "date-time", description = "Started before this time"),
        ("order" = Option<String>, Query, description = "newest or arrival"),
        ("cursor" = Option<String>, Query, description = "next-cursor or follow-cursor of a page, with the same filter; 400 when the journal, restored from a backup, is older"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "The most records wanted, 100 when absent; every filter of /v1/cdrs works here too")
    ),
    responses(
        (status = 200, description = "A page of records", body = String, content_type = "text/csv"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn csv(
    State(api): State<Api>,
    Query(given): Query<Vec<(String, String)>>,
) -> Result<impl IntoResponse, Problem> {
    let page = api.records.cdrs(filter(given)?).await?;
    // RFC 4180 §2 ends lines with CRLF.
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let names = Row::of(&Cdr::default()).map_err(|error| unwritten(&error))?;
    writer.write_record(names.names()).map_err(|error| unwritten(&error))?;
    for record in page.records {
        let row = Row::of(&Cdr::from(record)).map_err(|error| unwritten(&error))?;
        writer.write_record(row.cells()).map_err(|error| unwritten(&error))?;
    }
    let body = writer.into_inner().unwrap_or_default();
    let mut headers = axum::http::HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, axum::http::HeaderValue::from_static("text/csv; charset=utf-8"));
    for (name, cursor) in [("next-cursor", page.next_cursor), ("follow-cursor", page.follow_cursor)] {
        if let Some(cursor) = cursor.and_then(|cursor| cursor.parse().ok()) {
            headers.insert(name, cursor);
        }
    }
    headers.insert("more", axum::http::HeaderValue::from_static(if page.more { "true" } else { "false" }));
    Ok((headers, body))
}

fn unwritten(error: &dyn std::error::Error) -> Problem {
    Problem::unavailable(&format!("a record cannot be written as CSV: {error}"))
}

fn filter(given: Vec<(String, String)>) -> Result<CdrFilter, Problem> {
    let mut parameters = Parameters::new(given);
    let time = "an RFC 3339 time such as 2026-01-02T03:04:05Z";
    let from = parameters.read("from", time, rfc3339::parse);
    let to = parameters.read("to", time, rfc3339::parse);
    let trunk = parameters.text("trunk");
    // A query string turns the + of an international number into a space; no number begins with one.
    let number = parameters.text("number").map(|number| match number.strip_prefix(' ') {
        Some(rest) => format!("+{rest}"),
        None => number,
    });
    let disposition = parameters.read("disposition", "answered, busy, no_answer, cancelled, …", |text| {
        Disposition::ALL.into_iter().find(|disposition| disposition.as_str() == text)
    });
    let status = |text: &str| text.parse().ok().filter(|code| (100..=699).contains(code));
    let code = parameters.read("code", "a SIP status from 100 to 699", status);
    let order = parameters.read("order", "newest or arrival", |text| match text {
        "arrival" => Some(true),
        "newest" => Some(false),
        _ => None,
    });
    let by_arrival = order.unwrap_or(false);
    let cursor = parameters.text("cursor");
    let limit = parameters.limit(100, MAX_PAGE);
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        parameters.error("to", format!("expected a time after from, found {}", rfc3339::format(to)));
    }
    parameters.finish()?;
    Ok(CdrFilter { from, to, trunk, number, disposition, code, by_arrival, cursor, limit })
}

impl From<RecordsError> for Problem {
    fn from(error: RecordsError) -> Problem {
        match error {
            RecordsError::Cursor(detail) => Problem::bad_parameter("cursor", detail),
            // That of the parameters which shortens every answer that is too long.
            RecordsError::TooMany(detail) => Problem::bad_parameter("interval", detail),
            RecordsError::TooSlow(detail) => Problem::timeout(&detail),
            RecordsError::Unavailable(detail) => Problem::unavailable(&detail),
        }
    }
}
