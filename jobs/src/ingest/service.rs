//! What is served where.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use weir_dataflow::JobMetrics;

use super::clicks::Clicks;
use super::metrics::IngestMetrics;
use super::openapi;
use super::overload::Cause;
use crate::http::cors::Cors;
use crate::http::problem::Problem;
use crate::http::{Answer, Handler, Peer};
use crate::metrics::Exposition;

const CLICKS: &str = "/v1/clicks";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const INDEX: &str = "\
Weir takes ad clicks here.

  POST /v1/clicks       one click, an array, or one a line
  GET  /openapi.json    what that takes and answers
  GET  /metrics         figures for Prometheus
  GET  /livez, /readyz  whether the process is alive, and can take clicks
";

/// Ingest's handler.
pub(super) struct Service {
    pub(super) clicks: Clicks,
    pub(super) cors: Cors,
    pub(super) metrics: Arc<IngestMetrics>,
    pub(super) exposition: Exposition,
    pub(super) health: Health,
    /// A job in the same process.
    pub(super) job: Option<Arc<JobMetrics>>,
}

/// Whether the process should be sent requests.
#[derive(Default)]
pub(super) struct Health {
    draining: AtomicBool,
    /// What the log said when it was last asked; nothing before that.
    log: Mutex<Option<Result<(), String>>>,
}

impl Health {
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn log_is(&self, state: Result<(), String>) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    fn check(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("this process is about to stop".to_owned());
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.clone().unwrap_or_else(|| Err("the log has not been asked yet".to_owned()))
    }
}

impl Handler for Service {
    async fn handle(&self, peer: Peer, request: Request<Incoming>) -> Answer {
        if request.uri().path() != CLICKS {
            return self.page(&request);
        }
        let started = Instant::now();
        // Only a page of another origin needs its headers again, when the answer is there.
        let page = request.headers().contains_key("origin").then(|| request.headers().clone());
        let mut answer = match *request.method() {
            Method::POST => self.clicks.post(peer, request).await,
            Method::OPTIONS if self.cors.is_preflight(request.headers()) => {
                return self.cors.preflight(request.headers());
            }
            _ => method_not_allowed("POST, OPTIONS"),
        };
        if let Some(headers) = page {
            self.cors.allow(&headers, &mut answer);
        }
        self.metrics.answered(answer.status(), started.elapsed());
        answer
    }
}

impl Service {
    fn page(&self, request: &Request<Incoming>) -> Answer {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/" | "/livez" | "/readyz" | "/metrics" | "/openapi.json" if !is_read => method_not_allowed("GET, HEAD"),
            "/" => text(StatusCode::OK, "text/plain", INDEX),
            "/livez" => text(StatusCode::OK, "text/plain", "alive\n"),
            "/readyz" => self.readyz(),
            "/metrics" => match self.exposition.text() {
                Ok(metrics) => text(StatusCode::OK, OPENMETRICS, metrics),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
            },
            "/openapi.json" => text(StatusCode::OK, "application/json", openapi::text()),
            path => {
                Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}")).into_answer()
            }
        }
    }

    fn readyz(&self) -> Answer {
        let raised = Cause::ALL.into_iter().find(|cause| self.clicks.overload.is_raised(*cause));
        match (self.health.check(), raised) {
            (Err(reason), _) => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("not ready: {reason}\n")),
            (_, Some(cause)) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("not ready: {}\n", cause.detail()))
            }
            _ if self.job.as_ref().is_some_and(|job| !job.ready()) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready: the job's state is being restored\n")
            }
            (Ok(()), None) => text(StatusCode::OK, "text/plain", "ready\n"),
        }
    }
}

fn method_not_allowed(allowed: &'static str) -> Answer {
    let detail = format!("allowed here: {allowed}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        .header(ALLOW, HeaderValue::from_static(allowed))
        .into_answer()
}

fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}
