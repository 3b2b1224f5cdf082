//! Questions about windows over HTTP, answered from wherever the windows are.
//!
//! ```text
//!   GET /v1/stats ─▶ params ─▶ answers still true? ─▶ engine ─┬─▶ hot:  the memory of the job, here or in other processes
//!                                    cache                    └─▶ plan ─┬─▶ warm: ClickHouse
//!                                                                       └─▶ cold: the Delta tables
//!   answer ◀─ series ◀─ merge: the newest row of each window, regions added up ◀───────────────┤
//!                                                 corrected: windows of closed days ◀──────────┘
//! ```
//!
//! - Every window that has a click is in an answer once, or the answer says `partial`.
//! - `final` is said only of what is committed and closed: it never changes again in the stream.
//! - `reconciled` is said only of what is billed: windows of closed days, with the corrections in them.
//! - Memory is bounded: kept answers by `serve.cache_bytes`, questions to the tables by their number times
//!   `serve.query_bytes`, twice: for what was counted and what was corrected.

mod access;
mod answers;
mod cache;
mod corrected;
mod engine;
mod hot;
mod job_status;
mod manifests;
mod merge;
mod metrics;
mod openapi;
mod params;
mod plan;
mod queries;
mod restore;
mod service;
mod uniques;
mod warm;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch as channel;
use weir_checkpoints::Store;
use weir_connectors::clickhouse::ClickHouseReader;
use weir_connectors::delta::{DeltaReader, DeltaReaderLimits};

use crate::config::ServeConfig;
use crate::http::{HttpServer, ServerSettings};

pub use answers::IngestStatus;
pub use job_status::JobInProcess;
pub use metrics::ServeMetrics;
pub(crate) use openapi::document;
pub use queries::Queries;
pub use restore::restore;

use access::Access;
use cache::Answers;
use corrected::Corrected;
use engine::Engine;
use hot::{Hot, JobProcess};
use manifests::Manifests;
use service::Service;
use warm::Warm;

/// The largest head of a question: 100 ads of 256 bytes, each byte written as three.
const HEAD_BYTES: usize = 96 << 10;
const HEADERS: usize = 64;
const CONNECTIONS: usize = 4_096;
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Where things are that questions are answered from.
pub struct Tiers {
    /// A job in this process; where there is none, those of the configuration are asked.
    pub job: Option<JobInProcess>,
    /// The store of the tables.
    pub tables: Arc<dyn Store>,
    /// The store of the checkpoints.
    pub checkpoints: Arc<dyn Store>,
}

impl Queries {
    /// Answers from these.
    pub fn new(config: &ServeConfig, tiers: Tiers) -> Result<Self> {
        let processes = || config.jobs.iter().map(|url| JobProcess::new(url.clone(), config.job_timeout)).collect();
        let hot = match tiers.job {
            Some(job) => Some(Hot::Here(job)),
            None if config.jobs.is_empty() => None,
            None => Some(Hot::There(processes())),
        };
        let limits = DeltaReaderLimits {
            cache_bytes: config.table_cache_bytes,
            query_bytes: config.query_bytes,
            ..DeltaReaderLimits::for_url(config.tables.as_str())
        };
        // Corrected windows are few.
        let of_corrected = DeltaReaderLimits { cache_bytes: limits.cache_bytes / 4, ..limits.clone() };
        let limits = DeltaReaderLimits { cache_bytes: limits.cache_bytes - of_corrected.cache_bytes, ..limits };
        let cold = Arc::new(DeltaReader::open(Arc::clone(&tiers.tables), limits));
        let corrected = DeltaReader::corrected(tiers.tables, of_corrected);
        let corrected = Corrected::new(corrected, Arc::clone(&tiers.checkpoints), &config.job);
        let warm = config.clickhouse.clone().map(|clickhouse| Warm::new(ClickHouseReader::new(clickhouse)));
        let manifests = Manifests::new(tiers.checkpoints, &config.job);
        Ok(Self {
            engine: Engine::new(hot, warm, cold, corrected, manifests, config.job.clone()),
            answers: Answers::new(config.cache_bytes),
            access: Access::new(config)?,
            max_points: config.max_points,
            metrics: Arc::default(),
            ingest: OnceLock::new(),
        })
    }
}

/// A running query service.
pub struct Serve {
    address: SocketAddr,
    stop: channel::Sender<bool>,
    thread: JoinHandle<bool>,
}

impl Serve {
    /// Starts to serve, on threads of its own.
    pub fn start(config: &ServeConfig, queries: Arc<Queries>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads)
            .thread_name("weir-serve")
            .enable_all()
            .build()
            .context("cannot start tokio")?;
        let settings = ServerSettings {
            connections: CONNECTIONS,
            head_bytes: HEAD_BYTES,
            headers: HEADERS,
            head_timeout: HEAD_TIMEOUT,
            proxy_protocol: false,
            certificates: None,
        };
        let server = {
            let _context = runtime.enter();
            HttpServer::bind(config.listen, settings)
                .with_context(|| format!("cannot listen on {}; choose another serve.listen", config.listen))?
        };
        let address = server.address().context("the server has no address")?;
        let service = Arc::new(Service::new(Arc::clone(&queries)));
        let (stop, stopped) = channel::channel(false);
        let drain_timeout = config.drain_timeout;
        let work = move || {
            runtime.block_on(async {
                tokio::spawn(maintain(queries));
                server.serve(service, stopped, drain_timeout).await
            })
        };
        let thread =
            std::thread::Builder::new().name("weir-serve".to_owned()).spawn(work).context("cannot start a thread")?;
        Ok(Self { address, stop, thread })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing new and answers what it has.
    pub fn stop(self) {
        // The receiver lives as long as the server.
        let _ = self.stop.send(true);
        if !self.thread.join().unwrap_or(false) {
            tracing::warn!("some connections did not end within serve.drain_timeout and were closed");
        }
    }
}

/// Keeps keys up to date.
pub(crate) async fn maintain(queries: Arc<Queries>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        queries.maintain();
    }
}
