//! `[source]`: where the log is, for the job that reads it and for ingest that appends to it.

use std::collections::BTreeMap;

use weir_connectors::kafka::{KafkaConfig, KafkaConfigError};

use super::keys::FREE_PREFIX;
use super::layers::{Entry, Origin};
use super::reader::{Reader, invalid, misplaced};
use super::{ConfigError, SourceConfig};

pub(super) fn source(raw: &Reader<'_>, job: &str) -> Result<SourceConfig, ConfigError> {
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
