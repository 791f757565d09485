//! Trunks as configured.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::control::Trunk;
use crate::problem::Problem;

/// All trunks.
#[derive(Serialize, ToSchema)]
pub(crate) struct Trunks {
    trunks: Vec<Trunk>,
}

/// The trunks of the configuration that new calls use.
#[utoipa::path(
    get,
    path = "/v1/trunks",
    operation_id = "list_trunks",
    tag = "trunks",
    responses(
        (status = 200, description = "All trunks", body = Trunks),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn list(State(api): State<Api>) -> Json<Trunks> {
    Json(Trunks { trunks: api.control.trunks() })
}
