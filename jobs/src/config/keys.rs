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
    ("checkpoint.url", Kind::Text),
    ("checkpoint.interval", Kind::Duration),
    ("checkpoint.retain", Kind::Integer),
    ("checkpoint.retain_manifests", Kind::Duration),
    ("tables.url", Kind::Text),
    ("tables.target_file_bytes", Kind::Integer),
    ("tables.roll_interval", Kind::Duration),
    ("archive.enabled", Kind::Boolean),
    ("archive.extra", Kind::Boolean),
    ("dead_letters.topic", Kind::Text),
    ("metrics.listen", Kind::Text),
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
}

impl Kind {
    /// What is asked for, in words for an error message.
    pub(super) const fn wanted(self) -> &'static str {
        match self {
            Self::Text => "text in quotes",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Duration => "a duration such as \"500ms\", \"10s\" or \"1h30m\"",
        }
    }

    /// Whether a value from a file is of this kind, as far as its TOML type tells.
    pub(super) const fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text | Self::Duration => matches!(value, Value::String(_)),
            Self::Integer => matches!(value, Value::Integer(_)),
            Self::Boolean => matches!(value, Value::Boolean(_)),
        }
    }

    /// Reads a value given as bare text, by a flag or the environment.
    pub(super) fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::Text | Self::Duration => Some(Value::String(text.to_owned())),
            Self::Integer => text.parse().ok().map(Value::Integer),
            Self::Boolean => text.parse().ok().map(Value::Boolean),
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
            let name = key.split_once('.').map(|(_, name)| name).unwrap();
            let there = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
            assert!(there, "`{key}` is missing from default.toml");
        }
    }
}
