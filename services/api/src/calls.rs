//! Calls in progress.

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use call::{CallView, Disposition, LegView, RecordingView};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::access::{Caller, Role};
use crate::cdrs::Cdr;
use crate::control::CdrRecord;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::recording::Recording;
use crate::rfc3339;

/// The most calls of a listing.
const MOST: usize = 10_000;

/// Calls in progress.
#[derive(Serialize, ToSchema)]
pub(crate) struct Calls {
    calls: Vec<Call>,
    /// Whether there are more than were asked for.
    more: bool,
}

/// A call in progress.
#[derive(Serialize, ToSchema)]
pub(crate) struct Call {
    /// As in its records and log lines.
    #[schema(format = "uuid")]
    id: String,
    /// Name of the bridge's state.
    #[schema(value_type = String)]
    state: &'static str,
    #[schema(format = "date-time")]
    started_at: String,
    /// When those who talk were brought together; of a call that is over, when anybody first was.
    #[schema(format = "date-time")]
    answered_at: Option<String>,
    /// User part of From.
    caller: String,
    /// User part of the Request-URI.
    called: String,
    trunk_in: Option<String>,
    /// Trunk of the current attempt; while the target of a transfer is tried, of that which brought those together who talk.
    trunk_out: Option<String>,
    route: Option<String>,
    /// What is recorded of it, if anything is or was.
    recording: Option<Recording>,
    /// The first is the caller's. None of a call that is over.
    legs: Vec<Leg>,
    /// The records of a call that is over, in the order of its attempts.
    attempts: Vec<Cdr>,
}

/// A leg of a call.
#[derive(Serialize, ToSchema)]
pub(crate) struct Leg {
    /// `a` or `b`.
    #[schema(value_type = String)]
    side: &'static str,
    /// Name of the leg's state.
    #[schema(value_type = String)]
    state: &'static str,
    sip_call_id: String,
    /// The peer's signalling address.
    remote: String,
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    transport: String,
}

impl From<CallView> for Call {
    fn from(view: CallView) -> Call {
        Call {
            id: view.id.to_string(),
            state: view.state,
            started_at: rfc3339::format(view.started_at),
            answered_at: view.answered_at.map(rfc3339::format),
            caller: view.caller.into(),
            called: view.called.into(),
            trunk_in: view.trunk_in.map(Into::into),
            trunk_out: view.trunk_out.map(Into::into),
            route: view.route.map(Into::into),
            recording: view.recording.map(|RecordingView { files, is_on }| Recording::new(&files, is_on)),
            legs: view.legs.into_iter().map(Leg::from).collect(),
            attempts: Vec::new(),
        }
    }
}

impl Call {
    /// A call that is over; `None` without records.
    fn over(records: Vec<CdrRecord>) -> Option<Call> {
        let last = &records.last()?.fact;
        let talked = records.iter().filter(|record| record.fact.disposition == Disposition::Answered);
        let answered_at = talked.filter_map(|record| record.fact.answered_at).min();
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Some(Call {
            id: last.call_id.to_string(),
            state: "over",
            started_at: rfc3339::format(records.iter().map(|record| record.fact.started_at).min()?),
            answered_at: answered_at.map(rfc3339::format),
            caller: last.caller.to_string(),
            called: last.called.to_string(),
            trunk_in: text(&last.trunk_in),
            trunk_out: text(&last.trunk_out),
            route: text(&last.route),
            recording: last.recording.as_deref().map(|files| Recording::new(files, false)),
            legs: Vec::new(),
            attempts: records.into_iter().map(Cdr::from).collect(),
        })
    }
}

impl From<LegView> for Leg {
    fn from(view: LegView) -> Leg {
        Leg {
            side: view.side,
            state: view.state,
            sip_call_id: view.sip_call_id.into(),
            remote: view.remote.to_string(),
            transport: view.transport.to_ascii_lowercase(),
        }
    }
}

