//! What `weir serve` needs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::layers::Layers;
use super::reader::{HOUR_MS, Reader};
use super::{ConfigError, ingest};

/// A query service.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The job whose windows are served.
    pub job: String,
    /// Where its checkpoints are.
    pub checkpoints: Url,
    /// Where its tables are.
    pub tables: Url,
    /// Where questions are answered.
    pub listen: SocketAddr,
    /// Threads that serve requests.
    pub threads: usize,
    /// The job's processes.
    pub jobs: Vec<Url>,
    /// How long one of them may take.
    pub job_timeout: Duration,
    /// How much memory kept answers may take.
    pub cache_bytes: u64,
    /// How much memory what is kept of the tables' files may take.
    pub table_cache_bytes: u64,
    /// How much of the tables one question may read.
    pub query_bytes: u64,
    /// The most windows in one answer.
    pub max_points: usize,
    /// How long a request may still take after the process was told to stop.
    pub drain_timeout: Duration,
    /// API keys, if there are any.
    pub keys_file: Option<PathBuf>,
    /// Origins of pages that may ask; `*` is all.
    pub cors_origins: Vec<String>,
}

impl ServeConfig {
    /// Reads a job file, with the environment and `-D` definitions on top.
    pub fn load(path: Option<&Path>, definitions: &[String]) -> Result<Self, ConfigError> {
        validate(&Layers::load("", path, definitions)?)
    }
}

pub(super) fn validate(layers: &Layers) -> Result<ServeConfig, ConfigError> {
    let raw = Reader { layers };
    let jobs = if raw.is_set("serve.jobs") {
        let wanted = "a list of URLs, such as [\"http://127.0.0.1:9900\"]";
        raw.list("serve.jobs", wanted, |text| {
            Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.has_host())
        })?
    } else {
        let local = raw.optional_address("metrics.listen")?.filter(|address| address.port() != 0);
        local.and_then(|address| Url::parse(&format!("http://{address}")).ok()).into_iter().collect()
    };
    let listen = raw.optional_address("serve.listen")?;
    Ok(ServeConfig {
        job: raw.required_name("job.name", "say whose windows are served, for example name = \"clicks\"")?,
        checkpoints: raw.location("checkpoint.url", "say where the job keeps its checkpoints")?,
        tables: raw.location("tables.url", "say where the job's tables are")?,
        listen: listen.ok_or(ConfigError::Missing { key: "serve.listen", wanted: "an address and a port" })?,
        threads: ingest::threads(&raw, "serve.threads")?,
        jobs,
        job_timeout: raw.duration("serve.job_timeout", 10..=HOUR_MS)?,
        cache_bytes: raw.integer("serve.cache_bytes", 0..=1 << 40)?,
        table_cache_bytes: raw.integer("serve.table_cache_bytes", 1 << 20..=1 << 40)?,
        query_bytes: raw.integer("serve.query_bytes", 1 << 20..=1 << 40)?,
        max_points: raw.size("serve.max_points", 1..=10_000_000)?,
        drain_timeout: raw.duration("serve.drain_timeout", 0..=HOUR_MS)?,
        keys_file: raw.optional_path("serve.auth.keys_file")?,
        cors_origins: ingest::origins(&raw, "serve.cors.origins")?,
    })
}
