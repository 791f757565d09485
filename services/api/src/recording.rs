//! Recording calls by order.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::access::Caller;
use crate::calls::call_id;
use crate::control::Recorded;
use crate::problem::Problem;

/// What is recorded of a call.
#[derive(Serialize, ToSchema)]
pub(crate) struct Recording {
    /// In the directory that `recording.directory` names, in the order of their making; a file ends in `.part` as long as it
    /// is written.
    files: Vec<String>,
    /// Whether the call is recorded now, into the last of them.
    running: bool,
}

impl Recording {
    pub(crate) fn new(files: &str, running: bool) -> Recording {
        Recording { files: files.split(' ').map(str::to_owned).collect(), running }
    }
}

/// Records a call from now on, as WAV. Of one that is recorded already nothing changes.
#[utoipa::path(
    post,
    path = "/v1/calls/{id}/recording",
    operation_id = "record_call",
    tag = "calls",
    params(("id" = String, Path, format = "uuid", description = "The call's id")),
    responses(
        (status = 200, description = "It is recorded", body = Recording),
        (status = 404, description = "No such call", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not answered, its codec is not PCMU or PCMA, the two encrypt it past the box, it was recorded too often, or there is no place for recordings", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "No room for recordings", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn begin(
    State(api): State<Api>,
    Extension(Caller { name: by, .. }): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Recording>, Problem> {
    let id = call_id(&id)?;
    let files = order(&api, id, true).await?;
    tracing::info!(call = %id, by, "call recorded by order");
    Ok(Json(Recording::new(&files, true)))
}

/// Ends the recording of a call, which goes on. The file is whole a moment later.
#[utoipa::path(
    delete,
    path = "/v1/calls/{id}/recording",
    operation_id = "stop_recording",
    tag = "calls",
    params(("id" = String, Path, format = "uuid", description = "The call's id")),
    responses(
        (status = 204, description = "It is recorded no more"),
        (status = 404, description = "No such call, or it is not recorded", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn end(
    State(api): State<Api>,
    Extension(Caller { name: by, .. }): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = call_id(&id)?;
    order(&api, id, false).await?;
    tracing::info!(call = %id, by, "recording ended by order");
    Ok(StatusCode::NO_CONTENT)
}

/// The files of the call.
async fn order(api: &Api, id: Uuid, on: bool) -> Result<Box<str>, Problem> {
    let conflict = |kind, recording: &call::Recording| Problem::not_recordable(kind, recording.text());
    Err(match api.control.record(id, on).await? {
        Recorded::Call(call::Recording::Files(files)) => return Ok(files),
        Recorded::Call(call::Recording::NoCall) => Problem::call_not_found(),
        Recorded::Call(call::Recording::NotRecorded) => Problem::not_recorded(),
        Recorded::Call(why @ call::Recording::NotAnswered) => {
            conflict("urn:drawbridge:problem:not-answered", &why)
        }
        Recorded::Call(why @ call::Recording::Codec(_)) => {
            conflict("urn:drawbridge:problem:codec-not-recorded", &why)
        }
        Recorded::Call(why @ call::Recording::Encrypted) => {
            conflict("urn:drawbridge:problem:encrypted", &why)
        }
        Recorded::Call(why @ call::Recording::TooMany) => {
            conflict("urn:drawbridge:problem:recorded-too-often", &why)
        }
        Recorded::NotConfigured => Problem::not_recordable(
            "urn:drawbridge:problem:recording-not-configured",
            "There is no place for recordings: recording.directory is not set.".to_owned(),
        ),
        Recorded::Full => Problem::recordings_full(),
    })
}
