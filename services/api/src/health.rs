//! Whether the box should get calls.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::control::{Condition, Part, Unavailable};
use crate::problem::Problem;

/// How the box is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Report {
    /// As the worst part.
    status: Condition,
    /// Version of the program.
    #[schema(value_type = String)]
    version: &'static str,
    parts: Vec<Part>,
}

/// How the box and its parts are. Needs no token. 503 when it should get no new calls; `degraded` alone is 200.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "box",
    security(()),
    responses((status = 200, description = "Ready for calls", body = Report), (status = 503, description = "No new calls, please", body = Report))
)]
pub(crate) async fn health(State(api): State<Api>) -> (StatusCode, Json<Report>) {
    let parts = api.control.health().await.parts;
    let status = parts.iter().map(|part| part.status).max().unwrap_or(Condition::Ok);
    let code = match status {
        Condition::Ok | Condition::Degraded => StatusCode::OK,
        Condition::Failed => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(Report { status, version: env!("CARGO_PKG_VERSION"), parts }))
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Problem {
        Problem::unavailable(&error.0)
    }
}