/// Calls in progress, in no particular order.
#[utoipa::path(
    get,
    path = "/v1/calls",
    operation_id = "list_calls",
    tag = "calls",
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 10000, description = "The most calls wanted, 100 when absent")),
    responses(
        (status = 200, description = "Calls in progress", body = Calls),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn list(
    State(api): State<Api>,
    Query(given): Query<Vec<(String, String)>>,
) -> Result<Json<Calls>, Problem> {
    let mut parameters = Parameters::new(given);
    let limit = parameters.limit(100, MOST);
    parameters.finish()?;
    // One more than wanted tells whether there are more.
    let mut calls = api.control.calls(limit + 1).await?;
    let more = calls.len() > limit;
    calls.truncate(limit);
    Ok(Json(Calls { calls: calls.into_iter().map(Call::from).collect(), more }))
}

/// One call, in progress or over. Of one that is over the journal of the box says what there is to say.
#[utoipa::path(
    get,
    path = "/v1/calls/{id}",
    operation_id = "show_call",
    tag = "calls",
    params(("id" = String, Path, format = "uuid", description = "The call's id")),
    responses(
        (status = 200, description = "The call", body = Call),
        (status = 404, description = "No such call", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Call>, Problem> {
    let id = call_id(&id)?;
    if let Some(call) = api.control.call(id).await? {
        return Ok(Json(call.into()));
    }
    let records = api.records.of_call(id).await?;
    Ok(Json(Call::over(records).ok_or_else(Problem::call_not_found)?))
}

/// The journal of a call in progress, or of one that ended not long ago: every input with everything that came of it,
/// for `drawbridge replay` and `drawbridge ladder`. It has whole messages in it, with numbers and digest answers, so it
/// takes the role admin.
#[utoipa::path(
    get,
    path = "/v1/calls/{id}/journal",
    operation_id = "call_journal",
    tag = "calls",
    params(("id" = String, Path, format = "uuid", description = "The call's id")),
    responses(
        (status = 200, description = "The journal, a JSON object a line", body = String, content_type = "application/x-ndjson"),
        (status = 404, description = "No journal of such a call", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn journal(
    State(api): State<Api>,
    Extension(Caller { name: by, role }): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    takes_admin(role)?;
    let id = call_id(&id)?;
    let journal = api.control.journal(id).await?.ok_or_else(Problem::journal_not_found)?;
    tracing::info!(call = %id, by, "journal handed out");
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], journal))
}

/// The journal of a call drawn: who sent what to whom, when, and how the call stood in between. It takes the role admin too.
#[utoipa::path(
    get,
    path = "/v1/calls/{id}/ladder",
    operation_id = "call_ladder",
    tag = "calls",
    params(("id" = String, Path, format = "uuid", description = "The call's id")),
    responses(
        (status = 200, description = "The ladder, for a fixed-width font", body = String, content_type = "text/plain"),
        (status = 404, description = "No journal of such a call", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn ladder(
    State(api): State<Api>,
    Extension(Caller { name: by, role }): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    takes_admin(role)?;
    let id = call_id(&id)?;
    let ladder = api.control.ladder(id).await?.ok_or_else(Problem::journal_not_found)?;
    tracing::info!(call = %id, by, "ladder handed out");
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], ladder))
}

fn takes_admin(role: Role) -> Result<(), Problem> {
    match role {
        Role::Admin => Ok(()),
        Role::Viewer => Err(Problem::forbidden(
            "The token's role is viewer; a journal has whole messages in it and takes admin.",
        )),
    }
}

/// Ends a call from both sides. The answer comes when the order is given, not when both phones have agreed.
#[utoipa::path(
    delete,
    path = "/v1/calls/{id}",
    operation_id = "hang_up_call",
    tag = "calls",
    params(("id" = String, Path, format = "uuid", description = "The call's id")),
    responses(
        (status = 204, description = "The call is being ended"),
        (status = 404, description = "No such call", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn hang_up(
    State(api): State<Api>,
    Extension(Caller { name: by, .. }): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = call_id(&id)?;
    if !api.control.hang_up(id).await? {
        return Err(Problem::call_not_found());
    }
    tracing::info!(call = %id, by, "call ended by order");
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) fn call_id(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_| {
        let found: String = text.chars().take(80).collect();
        Problem::bad_parameter("id", format!("expected a UUID, found {found:?}"))
    })
}
