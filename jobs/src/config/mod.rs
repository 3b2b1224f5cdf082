//! What a job is to do: the job file, read, completed and checked.
//!
//! ```text
//!   default.toml ◀ job file ◀ environment ◀ -D flags ──▶ Layers (raw) ──┬─▶ validate ──▶ JobConfig
//!                                                                        └─▶ ingest ────▶ IngestConfig
//! ```
//!
//! Whoever holds a [`JobConfig`] holds values that are in range and fit together; nothing checks them again.

mod clickhouse;
mod error;
mod ingest;
mod keys;
mod layers;
mod reader;
mod serve;
mod source;
mod up;
mod validate;
mod values;

use std::net::SocketAddr;
use std::path::Path;

use chrono_tz::Tz;
use url::Url;
use weir_connectors::clickhouse::ClickHouseConfig;
use weir_connectors::kafka::KafkaConfig;

pub use error::ConfigError;
pub use ingest::{
    AuthConfig, IngestConfig, LogConfig, ProxyConfig, RateConfig, RecentConfig, RequestLimits, ShedConfig, TlsConfig,
};
use layers::Layers;
pub use layers::Origin;
pub use serve::ServeConfig;
pub use up::UpConfig;
pub use values::{format_duration_ms, is_name, parse_duration_ms, parse_location};

/// All keys with their defaults and what they mean.
pub const DEFAULTS: &str = include_str!("default.toml");

/// A checked job configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobConfig {
    /// The job's name.
    pub name: String,
    /// The region of clicks that come without one, if it has one.
    pub region: Option<String>,
    /// How many workers this process runs.
    pub workers: u32,
    /// Where clicks come from.
    pub source: SourceConfig,
    /// Watermarks and lateness.
    pub time: TimeConfig,
    /// How long click ids are remembered, in event time.
    pub dedup_horizon_ms: u64,
    /// When a worker cuts its input.
    pub epoch: EpochConfig,
    /// How long processes have patience with each other, where there are several.
    pub cluster: ClusterConfig,
    /// Checkpoints.
    pub checkpoint: CheckpointConfig,
    /// The Delta tables.
    pub tables: TablesConfig,
    /// The archive; none where it is switched off.
    pub archive: Option<ArchiveConfig>,
    /// What days are billed.
    pub billing: BillingConfig,
    /// What is kept for queries.
    pub hot: HotConfig,
    /// The ClickHouse that windows are copied to, if any.
    pub clickhouse: Option<ClickHouseConfig>,
    /// Where metrics are served, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
}

/// Where clicks come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceConfig {
    /// A Kafka topic.
    Kafka(KafkaConfig),
    /// NDJSON files.
    Ndjson {
        /// A file, a folder or a prefix.
        url: Url,
        /// Whether to read on as the log grows.
        follow: bool,
    },
}

/// Watermarks and lateness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeConfig {
    /// How far a partition's clicks may be out of order.
    pub out_of_orderness_ms: u64,
    /// How long a fired window is still updated.
    pub allowed_lateness_ms: u64,
    /// After how much quiet a partition no longer holds back the watermark.
    pub idle_timeout_ms: u64,
    /// How far ahead of the log's clock a click may be.
    pub max_future_skew_ms: u64,
    /// How far ahead of the watermark a partition may be read.
    pub max_partition_lead_ms: u64,
}

/// When a worker cuts its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochConfig {
    /// After this time …
    pub interval_ms: u64,
    /// … or this many records.
    pub max_records: u64,
}

/// How long the processes of a cluster have patience with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterConfig {
    /// How long one waits for all others at its start.
    pub start_timeout_ms: u64,
    /// How long nothing may be heard from one.
    pub peer_timeout_ms: u64,
    /// How long a worker may take for one step.
    pub worker_timeout_ms: u64,
}

/// Checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// Where they are kept.
    pub url: Url,
    /// How often they are taken.
    pub interval_ms: u64,
    /// The interval in whole epochs, at least one.
    pub interval_epochs: u64,
    /// How many are kept to restart from.
    pub retain: u32,
    /// How long manifests are kept.
    pub retain_manifests_ms: u64,
}

/// The Delta tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablesConfig {
    /// Their root.
    pub url: Url,
    /// The size that a data file should have.
    pub target_file_bytes: u64,
    /// The longest time between two data files.
    pub roll_interval_ms: u64,
}

/// Closed windows that are kept in memory for queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotConfig {
    /// For how long, in event time.
    pub retention_ms: u64,
    /// About how much memory they may take.
    pub memory_bytes: usize,
}

/// Days that are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BillingConfig {
    /// Whose days they are.
    pub timezone: Tz,
    /// How far around a day copies of its clicks are looked for.
    pub margin_ms: u64,
    /// Whether a closed day keeps an index, so that traffic is taken out of it quickly.
    pub index: bool,
}

/// The archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// Whether fields that Weir does not know are kept.
    pub extra: bool,
}

impl JobConfig {
    /// Reads a job file, with the environment and `-D` definitions on top.
    pub fn load(path: &Path, definitions: &[String]) -> Result<Self, ConfigError> {
        validate::job(&Layers::load("", Some(path), definitions)?)
    }

    /// The same with everything given.
    pub fn parse(
        text: &str,
        path: &Path,
        environment: impl Iterator<Item = (String, String)>,
        definitions: &[String],
    ) -> Result<Self, ConfigError> {
        validate::job(&Layers::parse("", Some((text, path)), environment, definitions)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
