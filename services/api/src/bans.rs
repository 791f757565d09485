//! Sources that are banned, and letting them in again.

use std::net::IpAddr;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::problem::Problem;
use crate::{Api, control, rfc3339};

/// Everybody who is banned.
#[derive(Serialize, ToSchema)]
pub(crate) struct Bans {
    /// The newest first.
    bans: Vec<Ban>,
}

/// A source of which nothing is heard.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ban {
    /// The host; of IPv6 the network of 64 bits.
    source: String,
    /// The host, or the first address of the network; what `DELETE /v1/bans/{ip}` takes.
    ip: String,
    /// What it did: `scanner`, `malformed`, `stranger`, `password`, `names`, `invites` or `flood`.
    #[schema(value_type = String)]
    reason: &'static str,
    /// Since when.
    #[schema(format = "date-time")]
    since: String,
    /// Until when.
    #[schema(format = "date-time")]
    until: String,
    /// The how manieth ban of this source; each is twice as long as the one before.
    times: u32,
    /// Messages dropped because of it.
    dropped: u64,
}

impl From<control::Ban> for Ban {
    fn from(ban: control::Ban) -> Ban {
        let control::Ban { source, ip, reason, since, until, times, dropped } = ban;
        let (since, until) = (rfc3339::format(since), rfc3339::format(until));
        Ban { source, ip: ip.to_string(), reason, since, until, times, dropped }
    }
}

/// The bans in force, the newest first.
#[utoipa::path(
    get,
    path = "/v1/bans",
    operation_id = "list_bans",
    tag = "bans",
    responses(
        (status = 200, description = "All bans in force", body = Bans),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn list(State(api): State<Api>) -> Json<Bans> {
    Json(Bans { bans: api.control.bans().into_iter().map(Ban::from).collect() })
}

/// Lets a source be heard again, and forgets what there is against it. Of IPv6 any address of its network of 64 bits will do.
#[utoipa::path(
    delete,
    path = "/v1/bans/{ip}",
    operation_id = "lift_ban",
    tag = "bans",
    params(("ip" = String, Path, description = "The address that is banned")),
    responses(
        (status = 204, description = "The source is heard again"),
        (status = 404, description = "It was not banned", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn lift(
    State(api): State<Api>,
    Extension(Caller { name: by, .. }): Extension<Caller>,
    Path(ip): Path<String>,
) -> Result<StatusCode, Problem> {
    let ip: IpAddr = ip.parse().map_err(|_| {
        let found: String = ip.chars().take(80).collect();
        Problem::bad_parameter("ip", format!("expected an IP address, found {found:?}"))
    })?;
    if !api.control.lift(ip) {
        return Err(Problem::not_banned());
    }
    tracing::info!(%ip, by, "ban lifted by order");
    Ok(StatusCode::NO_CONTENT)
}
