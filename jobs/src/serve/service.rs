//! `weir serve`'s handler: questions, and what every service has beside them.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use prometheus_client::registry::Registry;

use super::openapi::document;
use super::queries::Queries;
use crate::dashboard;
use crate::http::problem::{Problem, method_not_allowed};
use crate::http::{Answer, Handler, OPENMETRICS, Peer, text};
use crate::metrics::Exposition;

pub(super) struct Service {
    queries: Arc<Queries>,
    exposition: Exposition,
}

impl Service {
    pub(super) fn new(queries: Arc<Queries>) -> Self {
        let mut exposition = Exposition::of(Registry::default());
        exposition.add_queries(queries.metrics());
        Self { queries, exposition }
    }
}

impl Handler for Service {
    async fn handle(&self, _peer: Peer, request: Request<Incoming>) -> Answer {
        if let Some(answer) = self.queries.answer(&request).await {
            return answer;
        }
        let path = request.uri().path();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(page) = dashboard::page(path, request.headers()).filter(|_| is_read) {
            return page;
        }
        let known = matches!(path, "/livez" | "/readyz" | "/metrics" | "/openapi.json");
        if known && !is_read {
            return method_not_allowed("GET, HEAD").into_answer();
        }
        match path {
            "/livez" => text(StatusCode::OK, "text/plain", "alive\n"),
            "/readyz" if self.queries.engine.cold_answers().await => text(StatusCode::OK, "text/plain", "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready: the tables cannot be read\n"),
            "/metrics" => match self.exposition.text() {
                Ok(metrics) => text(StatusCode::OK, OPENMETRICS, metrics),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
            },
            "/openapi.json" => text(StatusCode::OK, "application/json", document(false)),
            path => {
                Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}")).into_answer()
            }
        }
    }
}
