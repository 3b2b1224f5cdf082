//! Where generated clicks go.

mod folder;
mod kafka;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use weir_connectors::kafka::KafkaConfig;

use crate::config::parse_location;

/// A log in partitions that can be appended to.
pub trait ClickLog {
    /// Adds a record to a partition. A log that cannot hold a record without a value is never given one.
    fn append(&mut self, partition: u32, key: &[u8], payload: Option<&[u8]>, log_time_ms: i64) -> Result<()>;

    /// Hands on what is held back in buffers, so that readers see it.
    fn flush(&mut self) -> Result<()>;

    /// Makes everything durable.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An NDJSON log: a folder with a numbered folder for each partition.
    Folder(PathBuf),
    /// A Kafka topic.
    Kafka(KafkaConfig),
}

impl Target {
    /// Reads a path, `file:///…` or `kafka://HOST:PORT[,HOST:PORT…]/TOPIC`; `settings` are for librdkafka.
    pub fn parse(text: &str, settings: &[(String, String)]) -> Result<Self> {
        if let Some(rest) = text.strip_prefix("kafka://") {
            let parts = rest.split_once('/').filter(|(brokers, topic)| !brokers.is_empty() && !topic.is_empty());
            let (brokers, topic) = parts.with_context(|| format!("`{text}` should be kafka://HOST:PORT/TOPIC"))?;
            let mut config = KafkaConfig::new(brokers, topic, "generate");
            config.settings = settings.iter().cloned().collect();
            return Ok(Self::Kafka(config.validated()?));
        }
        if !settings.is_empty() {
            bail!("-X is for kafka://… only");
        }
        let path = parse_location(text).filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
        path.map(Self::Folder).with_context(|| {
            format!("cannot generate to `{text}`: give a folder (a path or file:///…), kafka://HOST:PORT/TOPIC or http://HOST:PORT")
        })
    }

    /// How many partitions it has already; none where it does not exist yet.
    pub fn partitions(&self) -> Result<Option<u32>> {
        match self {
            Self::Folder(folder) => folder::partitions(folder),
            Self::Kafka(config) => kafka::partitions(config),
        }
    }

    /// Whether it can hold records without a value.
    #[must_use]
    pub const fn holds_tombstones(&self) -> bool {
        matches!(self, Self::Kafka(_))
    }

    /// Opens it; `append` to add to a folder that has a log, which otherwise must have none.
    pub(super) fn open(&self, partitions: u32, append: bool) -> Result<Box<dyn ClickLog>> {
        Ok(match self {
            Self::Folder(folder) => Box::new(folder::FolderLog::open(folder, partitions, append)?),
            Self::Kafka(config) => Box::new(kafka::TopicLog::open(config, partitions)?),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Kafka(config) => write!(f, "kafka://{}/{}", config.brokers, config.topic),
        }
    }
}
