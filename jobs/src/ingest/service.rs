//! What is served where.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use weir_dataflow::JobMetrics;

use super::clicks::Clicks;
use super::metrics::IngestMetrics;
use super::openapi;
use super::overload::Cause;
use crate::dashboard;
use crate::http::cors::Cors;
use crate::http::problem::{Problem, method_not_allowed};
use crate::http::{Answer, Handler, OPENMETRICS, Peer, text};
use crate::metrics::Exposition;
use crate::serve::{Queries, document};

const CLICKS: &str = "/v1/clicks";

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
    /// Questions about windows, where they are answered on the same port.
    pub(super) queries: Option<Arc<Queries>>,
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
            let answered = match &self.queries {
                Some(queries) => queries.answer(&request).await,
                None => None,
            };
            return answered.unwrap_or_else(|| self.page(&request));
        }
        let started = Instant::now();
        // Only a page of another origin needs its headers again, when the answer is there.
        let page = request.headers().contains_key("origin").then(|| request.headers().clone());
        let mut answer = match *request.method() {
            Method::POST => self.clicks.post(peer, request).await,
            Method::OPTIONS if self.cors.is_preflight(request.headers()) => {
                return self.cors.preflight(request.headers());
            }
            _ => method_not_allowed("POST, OPTIONS").into_answer(),
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
        if is_read
            && self.queries.is_some()
            && let Some(page) = dashboard::page(request.uri().path(), request.headers())
        {
            return page;
        }
        match request.uri().path() {
            "/" | "/livez" | "/readyz" | "/metrics" | "/openapi.json" if !is_read => {
                method_not_allowed("GET, HEAD").into_answer()
            }
            "/" => text(StatusCode::OK, "text/plain", INDEX),
            "/livez" => text(StatusCode::OK, "text/plain", "alive\n"),
            "/readyz" => self.readyz(),
            "/metrics" => match self.exposition.text() {
                Ok(metrics) => text(StatusCode::OK, OPENMETRICS, metrics),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
            },
            "/openapi.json" if self.queries.is_some() => text(StatusCode::OK, "application/json", document(true)),
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
