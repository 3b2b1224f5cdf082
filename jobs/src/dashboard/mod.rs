//! The dashboard and the API's documentation, out of the binary.
//!
//! ```text
//!   GET /  /docs  /assets/*  ──▶ page ──▶ the file, plain or gzipped, with its ETag; 304 where the browser has it
//! ```
//!
//! - Nothing is loaded from another origin, no script or style stands in the markup; the policy sent with each file makes
//!   browsers refuse both.
//! - A browser asks each time whether it still has the right file (`no-cache`): after an upgrade no old file meets a new one.

mod assets;
mod negotiate;

use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use crate::http::Answer;
use assets::Asset;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The answer to GET and HEAD of a path that belongs to the dashboard, nothing for any other path.
#[must_use]
pub fn page(path: &str, request: &HeaderMap) -> Option<Answer> {
    let asset = assets::ALL.iter().find(|asset| asset.path == path)?;
    Some(answer(asset, request))
}

fn answer(asset: &'static Asset, request: &HeaderMap) -> Answer {
    let takes_gzip = negotiate::takes_gzip(request);
    let file = if takes_gzip { asset.gzip() } else { asset.plain() };
    let mut answer = Response::new(Full::new(file.body.clone()));
    if negotiate::has(request, &file.etag) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        *answer.body_mut() = Full::default();
    } else {
        set(&mut answer, CONTENT_TYPE, asset.media_type);
        if takes_gzip {
            set(&mut answer, CONTENT_ENCODING, "gzip");
        }
    }
    answer.headers_mut().insert(ETAG, file.etag.clone());
    set(&mut answer, CACHE_CONTROL, "no-cache");
    set(&mut answer, VARY, "accept-encoding");
    set(&mut answer, CONTENT_SECURITY_POLICY, POLICY);
    set(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut answer, REFERRER_POLICY, "no-referrer");
    answer
}

fn set(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests;
