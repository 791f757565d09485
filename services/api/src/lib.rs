//! The HTTP side of the box: what an operator, a monitoring system or a script asks of it.
//!
//! This crate knows calls only as the plain values of `call` and everything else through two traits: [`Control`] (the
//! running box) and [`Records`] (what happened). Whoever wires the box implements them, puts them into an [`Api`],
//! makes a [`router`] of it and lets [`serve`] run that on a listener. Nothing here can hold up a call: requests,
//! connections and answers are bounded in number, size and time.
//!
//! Adding an endpoint: a function with `#[utoipa::path]` in a file named for its resource, one line in [`router`], its
//! shape as a `ToSchema` struct, a test over real HTTP, and `BLESS=1 cargo test -p api` to renew
//! `docs/api/openapi.json`.

mod access;
mod bans;
mod calls;
mod cdrs;
mod cells;
mod control;
mod health;
mod metrics;
mod parameters;
mod problem;
mod recording;
mod reload;
mod rfc3339;
mod serve;
mod stats;
mod trunks;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use crate::access::{Access, Role, Token, TokenError};
pub use crate::cdrs::MAX_PAGE;
pub use crate::control::{
    Answer, Ban, CdrFilter, CdrPage, CdrRecord, Condition, Control, Figures, Health, JournalFigures, Kind,
    Mistake, Part, Recorded, Records, RecordsError, ReloadError, Reloaded, Sample, SinkFigures,
    StatsQuestion, Trunk, TrunkPeer, TrunkStats, Unavailable,
};
pub use crate::serve::serve;

use crate::problem::Problem;

/// How long a request may take. The Core answers in microseconds; only a search of records takes time.
const REQUEST: Duration = Duration::from_secs(10);

/// The largest request body. No endpoint reads one; whoever sends more has mistaken the server.
const MAX_BODY: u64 = 64 * 1024;

/// Everything the endpoints need.
#[derive(Clone)]
pub struct Api {
    /// The running box.
    pub control: Arc<dyn Control>,
    /// What happened.
    pub records: Arc<dyn Records>,
    /// Who may ask.
    pub access: Arc<Access>,
}

/// All endpoints, guarded. The peer's address must come with each request as axum's
/// [`ConnectInfo<SocketAddr>`](axum::extract::ConnectInfo), as [`serve`] does it; a request without is refused.
pub fn router(api: Api) -> axum::Router {
    let (router, document) = described();
    let document: Arc<str> = json(&document).into();
    router
        .route(
            "/v1/openapi.json",
            get(move || async move { ([(header::CONTENT_TYPE, "application/json")], document.to_string()) }),
        )
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn_with_state(api.clone(), access::guard))
        .layer(from_fn(bound))
        .with_state(api)
}

/// The OpenAPI document of all endpoints, as `GET /v1/openapi.json` gives it.
pub fn openapi() -> String {
    json(&described().1)
}

fn described() -> (axum::Router<Api>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::health))
        .routes(routes!(metrics::metrics))
        .routes(routes!(calls::list))
        .routes(routes!(calls::show, calls::hang_up))
        .routes(routes!(recording::begin, recording::end))
        .routes(routes!(calls::journal))
        .routes(routes!(calls::ladder))
        .routes(routes!(cdrs::list))
        .routes(routes!(cdrs::csv))
        .routes(routes!(stats::stats))
        .routes(routes!(trunks::list))
        .routes(routes!(reload::reload))
        .routes(routes!(bans::list))
        .routes(routes!(bans::lift))
        .split_for_parts();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    document.components.get_or_insert_default().security_schemes.insert("token".to_owned(), bearer.into());
    (router, document)
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Drawbridge",
        description = "Control of a session border controller. Times are RFC 3339 in UTC with microseconds, errors \
                       are RFC 9457 problems. With no token configured, only loopback peers are answered."
    ),
    components(schemas(Problem)),
    security(("token" = []))
)]
struct Document;

fn json(document: &utoipa::openapi::OpenApi) -> String {
    // Plain data with string keys: serialising it has nothing to fail on.
    document.to_pretty_json().unwrap_or_default()
}

/// Bounds what a request may send and how long it may take.
async fn bound(request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > MAX_BODY) {
        return Problem::too_large(MAX_BODY).into_response();
    }
    match tokio::time::timeout(REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::timeout(&format!("the box gave no answer within {REQUEST:?}")).into_response(),
    }
}
