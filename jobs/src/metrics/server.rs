//! The HTTP side, on a thread of its own: a busy worker never keeps a scrape waiting, nor the other way round.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use weir_dataflow::JobMetrics;

use super::Exposition;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
    metrics: Arc<JobMetrics>,
}

impl MetricsServer {
    /// Starts to serve.
    pub fn start(listen: SocketAddr, job: &str, metrics: Arc<JobMetrics>) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
        let listener = runtime
            .block_on(TcpListener::bind(listen))
            .with_context(|| format!("cannot serve metrics on {listen}; choose another metrics.listen"))?;
        let address = listener.local_addr().context("the metrics server has no address")?;
        let exposition = Arc::new(Exposition::new(job, Arc::clone(&metrics)));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("weir-metrics".to_owned())
            .spawn(move || serve(&runtime, listener, Shared { exposition, metrics }, stopped))
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
    if shared.metrics.ready() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not ready: the state is being restored\n").into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn figures_and_health_are_served() {
        let server = MetricsServer::start(([127, 0, 0, 1], 0).into(), "clicks", Arc::default()).unwrap();
        let check = |path: &str, status: &str, text: &str| {
            let answer = get(server.address(), path);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
            assert!(answer.contains(text), "{path}: {answer}");
        };
        check("/metrics", "200", "weir_read_total{job=\"clicks\"} 0");
        check("/metrics", "200", "# EOF");
        check("/livez", "200", "alive");
        check("/readyz", "503", "not ready");
        check("/nothing", "404", "");
    }
}
