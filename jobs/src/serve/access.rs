//! Who may ask.

use anyhow::Result;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, Request, StatusCode};

use crate::config::ServeConfig;
use crate::http::Answer;
use crate::http::cors::Cors;
use crate::http::problem::Problem;
use crate::ingest::{Keys, presented};

/// API keys, if there are any, and pages of other origins.
pub(super) struct Access {
    keys: Option<Keys>,
    cors: Cors,
}

impl Access {
    pub(super) fn new(config: &ServeConfig) -> Result<Self> {
        let keys = config.keys_file.as_deref().map(|path| Keys::load(path, None)).transpose()?;
        Ok(Self { keys, cors: Cors::new(config.cors_origins.clone()) })
    }

    pub(super) fn admit(&self, headers: &HeaderMap, query: Option<&str>) -> Result<(), Problem> {
        let Some(keys) = &self.keys else { return Ok(()) };
        match presented(headers, query) {
            Some(secret) if keys.find(secret).is_some() => Ok(()),
            Some(_) => Err(unauthorized("the API key is not known")),
            None => Err(unauthorized("send an API key: Authorization: Bearer KEY, or X-API-Key: KEY")),
        }
    }

    pub(super) fn reload_keys(&self) {
        if let Some(keys) = &self.keys {
            keys.reload_if_changed(None);
        }
    }

    /// The answer to a browser that asks whether a page may ask.
    pub(super) fn preflight(&self, request: &Request<Incoming>) -> Option<Answer> {
        let asks = *request.method() == Method::OPTIONS && self.cors.is_preflight(request.headers());
        asks.then(|| self.cors.preflight(request.headers()))
    }

    pub(super) fn allow_origin(&self, headers: &HeaderMap, answer: &mut Answer) {
        self.cors.allow(headers, answer);
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}
