//! Reading the configuration again, as SIGHUP has it done.

use axum::Json;
use axum::extract::{Extension, State};

use crate::Api;
use crate::access::Caller;
use crate::control::{ReloadError, Reloaded};
use crate::problem::Problem;

/// Reads the configuration file again and puts in force what can be under running calls. A file with mistakes changes
/// nothing, and every mistake is named with its line.
#[utoipa::path(
    post,
    path = "/v1/reload",
    operation_id = "reload",
    tag = "configuration",
    responses(
        (status = 200, description = "What has changed", body = Reloaded),
        (status = 409, description = "There is no configuration file", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The file is wrong; nothing has changed", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn reload(
    State(api): State<Api>,
    Extension(Caller { name: by, .. }): Extension<Caller>,
) -> Result<Json<Reloaded>, Problem> {
    tracing::info!(by, "configuration to be read again");
    api.control.reload().await.map(Json).map_err(|error| match error {
        ReloadError::NoFile => Problem::no_configuration(&error.to_string()),
        ReloadError::Unreadable(why) => Problem::bad_configuration(&why, Vec::new()),
        ReloadError::Wrong(mistakes) => {
            let count = mistakes.len();
            let detail = format!("The configuration in force stays; mistakes in the file: {count}.");
            Problem::bad_configuration(&detail, mistakes)
        }
        ReloadError::Unavailable(why) => Problem::unavailable(&why),
    })
}
