//! HTTP as every service of Weir speaks it: connections, who is at their other end, bodies, and errors.
//!
//! ```text
//!   TCP ─▶ [PROXY header] ─▶ [TLS] ─▶ HTTP/1.1 or HTTP/2 ─▶ handler(peer, request) ─▶ response
//!           proxy_protocol    tls      server                 client, body, budget, inflate, cors, problem
//! ```
//!
//! Whatever a client does, it costs a bounded amount of memory for a bounded time: heads, bodies and connections have
//! limits, and each wait has an end.

pub mod body;
pub mod budget;
pub mod client;
pub mod cors;
mod inflate;
mod open_files;
pub(crate) mod openapi;
pub mod problem;
mod proxy_protocol;
mod server;
mod tls;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

pub use server::{Handler, HttpServer, Peer, ServerSettings};
pub use tls::Certificates;

/// What a handler answers.
pub type Answer = Response<Full<Bytes>>;

/// The media type of figures.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An answer of some text.
pub(crate) fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}
