//! The OpenAPI document, made from the types that are served.

use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::verdict::{BatchVerdict, ClickStatus, ClickVerdict, RejectedClick};
use crate::http::openapi::Health;
use crate::http::problem::ProblemBody;

/// The document as JSON.
pub(super) fn text() -> String {
    // A document of the library's own types is always JSON.
    document().to_pretty_json().unwrap_or_default()
}

/// The document.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi().merge_from(Health::openapi())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir ingest",
        description = "Takes ad clicks. A click that is answered as accepted is counted once, whatever fails next; \
                       sending a request again is always safe.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(post_clicks),
    components(schemas(Click, ClickVerdict, ClickStatus, BatchVerdict, AnyVerdict, RejectedClick, ProblemBody))
)]
struct Document;

/// A click. Fields that are not named here are kept out of the counts.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "it only describes what the decoder takes")]
struct Click {
    /// The ad that was clicked.
    #[schema(min_length = 1, max_length = 256)]
    ad_id: String,
    /// Who clicked.
    #[schema(min_length = 1, max_length = 256)]
    user_id: String,
    /// Unix time: below 100,000,000,000 in seconds, from there on in milliseconds.
    #[schema(minimum = 0)]
    timestamp: i64,
    /// The idempotency key. Without one, the other fields as they were sent are what makes two clicks the same.
    #[schema(min_length = 1, max_length = 128)]
    click_id: Option<String>,
    /// IPv4 or IPv6. Filled in from the connection where it is missing.
    ip_address: Option<String>,
    /// Filled in from the header where it is missing.
    #[schema(max_length = 2048)]
    user_agent: Option<String>,
}

/// The answer to several clicks, or to one that was taken before.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it only describes what is answered")]
enum AnyVerdict {
    Batch(BatchVerdict),
    Click(ClickVerdict),
}

/// Take clicks: one object, an array, or one object a line.
#[utoipa::path(
    post,
    path = "/v1/clicks",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The click's id, when a single click has none"),
        ("Content-Encoding" = Option<String>, Header, description = "gzip or zstd")
    ),
    request_body(
        content(
            (Click = "application/json"),
            (Vec<Click> = "application/x-ndjson"),
            (Click = "text/plain")
        ),
        description = "One click or an array of clicks as JSON; or one click a line"
    ),
    responses(
        (status = 202, description = "The click is in the log", body = ClickVerdict),
        (status = 200, description = "Several clicks, each with its verdict; or one that was taken before",
         body = AnyVerdict),
        (status = 400, description = "Not a click, or a body that cannot be read", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 401, description = "No API key, or one that is not known", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 405, description = "Not POST", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "The body came too slowly", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "A content type or encoding that is not understood", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 422, description = "Idempotency-Key and click_id differ, or a key for several clicks", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 429, description = "More clicks than this client may send; see Retry-After", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 503, description = "Clicks could not be kept at this moment; see Retry-After", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
#[allow(dead_code, reason = "it only carries the description")]
fn post_clicks() {}
