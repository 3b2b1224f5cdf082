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
pub mod problem;
mod proxy_protocol;
mod server;
mod tls;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

pub use server::{Handler, HttpServer, Peer, ServerSettings};
pub use tls::Certificates;

/// What a handler answers.
pub type Answer = Response<Full<Bytes>>;
