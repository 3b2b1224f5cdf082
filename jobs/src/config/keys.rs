//! The keys that a job file may have, and what type each of them is.

use toml::Value;

/// All keys, in the order of `default.toml`.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("job.name", Kind::Text),
    ("job.region", Kind::Text),
    ("job.workers", Kind::Integer),
    ("source.kind", Kind::Text),
    ("source.brokers", Kind::Text),
    ("source.topic", Kind::Text),
    ("source.url", Kind::Text),
    ("source.follow", Kind::Boolean),
    ("time.out_of_orderness", Kind::Duration),
    ("time.allowed_lateness", Kind::Duration),
    ("time.idle_timeout", Kind::Duration),
    ("time.max_future_skew", Kind::Duration),
    ("time.max_partition_lead", Kind::Duration),
    ("dedup.horizon", Kind::Duration),
    ("epoch.interval", Kind::Duration),
    ("epoch.max_records", Kind::Integer),
    ("cluster.start_timeout", Kind::Duration),
    ("cluster.peer_timeout", Kind::Duration),
    ("cluster.worker_timeout", Kind::Duration),
    ("checkpoint.url", Kind::Text),
    ("checkpoint.interval", Kind::Duration),
    ("checkpoint.retain", Kind::Integer),
    ("checkpoint.retain_manifests", Kind::Duration),
    ("tables.url", Kind::Text),
    ("tables.target_file_bytes", Kind::Integer),
    ("tables.roll_interval", Kind::Duration),
    ("archive.enabled", Kind::Boolean),
    ("archive.extra", Kind::Boolean),
    ("billing.timezone", Kind::Text),
    ("billing.margin", Kind::Duration),
    ("billing.index", Kind::Boolean),
    ("clickhouse.url", Kind::Text),
    ("clickhouse.database", Kind::Text),
    ("clickhouse.user", Kind::Text),
    ("clickhouse.password_env", Kind::Text),
    ("clickhouse.retention", Kind::Duration),
    ("clickhouse.provisional", Kind::Boolean),
    ("clickhouse.max_backlog_bytes", Kind::Integer),
    ("clickhouse.max_backlog_checkpoints", Kind::Integer),
    ("dead_letters.topic", Kind::Text),
    ("hot.retention", Kind::Duration),
    ("hot.memory_bytes", Kind::Integer),
    ("metrics.listen", Kind::Text),
    ("serve.listen", Kind::Text),
    ("serve.threads", Kind::Integer),
    ("serve.jobs", Kind::List),
    ("serve.job_timeout", Kind::Duration),
    ("serve.cache_bytes", Kind::Integer),
    ("serve.table_cache_bytes", Kind::Integer),
    ("serve.query_bytes", Kind::Integer),
    ("serve.max_points", Kind::Integer),
    ("serve.drain_timeout", Kind::Duration),
    ("serve.auth.keys_file", Kind::Text),
    ("serve.cors.origins", Kind::List),
    ("ingest.listen", Kind::Text),
    ("ingest.region", Kind::Text),
    ("ingest.threads", Kind::Integer),
    ("ingest.log_timeout", Kind::Duration),
    ("ingest.buffer_bytes", Kind::Integer),
    ("ingest.drain_timeout", Kind::Duration),
    ("ingest.recent.window", Kind::Duration),
    ("ingest.recent.max_ids", Kind::Integer),
    ("ingest.limits.body_bytes", Kind::Integer),
    ("ingest.limits.inflated_bytes", Kind::Integer),
    ("ingest.limits.stream_bytes", Kind::Integer),
    ("ingest.limits.clicks", Kind::Integer),
    ("ingest.limits.memory_bytes", Kind::Integer),
    ("ingest.limits.head_bytes", Kind::Integer),
    ("ingest.limits.headers", Kind::Integer),
    ("ingest.limits.connections", Kind::Integer),
    ("ingest.limits.head_timeout", Kind::Duration),
    ("ingest.limits.body_timeout", Kind::Duration),
    ("ingest.rate.clicks_per_second", Kind::Integer),
    ("ingest.rate.burst", Kind::Integer),
    ("ingest.auth.keys_file", Kind::Text),
    ("ingest.auth.required", Kind::Boolean),
    ("ingest.shed.max_lag", Kind::Integer),
    ("ingest.shed.min_free_bytes", Kind::Integer),
    ("ingest.tls.certificate", Kind::Text),
    ("ingest.tls.key", Kind::Text),
    ("ingest.proxy.trusted", Kind::List),
    ("ingest.proxy.protocol", Kind::Boolean),
    ("ingest.cors.origins", Kind::List),
    ("log.partitions", Kind::Integer),
    ("log.segment_bytes", Kind::Integer),
    ("log.retention", Kind::Duration),
    ("log.retention_bytes", Kind::Integer),
];

/// Below this, keys are free: they are another system's.
pub(super) const FREE_PREFIX: &str = "source.settings.";

/// What a key's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Boolean,
    /// Text such as `1h30m`.
    Duration,
    /// Texts; as bare text, with commas between them.
    List,
}

impl Kind {
    /// What is asked for, in words for an error message.
    pub(super) const fn wanted(self) -> &'static str {
        match self {
            Self::Text => "text in quotes",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Duration => "a duration such as \"500ms\", \"10s\" or \"1h30m\"",
            Self::List => "a list of texts, such as [\"a\", \"b\"]",
        }
    }

    /// Whether a value from a file is of this kind, as far as its TOML type tells.
    pub(super) fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text | Self::Duration => matches!(value, Value::String(_)),
            Self::Integer => matches!(value, Value::Integer(_)),
            Self::Boolean => matches!(value, Value::Boolean(_)),
            Self::List => value.as_array().is_some_and(|items| items.iter().all(Value::is_str)),
        }
    }

    /// Reads a value given as bare text, by a flag or the environment.
    pub(super) fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::Text | Self::Duration => Some(Value::String(text.to_owned())),
            Self::Integer => text.parse().ok().map(Value::Integer),
            Self::Boolean => text.parse().ok().map(Value::Boolean),
            Self::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
            }
        }
    }
}

/// The kind of a key; `None` for one that does not exist.
pub(super) fn kind_of(key: &str) -> Option<Kind> {
    if key.len() > FREE_PREFIX.len() && key.starts_with(FREE_PREFIX) {
        return Some(Kind::Text);
    }
    KEYS.iter().find(|(name, _)| *name == key).map(|(_, kind)| *kind)
}

/// The known key that looks most like `key`.
pub(super) fn nearest(key: &str) -> &'static str {
    let likeness = |name: &str| (strsim::normalized_damerau_levenshtein(key, name) * 1e6) as u64;
    KEYS.iter().map(|(name, _)| *name).max_by_key(|name| likeness(name)).unwrap_or("job.name")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_names_every_key() {
        let text = include_str!("default.toml");
        for (key, _) in KEYS {
            let (section, name) = key.rsplit_once('.').unwrap();
            let (_, behind) = text.split_once(&format!("\n[{section}]\n")).expect(section);
            let lines = behind.lines().take_while(|line| !line.starts_with('['));
            let there = lines.into_iter().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
            assert!(there, "`{key}` is missing from default.toml");
        }
    }
}
