//! What every service has beside its own paths, for the OpenAPI document.

use utoipa::{IntoResponses, OpenApi};

use super::problem::ProblemBody;

/// What a question may be refused with.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it only describes what is answered")]
pub(crate) enum Refusals<'a> {
    /// A parameter is missing, wrong or unknown, or too much is asked for
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(#[to_schema] ProblemBody<'a>),
    /// No API key, or one that is not known
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] ProblemBody<'a>),
    /// Neither GET nor HEAD
    #[response(status = 405, content_type = "application/problem+json")]
    MethodNotAllowed(#[to_schema] ProblemBody<'a>),
    /// The tables cannot be read at this moment
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] ProblemBody<'a>),
}

/// Health and figures.
#[derive(OpenApi)]
#[openapi(paths(livez, readyz, metrics))]
pub(crate) struct Health;

/// Whether the process is alive. Asks nothing else.
#[utoipa::path(get, path = "/livez", responses((status = 200, description = "It is", content_type = "text/plain")))]
#[allow(dead_code, reason = "it only carries the description")]
fn livez() {}

/// Whether the process can do its work now: what it depends on answers, and nothing is too far behind.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, description = "It can", content_type = "text/plain"),
        (status = 503, description = "It cannot, and why", content_type = "text/plain")
    )
)]
#[allow(dead_code, reason = "it only carries the description")]
fn readyz() {}

/// Figures in the Prometheus text format, prefix `weir_`.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, description = "The figures", content_type = "application/openmetrics-text"))
)]
#[allow(dead_code, reason = "it only carries the description")]
fn metrics() {}
