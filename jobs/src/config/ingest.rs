//! What `weir ingest` is told: `[ingest]`, `[log]`, and of `[source]` and `[job]` what it shares with the job.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::layers::Layers;
use super::reader::{DAY_MS, HOUR_MS, MINUTE_MS, Reader, SECOND_MS};
use super::source::source;
use super::{ConfigError, SourceConfig};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// A checked configuration of ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestConfig {
    /// The job that counts the clicks, if it is named: its lag is watched.
    pub job: Option<String>,
    /// Where clicks go.
    pub source: SourceConfig,
    /// Where the job keeps its checkpoints, if it is known: nothing is deleted from the log before.
    pub checkpoints: Option<Url>,
    /// The embedded log.
    pub log: LogConfig,
    /// Where requests are served.
    pub listen: SocketAddr,
    /// The label that travels with each click.
    pub region: Option<String>,
    /// Threads that serve requests.
    pub threads: usize,
    /// How long the log may take.
    pub log_timeout: Duration,
    /// How much may be on its way into the log.
    pub buffer_bytes: u64,
    /// How long a request may still take after the process was told to stop.
    pub drain_timeout: Duration,
    /// Repeated clicks.
    pub recent: RecentConfig,
    /// Requests.
    pub limits: RequestLimits,
    /// The limit of a client that has none of its own.
    pub rate: Option<RateConfig>,
    /// API keys, if there are any.
    pub auth: Option<AuthConfig>,
    /// When clicks are refused because something behind is too slow.
    pub shed: ShedConfig,
    /// Certificates, if TLS is spoken.
    pub tls: Option<TlsConfig>,
    /// What stands in front.
    pub proxy: ProxyConfig,
    /// Origins of pages that may post; `*` is all.
    pub cors_origins: Vec<String>,
}

/// The embedded log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// Partitions of a new one.
    pub partitions: u32,
    /// When a new segment begins.
    pub segment_bytes: u64,
    /// How old a segment gets.
    pub retention: Option<Duration>,
    /// How large the log gets.
    pub retention_bytes: Option<u64>,
}

/// Repeated clicks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentConfig {
    /// For how long a click is remembered.
    pub window: Duration,
    /// How many are.
    pub max_ids: usize,
}

/// What a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// A body as it is sent.
    pub body_bytes: usize,
    /// The same decompressed.
    pub inflated_bytes: usize,
    /// A body of lines, decompressed.
    pub stream_bytes: u64,
    /// Clicks in one array.
    pub clicks: usize,
    /// All bodies together.
    pub memory_bytes: usize,
    /// A request's head.
    pub head_bytes: usize,
    /// The header lines in it.
    pub headers: usize,
    /// Connections at a time.
    pub connections: usize,
    /// How long a head may take.
    pub head_timeout: Duration,
    /// How long nothing may come of a body.
    pub body_timeout: Duration,
}

/// How many clicks a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateConfig {
    /// In a second.
    pub clicks_per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

impl RateConfig {
    /// A limit; without a burst, two seconds' clicks. None where the rate is 0.
    #[must_use]
    pub fn new(clicks_per_second: u32, burst: u32) -> Option<Self> {
        let rate = NonZeroU32::new(clicks_per_second)?;
        Some(Self { clicks_per_second: rate, burst: NonZeroU32::new(burst).unwrap_or(rate.saturating_mul(TWO)) })
    }
}

const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// API keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// The file with their hashes.
    pub keys_file: PathBuf,
    /// Whether a client needs one.
    pub required: bool,
}

/// When clicks are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShedConfig {
    /// How far the job may be behind.
    pub max_lag: Option<u64>,
    /// How much of the disk must be free.
    pub min_free_bytes: u64,
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What stands in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Who is believed about X-Forwarded-For.
    pub trusted: Vec<IpNet>,
    /// Whether connections begin with a PROXY header.
    pub protocol: bool,
}

impl IngestConfig {
    /// Reads a job file, if there is one, with the environment and `-D` definitions on top.
    pub fn load(path: Option<&Path>, definitions: &[String]) -> Result<Self, ConfigError> {
        validate(&Layers::load("", path, definitions)?)
    }
}

/// Checks what ingest needs.
pub(super) fn validate(layers: &Layers) -> Result<IngestConfig, ConfigError> {
    let raw = Reader { layers };
    let job = raw.optional_name("job.name")?;
    let region = raw.optional_name("ingest.region")?;
    let checkpoints =
        if raw.is_set("checkpoint.url") { Some(raw.location("checkpoint.url", "a location")?) } else { None };
    Ok(IngestConfig {
        source: source(&raw, job.as_deref().unwrap_or("clicks"))?,
        checkpoints,
        log: log(&raw)?,
        listen: raw
            .optional_address("ingest.listen")?
            .ok_or(ConfigError::Missing { key: "ingest.listen", wanted: "an address and a port" })?,
        region: if region.is_some() { region } else { raw.optional_name("job.region")? },
        threads: threads(&raw, "ingest.threads")?,
        log_timeout: raw.duration("ingest.log_timeout", 100..=10 * MINUTE_MS)?,
        buffer_bytes: raw.integer("ingest.buffer_bytes", MIB..=TIB)?,
        drain_timeout: raw.duration("ingest.drain_timeout", 0..=HOUR_MS)?,
        recent: RecentConfig {
            window: raw.duration("ingest.recent.window", SECOND_MS..=DAY_MS)?,
            max_ids: raw.size("ingest.recent.max_ids", 1 << 16..=1 << 32)?,
        },
        limits: limits(&raw)?,
        rate: rate(&raw)?,
        auth: auth(&raw)?,
        shed: shed(&raw, job.is_some())?,
        tls: tls(&raw)?,
        proxy: ProxyConfig {
            trusted: raw.list(
                "ingest.proxy.trusted",
                "a list of addresses and networks, such as [\"10.0.0.0/8\", \"::1\"]",
                |text| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)),
            )?,
            protocol: raw.boolean("ingest.proxy.protocol")?,
        },
        cors_origins: origins(&raw, "ingest.cors.origins")?,
        job,
    })
}

