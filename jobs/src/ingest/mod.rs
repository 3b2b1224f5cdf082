//! Ingest: clicks over HTTP, into the log that a job reads.
//!
//! ```text
//!   POST /v1/clicks ─▶ clicks ─▶ intake: decode, compose, claim ─▶ Log ─▶ every in-sync replica, or the disk
//!                        ▲           └ Recent: taken lately?                │
//!                        └──────────────── accepted ◀───────────────────────┘
//!   service: routes    sender, clients, keys, rate: who    overload, breaker, refusals: not now    metrics, openapi
//! ```
//!
//! - `accepted` is answered when the log has the click for good. A click whose outcome is unknown is answered with 503, and
//!   its client sends it again; the job counts it once.
//! - What a click is, the job's own decoder says: nothing is accepted here that is rejected there.
//! - Memory is bounded: bodies by `ingest.limits.memory_bytes`, what is on its way by `ingest.buffer_bytes`, ids by
//!   `ingest.recent.max_ids`, connections by their number times the size of a head.

mod batch;
mod breaker;
mod clicks;
mod clients;
mod compose;
mod intake;
mod items;
mod keys;
mod metrics;
mod needed;
mod openapi;
mod overload;
mod rate;
mod recent;
mod refusals;
mod sender;
mod service;
mod verdict;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::sync::watch as channel;
use weir_connectors::log::Log;
use weir_dataflow::JobMetrics;

use crate::config::IngestConfig;
use crate::http::budget::Budget;
use crate::http::client::TrustedProxies;
use crate::http::cors::Cors;
use crate::http::{Certificates, HttpServer, ServerSettings};
use crate::metrics::Exposition;
use crate::serve::{self, Queries};

pub(crate) use keys::{Keys, new_key, presented};
pub use needed::Needed;
pub(crate) use openapi::document as openapi;
pub use watch::{Lag, Watched};

use clicks::Clicks;
use clients::Clients;
use metrics::{Gauges, IngestMetrics};
use overload::Overload;
use recent::Recent;
use service::{Health, Service};

/// A running ingest service.
pub struct Ingest {
    address: SocketAddr,
    stop: channel::Sender<bool>,
    thread: JoinHandle<bool>,
    log: Arc<dyn Log>,
    config: IngestConfig,
}

impl Ingest {
    /// Starts to serve, on threads of its own; where there are queries, those on the same port.
    pub fn start(
        config: IngestConfig,
        log: Arc<dyn Log>,
        watched: Watched,
        queries: Option<Arc<Queries>>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads)
            .thread_name("weir-ingest")
            .enable_all()
            .build()
            .context("cannot start tokio")?;
        let certificates = config.tls.as_ref().map(|tls| Certificates::load(&tls.certificate, &tls.key)).transpose()?;
        let settings = ServerSettings {
            connections: config.limits.connections,
            head_bytes: config.limits.head_bytes,
            headers: config.limits.headers,
            head_timeout: config.limits.head_timeout,
            proxy_protocol: config.proxy.protocol,
            certificates: certificates.clone(),
        };
        let server = {
            let _context = runtime.enter();
            HttpServer::bind(config.listen, settings)
                .with_context(|| format!("cannot listen on {}; choose another ingest.listen", config.listen))?
        };
        let address = server.address().context("the server has no address")?;
        let service = Arc::new(service(&config, &log, &server, watched.job.clone(), queries.clone())?);
        let (stop, stopped) = channel::channel(false);
        let drain_timeout = config.drain_timeout;
        let watch = watch::run(Arc::clone(&service), config.clone(), certificates, watched, stopped.clone());
        let serve = move || {
            runtime.block_on(async {
                tokio::spawn(watch);
                if let Some(queries) = queries {
                    tokio::spawn(serve::maintain(queries));
                }
                server.serve(service, stopped, drain_timeout).await
            })
        };
        let thread =
            std::thread::Builder::new().name("weir-ingest".to_owned()).spawn(serve).context("cannot start a thread")?;
        Ok(Self { address, stop, thread, log, config })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing new, answers what it has, and closes the log.
    pub fn stop(self) -> Result<()> {
        // The receivers live as long as the server.
        let _ = self.stop.send(true);
        let drained = self.thread.join().unwrap_or(false);
        if !drained {
            tracing::warn!("some connections did not end within ingest.drain_timeout and were closed");
        }
        self.log.close(self.config.log_timeout).context("some clicks were not in the log when it was closed")
    }
}

/// Whether the files that a configuration names can be used.
pub(crate) fn check_files(config: &IngestConfig) -> Result<String> {
    if let Some(tls) = &config.tls {
        Certificates::load(&tls.certificate, &tls.key)?;
    }
    Clients::new(config)?;
    let tls = if config.tls.is_some() { "TLS" } else { "no TLS" };
    let keys = match &config.auth {
        None => "no API keys",
        Some(auth) if auth.required => "API keys required",
        Some(_) => "API keys known",
    };
    let region = config.region.as_deref().map_or_else(String::new, |region| format!(", region {region}"));
    Ok(format!("{tls}, {keys}{region}"))
}

fn service(
    config: &IngestConfig,
    log: &Arc<dyn Log>,
    server: &HttpServer,
    job: Option<(String, Arc<JobMetrics>)>,
    queries: Option<Arc<Queries>>,
) -> Result<Service> {
    let recent = Arc::new(Recent::new(config.recent.window, config.recent.max_ids));
    let (overload, metrics) = (Arc::<Overload>::default(), Arc::<IngestMetrics>::default());
    let budget = Budget::new(config.limits.memory_bytes);
    let gauges = Gauges {
        log: Arc::clone(log),
        recent: Arc::clone(&recent),
        overload: Arc::clone(&overload),
        budget: budget.clone(),
        connections: server.open_connections(),
    };
    let mut exposition = Exposition::of(metrics::registry(&metrics, gauges));
    if let Some((name, metrics)) = &job {
        exposition.add_job(name, Arc::clone(metrics));
    }
    if let Some(queries) = &queries {
        exposition.add_queries(queries.metrics());
        let (metrics, overload) = (Arc::clone(&metrics), Arc::clone(&overload));
        queries.set_ingest(Box::new(move || metrics.status(&overload)));
    }
    Ok(Service {
        exposition,
        queries,
        job: job.map(|(_, metrics)| metrics),
        clicks: Clicks {
            log: Arc::clone(log),
            recent,
            overload,
            clients: Clients::new(config)?,
            proxies: TrustedProxies::new(config.proxy.trusted.clone()),
            limits: config.limits,
            budget,
            metrics: Arc::clone(&metrics),
        },
        cors: Cors::new(config.cors_origins.clone()),
        metrics,
        health: Health::default(),
    })
}
