//! The HTTP side, on a thread of its own: a busy worker never keeps a scrape waiting, nor the other way round.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::Exposition;
use crate::http::OPENMETRICS;
use crate::serve::{JobInProcess, wire};

/// Serves a job's figures until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Shared {
    exposition: Arc<Exposition>,
    job: JobInProcess,
}

impl MetricsServer {
    /// Starts to serve.
    pub fn start(listen: SocketAddr, job: JobInProcess) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
        let listener = runtime
            .block_on(TcpListener::bind(listen))
            .with_context(|| format!("cannot serve metrics on {listen}; choose another metrics.listen"))?;
        let address = listener.local_addr().context("the metrics server has no address")?;
        let exposition = Arc::new(Exposition::new(&job.name, Arc::clone(&job.metrics)));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("weir-metrics".to_owned())
            .spawn(move || serve(&runtime, listener, Shared { exposition, job }, stopped))
            .context("cannot start the metrics thread")?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has ended the process already.
            let _joined = thread.join();
        }
    }
}

fn serve(runtime: &Runtime, listener: TcpListener, shared: Shared, stopped: oneshot::Receiver<()>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route(wire::STATUS, get(status))
        .route(wire::WINDOWS, post(windows))
        .route(wire::TOP, post(top))
        .with_state(shared);
    runtime.block_on(async {
        tokio::select! {
            served = axum::serve(listener, router) => if let Err(error) = served {
                tracing::error!(%error, "the metrics server stopped");
            },
            _ = stopped => {}
        }
    });
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.exposition.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    if shared.job.metrics.ready() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not ready: the state is being restored\n").into_response()
}

async fn status(State(shared): State<Shared>) -> Response {
    json(&shared.job.status())
}

async fn windows(State(shared): State<Shared>, body: Bytes) -> Response {
    match serde_json::from_slice(&body).ok().and_then(wire::WindowsRequest::query) {
        Some(query) => json(&wire::Answer::<wire::Row>::of(shared.job.hot.windows(&query))),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn top(State(shared): State<Shared>, body: Bytes) -> Response {
    match serde_json::from_slice(&body).ok().and_then(wire::TopRequest::query) {
        Some(query) => json(&wire::Answer::<wire::Ad>::of(shared.job.hot.top(&query))),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use weir_dataflow::{HotSettings, HotWindows};

    use super::*;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn job() -> JobInProcess {
        let settings = HotSettings { retention_ms: 0, memory_bytes: 0, readers_lag: Duration::ZERO };
        JobInProcess {
            name: "clicks".to_owned(),
            region: None,
            lag_unit: "records",
            metrics: Arc::default(),
            hot: Arc::new(HotWindows::new(None, settings)),
        }
    }

    #[test]
    fn figures_and_health_are_served() {
        let server = MetricsServer::start(([127, 0, 0, 1], 0).into(), job()).unwrap();
        let check = |path: &str, status: &str, text: &str| {
            let answer = get(server.address(), path);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
            assert!(answer.contains(text), "{path}: {answer}");
        };
        check("/metrics", "200", "weir_read_total{job=\"clicks\"} 0");
        check("/metrics", "200", "# EOF");
        check("/livez", "200", "alive");
        check("/readyz", "503", "not ready");
        check("/internal/v1/status", "200", "\"name\":\"clicks\"");
        check("/nothing", "404", "");
    }
}
