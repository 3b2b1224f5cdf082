//! From raw values to a [`JobConfig`]: ranges, and whether the values fit together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use toml::Value;
use url::Url;
use weir_checkpoints::KEY_GROUPS;
use weir_connectors::kafka::{KafkaConfig, KafkaConfigError};

use super::keys::FREE_PREFIX;
use super::layers::{Entry, Layers, Origin};
use super::values::{format_duration_ms, is_name, parse_duration_ms, parse_location};
use super::{
    ArchiveConfig, CheckpointConfig, ConfigError, EpochConfig, JobConfig, SourceConfig, TablesConfig, TimeConfig,
};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;

const NAME: &str = "1 to 64 letters, digits, `-`, `_` or `.`, not starting with `.` or `-`";
const LOCATION: &str = "a path, or a URL such as \"file:///data/weir\", \"s3://bucket/weir\", \"gs://…\" or \"az://…\"";

/// Checks everything.
pub(super) fn validate(layers: &Layers) -> Result<JobConfig, ConfigError> {
    let raw = Reader { layers };
    let name = raw.required_name("job.name", "name the job, for example name = \"clicks\"")?;
    let region = raw.optional_name("job.region")?;
    let source = source(&raw, &name)?;
    let time = time(&raw)?;
    let dedup_horizon_ms = dedup_horizon_ms(&raw, &time)?;
    let epoch = EpochConfig {
        interval_ms: raw.duration_ms("epoch.interval", 10..=MINUTE_MS)?,
        max_records: raw.integer("epoch.max_records", 1..=100_000_000)?,
    };
    Ok(JobConfig {
        name,
        region,
        workers: workers(&raw)?,
        source,
        time,
        dedup_horizon_ms,
        epoch,
        checkpoint: checkpoint(&raw, &epoch)?,
        tables: TablesConfig {
            url: raw
                .location("tables.url", "say where the tables go, for example url = \"s3://bucket/weir/tables\"")?,
            target_file_bytes: raw.integer("tables.target_file_bytes", 1 << 16..=1 << 32)?,
            roll_interval_ms: raw.duration_ms("tables.roll_interval", SECOND_MS..=DAY_MS)?,
        },
        archive: archive(&raw)?,
        metrics_listen: metrics_listen(&raw)?,
    })
}

fn workers(raw: &Reader<'_>) -> Result<u32, ConfigError> {
    let most = u64::from(KEY_GROUPS);
    if raw.layers.get("job.workers").is_some() {
        return Ok(raw.integer("job.workers", 1..=most)? as u32);
    }
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    Ok(cores.min(most) as u32)
}

fn source(raw: &Reader<'_>, job: &str) -> Result<SourceConfig, ConfigError> {
    const KINDS: &str = "\"kafka\" or \"ndjson\"";
    let (kind, entry) = raw.text("source.kind", "say where clicks come from: kind = \"kafka\" or \"ndjson\"")?;
    match kind {
        "kafka" => {
            raw.refuse("source.kind = \"kafka\"", &["source.url", "source.follow"])?;
            let topic = raw.text("source.topic", "name the Kafka topic, for example topic = \"clicks\"")?.0.to_owned();
            check_topic("source.topic", &topic, raw)?;
            let kafka = KafkaConfig {
                dead_letter_topic: dead_letter_topic(raw, &topic)?,
                settings: settings(raw),
                ..KafkaConfig::new(&brokers(raw)?, &topic, job)
            };
            kafka.validated().map(SourceConfig::Kafka).map_err(|error| refused(raw, error))
        }
        "ndjson" => {
            let foreign = ["source.brokers", "source.topic", "dead_letters.topic"];
            raw.refuse("source.kind = \"ndjson\"", &foreign)?;
            if let Some((setting, entry)) = raw.layers.free().next() {
                return Err(misplaced(&format!("source.settings.{setting}"), entry, "source.kind = \"ndjson\""));
            }
            Ok(SourceConfig::Ndjson {
                url: raw.location("source.url", "say where the log is, for example url = \"file:///data/clicks/\"")?,
                follow: raw.boolean("source.follow")?,
            })
        }
        _ => Err(invalid("source.kind", entry, KINDS)),
    }
}

