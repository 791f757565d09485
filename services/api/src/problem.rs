//! Errors as RFC 9457 has them: one JSON shape, a `type` that scripts can rely on.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control::Mistake;

/// What went wrong (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Stable name of the kind of problem.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:drawbridge:problem:bad-parameter")]
    kind: &'static str,
    /// The same for people.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status, once more.
    status: u16,
    /// What it was this time.
    detail: String,
    /// Every parameter, or key of the configuration, that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ParameterError>,
}

/// A parameter that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ParameterError {
    /// Its name.
    pub(crate) parameter: String,
    /// What was expected and what came.
    pub(crate) detail: String,
}

impl Problem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { kind, title, status: status.as_u16(), detail: detail.into(), errors: Vec::new() }
    }

    pub(crate) fn bad_parameters(errors: Vec<ParameterError>) -> Problem {
        let names: Vec<&str> = errors.iter().map(|error| error.parameter.as_str()).collect();
        let detail = format!("Cannot use {}.", names.join(", "));
        let kind = "urn:drawbridge:problem:bad-parameter";
        Problem { errors, ..Problem::new(StatusCode::BAD_REQUEST, kind, "Bad parameter", detail) }
    }

    pub(crate) fn bad_parameter(parameter: &str, detail: impl Into<String>) -> Problem {
        let error = ParameterError { parameter: parameter.to_owned(), detail: detail.into() };
        Problem::bad_parameters(vec![error])
    }

    pub(crate) fn unauthenticated(detail: &str) -> Problem {
        let kind = "urn:drawbridge:problem:unauthenticated";
        Problem::new(StatusCode::UNAUTHORIZED, kind, "Token wanted", detail)
    }

    pub(crate) fn forbidden(detail: &str) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "urn:drawbridge:problem:forbidden", "Not allowed", detail)
    }

    pub(crate) fn not_found() -> Problem {
        let detail = "There is no such path; GET /v1/openapi.json lists all.";
        Problem::new(StatusCode::NOT_FOUND, "urn:drawbridge:problem:not-found", "No such path", detail)
    }

    pub(crate) fn call_not_found() -> Problem {
        let kind = "urn:drawbridge:problem:call-not-found";
        Problem::new(StatusCode::NOT_FOUND, kind, "No such call", "No call in progress has this id.")
    }

    pub(crate) fn journal_not_found() -> Problem {
        let kind = "urn:drawbridge:problem:journal-not-found";
        let detail = "No journal is kept of a call with this id; [journal] says how many are.";
        Problem::new(StatusCode::NOT_FOUND, kind, "No such journal", detail)
    }

    /// `kind` is one of `not-answered`, `codec-not-recorded`, `recorded-too-often`, `recording-not-configured`.
    pub(crate) fn not_recordable(kind: &'static str, detail: String) -> Problem {
        Problem::new(StatusCode::CONFLICT, kind, "Cannot be recorded", detail)
    }

    pub(crate) fn not_recorded() -> Problem {
        let kind = "urn:drawbridge:problem:not-recorded";
        Problem::new(StatusCode::NOT_FOUND, kind, "Not recorded", "The call is not recorded now.")
    }

    pub(crate) fn recordings_full() -> Problem {
        let kind = "urn:drawbridge:problem:recordings-full";
        let detail = "The files of recordings have reached recording.max_mb.";
        Problem::new(StatusCode::INSUFFICIENT_STORAGE, kind, "No room for recordings", detail)
    }

    pub(crate) fn not_banned() -> Problem {
        let kind = "urn:drawbridge:problem:not-banned";
        Problem::new(StatusCode::NOT_FOUND, kind, "Not banned", "No ban of this source is in force.")
    }

    pub(crate) fn method_not_allowed() -> Problem {
        let kind = "urn:drawbridge:problem:method-not-allowed";
        let detail = "The path exists, but not with this method.";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, kind, "Method not allowed", detail)
    }

    pub(crate) fn no_configuration(detail: &str) -> Problem {
        let kind = "urn:drawbridge:problem:no-configuration";
        Problem::new(StatusCode::CONFLICT, kind, "No configuration file", detail)
    }

    pub(crate) fn bad_configuration(detail: &str, mistakes: Vec<Mistake>) -> Problem {
        let kind = "urn:drawbridge:problem:bad-configuration";
        let error = |Mistake { key, text }| ParameterError { parameter: key, detail: text };
        let errors = mistakes.into_iter().map(error).collect();
        Problem {
            errors,
            ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, kind, "Configuration is wrong", detail)
        }
    }

    pub(crate) fn too_large(limit: u64) -> Problem {
        let kind = "urn:drawbridge:problem:too-large";
        let detail = format!("The body has more than {limit} octets.");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, kind, "Request too large", detail)
    }

    pub(crate) fn unavailable(detail: &str) -> Problem {
        let kind = "urn:drawbridge:problem:unavailable";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, "Not available now", detail)
    }

    pub(crate) fn timeout(detail: &str) -> Problem {
        let kind = "urn:drawbridge:problem:timeout";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, "Took too long", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1: a 401 says how to do better.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"drawbridge\""));
        }
        response
    }
}
