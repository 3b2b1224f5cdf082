//! Requests from web pages of other origins.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderName, HeaderValue, ORIGIN, VARY,
};
use hyper::{HeaderMap, StatusCode};

use super::Answer;

const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("content-type, content-encoding, idempotency-key, authorization, x-api-key");
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset");
const REQUEST_METHOD: HeaderName = HeaderName::from_static("access-control-request-method");

/// Which origins may send requests.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: Vec<String>,
}

impl Cors {
    /// These; `*` is all.
    #[must_use]
    pub fn new(origins: Vec<String>) -> Self {
        Self { origins }
    }

    /// Whether a browser asks whether it may send something.
    #[must_use]
    pub fn is_preflight(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(ORIGIN) && headers.contains_key(REQUEST_METHOD)
    }

    /// The answer to that. Without the headers of an allowed origin it means no.
    #[must_use]
    pub fn preflight(&self, request: &HeaderMap) -> Answer {
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::NO_CONTENT;
        if self.allow(request, &mut answer) {
            let headers = answer.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        }
        answer
    }

    /// Lets the page read an answer, if its origin is allowed. Whether it is.
    pub fn allow(&self, request: &HeaderMap, answer: &mut Answer) -> bool {
        if self.origins.is_empty() {
            return false;
        }
        let Some(origin) = request.get(ORIGIN) else { return false };
        let headers = answer.headers_mut();
        headers.append(VARY, HeaderValue::from_static("origin"));
        if !self.origins.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes()) {
            return false;
        }
        // The origin itself rather than `*`: `sendBeacon` sends cookies along, which `*` does not go with.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(HeaderName::from_static("access-control-allow-credentials"), HeaderValue::from_static("true"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        true
    }
}