pub(super) fn threads(raw: &Reader<'_>, key: &'static str) -> Result<usize, ConfigError> {
    if raw.is_set(key) {
        return raw.size(key, 1..=1024);
    }
    Ok(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

fn log(raw: &Reader<'_>) -> Result<LogConfig, ConfigError> {
    let retention = raw.duration("log.retention", 0..=3650 * DAY_MS)?;
    let retention_bytes = raw.integer("log.retention_bytes", 0..=1 << 60)?;
    Ok(LogConfig {
        partitions: raw.size("log.partitions", 1..=4096)? as u32,
        segment_bytes: raw.integer("log.segment_bytes", 1 << 16..=TIB)?,
        retention: (!retention.is_zero()).then_some(retention),
        retention_bytes: (retention_bytes > 0).then_some(retention_bytes),
    })
}

fn limits(raw: &Reader<'_>) -> Result<RequestLimits, ConfigError> {
    let limits = RequestLimits {
        body_bytes: raw.size("ingest.limits.body_bytes", 1 << 16..=1 << 31)?,
        inflated_bytes: raw.size("ingest.limits.inflated_bytes", 1 << 16..=1 << 31)?,
        stream_bytes: raw.integer("ingest.limits.stream_bytes", 1 << 16..=TIB)?,
        clicks: raw.size("ingest.limits.clicks", 1..=10_000_000)?,
        memory_bytes: raw.size("ingest.limits.memory_bytes", 1 << 20..=1 << 40)?,
        head_bytes: raw.size("ingest.limits.head_bytes", 8192..=1 << 20)?,
        headers: raw.size("ingest.limits.headers", 8..=1000)?,
        connections: raw.size("ingest.limits.connections", 1..=1_000_000)?,
        head_timeout: raw.duration("ingest.limits.head_timeout", 100..=HOUR_MS)?,
        body_timeout: raw.duration("ingest.limits.body_timeout", 100..=HOUR_MS)?,
    };
    if limits.memory_bytes < limits.inflated_bytes {
        return Err(raw.invalid("ingest.limits.memory_bytes", "at least ingest.limits.inflated_bytes"));
    }
    Ok(limits)
}

fn rate(raw: &Reader<'_>) -> Result<Option<RateConfig>, ConfigError> {
    let clicks_per_second = raw.size("ingest.rate.clicks_per_second", 0..=1_000_000_000)? as u32;
    let burst = raw.size("ingest.rate.burst", 0..=1_000_000_000)? as u32;
    Ok(RateConfig::new(clicks_per_second, burst))
}

fn auth(raw: &Reader<'_>) -> Result<Option<AuthConfig>, ConfigError> {
    let required = raw.boolean("ingest.auth.required")?;
    Ok(raw.optional_path("ingest.auth.keys_file")?.map(|keys_file| AuthConfig { keys_file, required }))
}

fn shed(raw: &Reader<'_>, has_job: bool) -> Result<ShedConfig, ConfigError> {
    let max_lag = raw.integer("ingest.shed.max_lag", 0..=1 << 60)?;
    if max_lag > 0 && !has_job {
        return Err(raw.invalid("ingest.shed.max_lag", "0 without job.name, which says whose lag is meant"));
    }
    Ok(ShedConfig {
        max_lag: (max_lag > 0).then_some(max_lag),
        min_free_bytes: raw.integer("ingest.shed.min_free_bytes", 0..=1 << 60)?,
    })
}

fn tls(raw: &Reader<'_>) -> Result<Option<TlsConfig>, ConfigError> {
    match (raw.optional_path("ingest.tls.certificate")?, raw.optional_path("ingest.tls.key")?) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(TlsConfig { certificate, key })),
        (Some(_), None) => {
            Err(ConfigError::Missing { key: "ingest.tls.key", wanted: "the private key of ingest.tls.certificate" })
        }
        (None, Some(_)) => {
            Err(ConfigError::Missing { key: "ingest.tls.certificate", wanted: "the certificate of ingest.tls.key" })
        }
    }
}

pub(super) fn origins(raw: &Reader<'_>, key: &'static str) -> Result<Vec<String>, ConfigError> {
    let wanted = "a list of origins, such as [\"https://shop.example\"], or [\"*\"]";
    raw.list(key, wanted, |text| is_origin(text).then(|| text.to_owned()))
}

/// `*`, or scheme and host as a browser sends them.
fn is_origin(text: &str) -> bool {
    let of_url = |url: Url| url.origin().ascii_serialization() == text && !url.cannot_be_a_base();
    text == "*" || Url::parse(text).is_ok_and(of_url)
}
