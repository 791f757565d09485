//! Who may ask: token holders by role, or without tokens only programs on the same machine.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Api;
use crate::problem::Problem;

/// The rule of who is answered. `/health` is open to everybody under both.
#[derive(Clone, Debug)]
pub enum Access {
    /// Loopback peers, and of those no web page: a page that some browser on this machine shows is somebody else's.
    Loopback,
    /// Whoever holds one of these tokens.
    Tokens(Vec<Token>),
}

impl Access {
    /// No tokens: loopback only.
    pub fn new(tokens: Vec<Token>) -> Access {
        if tokens.is_empty() { Access::Loopback } else { Access::Tokens(tokens) }
    }
}

/// A token as the configuration has it: never itself, only its digest.
#[derive(Clone)]
pub struct Token {
    name: String,
    sha256: [u8; 32],
    role: Role,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Token {
    /// A token by the SHA-256 of its text, in 64 hexadecimal digits.
    ///
    /// # Errors
    /// When `sha256` is something else.
    pub fn new(name: impl Into<String>, sha256: &str, role: Role) -> Result<Token, TokenError> {
        let wrong = || TokenError { found: sha256.chars().count() };
        let digits: Vec<u8> = sha256
            .chars()
            .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let (pairs, []) = digits.as_chunks::<2>() else { return Err(wrong()) };
        let octets: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        let sha256 = octets.try_into().map_err(|_| wrong())?;
        Ok(Token { name: name.into(), sha256, role })
    }
}

/// A token's digest is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected the SHA-256 of the token in 64 hexadecimal digits, found {found} characters")]
pub struct TokenError {
    found: usize,
}

/// What a token's holder may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Read.
    Viewer,
}

impl Role {
    /// `admin` or `viewer`.
    pub fn parse(text: &str) -> Option<Role> {
        match text {
            "admin" => Some(Role::Admin),
            "viewer" => Some(Role::Viewer),
            _ => None,
        }
    }
}

/// Who is asking, for the log lines of what was changed.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// Lets a request through, or says why not.
pub(crate) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    if request.uri().path() != "/health" {
        let allowed = match &*api.access {
            Access::Loopback => loopback(peer, request.headers()),
            Access::Tokens(tokens) => token(tokens, request.method(), request.headers()),
        };
        match allowed {
            Ok(caller) => request.extensions_mut().insert(caller),
            Err(problem) => {
                tracing::debug!(?peer, path = request.uri().path(), ?problem, "API request refused");
                return problem.into_response();
            }
        };
    }
    next.run(request).await
}

fn token(tokens: &[Token], method: &Method, headers: &HeaderMap) -> Result<Caller, Problem> {
    let wanted = || Problem::unauthenticated("Send Authorization: Bearer with one of the tokens of [api].");
    let header =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(wanted)?;
    let (scheme, text) = header.split_once(' ').ok_or_else(wanted)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(wanted());
    }
    let digest = Sha256::digest(text.trim().as_bytes());
    // All are compared, each in constant time, so that the time tells neither which one it was nor how near.
    let holder = tokens.iter().fold(None, |found, token| {
        if bool::from(token.sha256.as_slice().ct_eq(digest.as_slice())) { Some(token) } else { found }
    });
    let holder = holder.ok_or_else(|| Problem::unauthenticated("This token is not one of [api]."))?;
    let caller = || Caller { name: holder.name.clone(), role: holder.role };
    match holder.role {
        Role::Admin => Ok(caller()),
        Role::Viewer if *method == Method::GET || *method == Method::HEAD => Ok(caller()),
        Role::Viewer => Err(Problem::forbidden("The token's role is viewer, which may only read.")),
    }
}

/// A browser on this machine runs pages of strangers. One that has rebound its own name to 127.0.0.1 sends that name
/// as Host; one that asks across sites says so in Origin or Sec-Fetch-Site. Programs send neither.
fn loopback(peer: Option<SocketAddr>, headers: &HeaderMap) -> Result<Caller, Problem> {
    let local = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    if !local {
        return Err(Problem::forbidden(
            "No tokens are configured in [api], so only loopback peers are answered.",
        ));
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if !text(header::HOST).is_some_and(names_loopback) {
        return Err(Problem::forbidden(
            "Host must be a loopback address or localhost while no tokens are configured.",
        ));
    }
    let origin = text(header::ORIGIN);
    let same = origin.is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, authority)| names_loopback(authority))
    });
    if !same || text(header::HeaderName::from_static("sec-fetch-site")) == Some("cross-site") {
        return Err(Problem::forbidden("Requests of web pages from elsewhere are not answered."));
    }
    Ok(Caller { name: "loopback".to_owned(), role: Role::Admin })
}

fn names_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