fn brokers(raw: &Reader<'_>) -> Result<String, ConfigError> {
    let (text, entry) =
        raw.text("source.brokers", "name the Kafka brokers, for example brokers = \"127.0.0.1:9092\"")?;
    let is_broker = |broker: &str| {
        broker.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !text.split(',').all(is_broker) {
        return Err(invalid("source.brokers", entry, "host:port, or several with commas between them"));
    }
    Ok(text.to_owned())
}

fn dead_letter_topic(raw: &Reader<'_>, topic: &str) -> Result<String, ConfigError> {
    let Some(entry) = raw.layers.get("dead_letters.topic") else {
        return Ok(format!("{topic}.dlq"));
    };
    let chosen = entry.value.as_str().unwrap_or_default();
    check_topic("dead_letters.topic", chosen, raw)?;
    if chosen == topic {
        return Err(invalid(
            "dead_letters.topic",
            entry,
            "another topic than source.topic, or every dead letter is read again",
        ));
    }
    Ok(chosen.to_owned())
}

/// Kafka's own rule for topic names.
fn check_topic(key: &str, topic: &str, raw: &Reader<'_>) -> Result<(), ConfigError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = (1..=249).contains(&topic.len()) && topic.bytes().all(good) && topic != "." && topic != "..";
    match raw.layers.get(key) {
        Some(entry) if !fits => Err(invalid(key, entry, "a topic name: 1 to 249 letters, digits, `-`, `_` or `.`")),
        _ => Ok(()),
    }
}

/// What goes to librdkafka as it is.
fn settings(raw: &Reader<'_>) -> BTreeMap<String, String> {
    let text = |entry: &Entry| entry.value.as_str().unwrap_or_default().to_owned();
    raw.layers.free().map(|(name, entry)| (name.to_owned(), text(entry))).collect()
}

/// The connector's error with the key that it is about.
fn refused(raw: &Reader<'_>, error: KafkaConfigError) -> ConfigError {
    let (key, reason) = match &error {
        KafkaConfigError::Reserved { key, reason } => (format!("{FREE_PREFIX}{key}"), (*reason).to_owned()),
        KafkaConfigError::NotAccepted { key, reason } => (format!("{FREE_PREFIX}{key}"), reason.clone()),
        other => ("source.kind".to_owned(), other.to_string()),
    };
    let origin = raw.layers.get(&key).map_or(Origin::Default, |entry| entry.origin.clone());
    ConfigError::Refused { key, origin, reason }
}

fn time(raw: &Reader<'_>) -> Result<TimeConfig, ConfigError> {
    let max_partition_lead_ms = raw.duration_ms("time.max_partition_lead", SECOND_MS..=DAY_MS)?;
    Ok(TimeConfig {
        out_of_orderness_ms: raw.duration_ms("time.out_of_orderness", 0..=HOUR_MS)?,
        allowed_lateness_ms: raw.duration_ms("time.allowed_lateness", 0..=7 * DAY_MS)?,
        idle_timeout_ms: raw.duration_ms("time.idle_timeout", SECOND_MS..=DAY_MS)?,
        max_future_skew_ms: raw.duration_ms("time.max_future_skew", 0..=DAY_MS)?,
        max_partition_lead_ms,
    })
}

/// A click is taken until its window closes; until then its id must be remembered, or its copy would be counted.
fn dedup_horizon_ms(raw: &Reader<'_>, time: &TimeConfig) -> Result<u64, ConfigError> {
    let least_ms = time.allowed_lateness_ms + time.out_of_orderness_ms + MINUTE_MS;
    let horizon_ms = raw.duration_ms("dedup.horizon", MINUTE_MS..=30 * DAY_MS)?;
    if horizon_ms >= least_ms {
        return Ok(horizon_ms);
    }
    let least = format_duration_ms(least_ms);
    let allowed = format!(
        "at least {least} (time.allowed_lateness + time.out_of_orderness + 1m), or a copy of a click could be \
         counted while its window is open"
    );
    Err(raw.invalid("dedup.horizon", &allowed))
}

fn checkpoint(raw: &Reader<'_>, epoch: &EpochConfig) -> Result<CheckpointConfig, ConfigError> {
    let interval_ms = raw.duration_ms("checkpoint.interval", 10..=HOUR_MS)?;
    if interval_ms < epoch.interval_ms {
        let least = format_duration_ms(epoch.interval_ms);
        return Err(raw.invalid("checkpoint.interval", &format!("at least epoch.interval, which is {least}")));
    }
    Ok(CheckpointConfig {
        url: raw.location(
            "checkpoint.url",
            "say where checkpoints go, for example url = \"s3://bucket/weir/checkpoints\"",
        )?,
        interval_ms,
        interval_epochs: interval_ms.div_ceil(epoch.interval_ms),
        retain: raw.integer("checkpoint.retain", 1..=10_000)? as u32,
        retain_manifests_ms: raw.duration_ms("checkpoint.retain_manifests", HOUR_MS..=3650 * DAY_MS)?,
    })
}

fn archive(raw: &Reader<'_>) -> Result<Option<ArchiveConfig>, ConfigError> {
    let extra = raw.boolean("archive.extra")?;
    let enabled = raw.boolean("archive.enabled")?;
    if extra && !enabled {
        return Err(raw.invalid("archive.extra", "false while archive.enabled is false"));
    }
    Ok(enabled.then_some(ArchiveConfig { extra }))
}

fn metrics_listen(raw: &Reader<'_>) -> Result<Option<SocketAddr>, ConfigError> {
    let Some(entry) = raw.layers.get("metrics.listen") else {
        return Ok(None);
    };
    let address = entry.value.as_str().unwrap_or_default().parse();
    address.map(Some).map_err(|_| invalid("metrics.listen", entry, "an address and a port, such as \"127.0.0.1:9900\""))
}

/// Typed access to the layers.
struct Reader<'a> {
    layers: &'a Layers,
}

impl<'a> Reader<'a> {
    fn entry(&self, key: &'static str, wanted: &'static str) -> Result<&'a Entry, ConfigError> {
        self.layers.get(key).ok_or(ConfigError::Missing { key, wanted })
    }

    fn text(&self, key: &'static str, wanted: &'static str) -> Result<(&'a str, &'a Entry), ConfigError> {
        let entry = self.entry(key, wanted)?;
        Ok((entry.value.as_str().unwrap_or_default(), entry))
    }

    fn required_name(&self, key: &'static str, wanted: &'static str) -> Result<String, ConfigError> {
        let (name, entry) = self.text(key, wanted)?;
        if is_name(name) { Ok(name.to_owned()) } else { Err(invalid(key, entry, NAME)) }
    }

    fn optional_name(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        match self.layers.get(key) {
            Some(_) => self.required_name(key, NAME).map(Some),
            None => Ok(None),
        }
    }

    fn location(&self, key: &'static str, wanted: &'static str) -> Result<Url, ConfigError> {
        let (text, entry) = self.text(key, wanted)?;
        parse_location(text).ok_or_else(|| invalid(key, entry, LOCATION))
    }

    fn boolean(&self, key: &'static str) -> Result<bool, ConfigError> {
        Ok(self.entry(key, "true or false")?.value.as_bool().unwrap_or_default())
    }

    fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let entry = self.entry(key, "a whole number")?;
        let number = entry.value.as_integer().and_then(|number| u64::try_from(number).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| invalid(key, entry, &format!("a whole number from {} to {}", range.start(), range.end())))
    }

    fn duration_ms(&self, key: &'static str, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let (text, entry) = self.text(key, "a duration")?;
        let duration_ms = parse_duration_ms(text).filter(|duration_ms| range.contains(duration_ms));
        duration_ms.ok_or_else(|| {
            let (least, most) = (format_duration_ms(*range.start()), format_duration_ms(*range.end()));
            invalid(key, entry, &format!("a duration from {least} to {most}, written like \"500ms\" or \"1h30m\""))
        })
    }

    /// Refuses keys that belong to another kind of source.
    fn refuse(&self, with: &str, keys: &[&str]) -> Result<(), ConfigError> {
        let set = |key: &&str| self.layers.get(key).is_some_and(|entry| entry.origin != Origin::Default);
        match keys.iter().find(|key| set(key)).and_then(|key| Some((key, self.layers.get(key)?))) {
            Some((key, entry)) => Err(misplaced(key, entry, with)),
            None => Ok(()),
        }
    }

    /// The error for a key whose own value is fine, but not together with another one.
    fn invalid(&self, key: &'static str, allowed: &str) -> ConfigError {
        match self.layers.get(key) {
            Some(entry) => invalid(key, entry, allowed),
            None => ConfigError::Missing { key, wanted: "it has no default" },
        }
    }
}

fn invalid(key: &str, entry: &Entry, allowed: &str) -> ConfigError {
    ConfigError::Invalid {
        key: key.to_owned(),
        value: shown(&entry.value),
        origin: entry.origin.clone(),
        allowed: allowed.to_owned(),
    }
}

fn misplaced(key: &str, entry: &Entry, with: &str) -> ConfigError {
    let reason = format!("with {with} it is not read");
    ConfigError::Misplaced { key: key.to_owned(), origin: entry.origin.clone(), reason }
}

fn shown(value: &Value) -> String {
    value.to_string()
}
