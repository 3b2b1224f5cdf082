//! What a job says about its Kafka cluster, and the librdkafka settings that follow from it.
//!
//! ```text
//! job file ──▶ KafkaConfig { brokers, topic, group, dead_letter_topic, settings }
//!                   │ validated(): names, reserved keys
//!                   ├──▶ consumer(): small queues, no resets, end-of-partition events
//!                   ├──▶ producer(): idempotent, every in-sync replica
//!                   ├──▶ log_producer(): the same, tuned for clicks that somebody waits for
//!                   └──▶ admin():    addresses and security only
//! ```
//!
//! `settings` goes to librdkafka as it is: TLS, SASL, buffers, timeouts. Keys that correctness rests on are refused,
//! with the reason; all others may be set and win over the defaults here.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// A Kafka cluster and what a job reads from and writes to it.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Addresses to start from, `host:port`, separated by commas.
    pub brokers: String,
    /// The topic that clicks are read from.
    pub topic: String,
    /// The consumer group that offsets are reported to, for lag monitors only: `weir-<job>`.
    pub group: String,
    /// The topic for records that are no click.
    pub dead_letter_topic: String,
    /// Further librdkafka settings.
    pub settings: BTreeMap<String, String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaConfigError {
    /// No broker is named.
    #[error("no broker is given; name at least one as `host:port`")]
    NoBrokers,
    /// A topic has a name that Kafka does not allow.
    #[error("`{name}` is no topic name: 1 to 249 letters, digits, `.`, `_` and `-`")]
    TopicName {
        /// The name.
        name: String,
    },
    /// The dead letters would be read as clicks.
    #[error("topic `{name}` cannot be read and take the dead letters at once")]
    DeadLettersLoop {
        /// The topic.
        name: String,
    },
    /// A setting that is not for the job file to make.
    #[error("the Kafka setting `{key}` is refused: {reason}")]
    Reserved {
        /// The setting.
        key: String,
        /// Why not.
        reason: &'static str,
    },
    /// A setting that librdkafka does not know or does not take. Its value may be a secret and is not shown.
    #[error("the Kafka setting `{key}` is not accepted: {reason}")]
    NotAccepted {
        /// The setting.
        key: String,
        /// What librdkafka said.
        reason: String,
    },
}

impl KafkaConfig {
    /// The configuration of a job without any settings of its own: group `weir-<job>`, dead letters to `<topic>.dlq`.
    #[must_use]
    pub fn new(brokers: &str, topic: &str, job: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            group: format!("weir-{job}"),
            dead_letter_topic: format!("{topic}.dlq"),
            settings: BTreeMap::new(),
        }
    }

    /// Checks everything that can be checked without a broker.
    pub fn validated(self) -> Result<Self, KafkaConfigError> {
        if self.brokers.split(',').all(|broker| broker.trim().is_empty()) {
            return Err(KafkaConfigError::NoBrokers);
        }
        for name in [&self.topic, &self.dead_letter_topic] {
            if !is_topic_name(name) {
                return Err(KafkaConfigError::TopicName { name: name.clone() });
            }
        }
        if self.topic == self.dead_letter_topic {
            return Err(KafkaConfigError::DeadLettersLoop { name: self.topic });
        }
        for (key, value) in &self.settings {
            check_setting(key, value)?;
        }
        Ok(self)
    }

    /// For the source: one librdkafka consumer a worker, all partitions assigned by the job.
    ///
    /// Small queues keep the records in the processor's cache: 2.3 M messages/s instead of 1.0 M with librdkafka's
    /// 64 MB (see `examples/kafka_read_speed.rs`). They also need the short `fetch.queue.backoff.ms`: its default of
    /// one second is how long librdkafka would wait whenever a queue was found full.
    pub(super) fn consumer(&self) -> ClientConfig {
        self.client(&[
            ("queued.max.messages.kbytes", "4096"),
            ("fetch.message.max.bytes", "524288"),
            ("fetch.queue.backoff.ms", "2"),
            ("fetch.wait.max.ms", "100"),
            ("fetch.error.backoff.ms", "100"),
            ("isolation.level", "read_committed"),
            // A missing group costs a lag monitor, never the job: reading needs no coordinator.
            ("group.id", self.group.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("statistics.interval.ms", "1000"),
            // How soon partitions that were added are read, and how soon a topic that was made again is noticed.
            ("topic.metadata.refresh.interval.ms", "5000"),
        ])
    }

    /// For the dead letters: acknowledged by every in-sync replica, no duplicate from a retry, no gap.
    ///
    /// `message.max.bytes` is high so that the broker decides what is too large; batches are small so that a low limit
    /// of the broker hits the large record and not its neighbours.
    pub(super) fn producer(&self) -> ClientConfig {
        self.client(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("linger.ms", "5"),
            ("batch.size", "65536"),
            ("message.max.bytes", "10000000"),
            ("queue.buffering.max.kbytes", "65536"),
        ])
    }

    /// For clicks that come in over HTTP: acknowledged by every in-sync replica, and soon.
    ///
    /// Two milliseconds of linger halve what a click costs at 20,000 single clicks a second (28 CPU-us with none, 15 with
    /// two), since every batch is a request that both sides pay for; more of it only adds to the wait at low rates
    /// (`examples/kafka_log_speed.rs`). The partitioner is that of Java producers. Batches are small enough for every
    /// sensible `max.message.bytes`: a broker refuses all records of a batch that it finds too large. A connection that is
    /// silent for ten seconds is given up, so that records are sent again well before they time out. The log bounds what is
    /// under way itself, so the client's own bounds are out of its way.
    pub(super) fn log_producer(&self, capacity_bytes: u64, delivery_timeout: Duration) -> ClientConfig {
        let capacity_kbytes = (capacity_bytes / 1024 + 1024).min(i32::MAX as u64).to_string();
        let mut client = self.client(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("linger.ms", "2"),
            ("batch.size", "131072"),
            ("compression.type", "lz4"),
            ("socket.timeout.ms", "10000"),
            ("queue.buffering.max.messages", "0"),
            ("queue.buffering.max.kbytes", capacity_kbytes.as_str()),
        ]);
        // Whoever opens the log decides on it, whatever the job's settings say under either name.
        client.remove("delivery.timeout.ms");
        client.set("message.timeout.ms", delivery_timeout.as_millis().clamp(1, i32::MAX as u128).to_string());
        client
    }

    /// For reporting offsets to the consumer group.
    pub(super) fn group_member(&self) -> ClientConfig {
        self.client(&[("group.id", self.group.as_str()), ("enable.auto.commit", "false")])
    }

    /// For metadata and topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client(&[])
    }

    /// `brokers` and `topic`, as errors name them.
    pub(super) fn location(&self, topic: &str) -> String {
        format!("topic {topic} on {}", self.brokers)
    }

    /// The given defaults on top of those of every client, under the job's own settings.
    pub(super) fn client(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers);
        client.set("client.id", "weir");
        client.set("socket.nagle.disable", "true");
        client.set("socket.keepalive.enable", "true");
        client.set("reconnect.backoff.max.ms", "2000");
        for (key, value) in defaults {
            client.set(*key, *value);
        }
        for (key, value) in &self.settings {
            client.set(key, value);
        }
        client
    }
}

/// Settings may be secrets: only their names are shown.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("dead_letter_topic", &self.dead_letter_topic)
            .field("settings", &self.settings.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Settings that the job's guarantees rest on, with what breaks otherwise.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "the addresses are `brokers`"),
    ("metadata.broker.list", "the addresses are `brokers`"),
    ("group.id", "the group is `weir-<job>`, and only reports offsets"),
    ("group.instance.id", "the job assigns the partitions, there are no group members"),
    ("group.protocol", "the job assigns the partitions, there are no group members"),
    ("partition.assignment.strategy", "the job assigns the partitions, not the broker"),
    ("enable.auto.commit", "offsets come from the checkpoints"),
    ("auto.commit.enable", "offsets come from the checkpoints"),
    ("auto.commit.interval.ms", "offsets come from the checkpoints"),
    ("enable.auto.offset.store", "offsets come from the checkpoints"),
    ("offset.store.method", "offsets come from the checkpoints"),
    ("auto.offset.reset", "a job that finds records missing stops, it never skips"),
    ("enable.partition.eof", "idle partitions are known by it"),
    ("statistics.interval.ms", "idle partitions are known by it"),
    ("enable.idempotence", "a retried click or dead letter would be written twice"),
    (
        "acks",
        "a click that was accepted, and a dead letter whose offset is checkpointed, must be on every in-sync replica",
    ),
    (
        "request.required.acks",
        "a click that was accepted, and a dead letter whose offset is checkpointed, must be on every in-sync replica",
    ),
    ("transactional.id", "no transactions are used: nothing may expire while the job is down"),
    ("delivery.report.only.error", "delivery is counted by its reports"),
    ("log.queue", "the client library's log goes to the job's log"),
];

fn check_setting(key: &str, value: &str) -> Result<(), KafkaConfigError> {
    let refused = |reason: &'static str| KafkaConfigError::Reserved { key: key.to_owned(), reason };
    if let Some((_, reason)) = RESERVED.iter().find(|(reserved, _)| *reserved == key) {
        return Err(refused(reason));
    }
    if key == "isolation.level" && value != "read_committed" {
        return Err(refused("records of aborted transactions would be counted"));
    }
    let mut alone = ClientConfig::new();
    alone.set(key, value);
    let Err(error) = alone.create_native_config() else {
        return Ok(());
    };
    let reason = match error {
        KafkaError::ClientConfig(_, reason, ..) => reason.replace(value, "…"),
        other => other.to_string(),
    };
    Err(KafkaConfigError::NotAccepted { key: key.to_owned(), reason })
}

fn is_topic_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != ".."
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Result<KafkaConfig, KafkaConfigError> {
        let mut config = KafkaConfig::new("127.0.0.1:9092", "clicks", "main");
        config.settings.insert(key.to_owned(), value.to_owned());
        config.validated()
    }

    #[test]
    fn names_follow_from_job_and_topic() {
        let config = KafkaConfig::new("127.0.0.1:9092", "clicks", "main").validated().unwrap();
        assert_eq!(config.group, "weir-main");
        assert_eq!(config.dead_letter_topic, "clicks.dlq");
    }

    #[test]
    fn settings_reach_the_client_and_win_over_defaults() {
        let config = with("fetch.wait.max.ms", "20").unwrap();
        let client = config.consumer();
        assert_eq!(client.get("fetch.wait.max.ms"), Some("20"));
        assert_eq!(client.get("auto.offset.reset"), Some("error"));
        assert_eq!(client.get("isolation.level"), Some("read_committed"));
    }

    #[test]
    fn security_passes_through() {
        with("security.protocol", "sasl_ssl").unwrap();
        with("sasl.password", "secret").unwrap();
        with("isolation.level", "read_committed").unwrap();
    }

    #[test]
    fn what_correctness_rests_on_is_refused() {
        for (key, _) in RESERVED {
            let error = with(key, "x").unwrap_err();
            assert!(matches!(error, KafkaConfigError::Reserved { .. }), "{key}: {error}");
        }
        let error = with("isolation.level", "read_uncommitted").unwrap_err().to_string();
        assert!(error.contains("aborted transactions would be counted"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = with("sasl.password", "hunter2").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = with("sasl.pasword", "hunter2").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error}");
    }

    #[test]
    fn unknown_keys_and_values_are_refused() {
        for (key, value) in [("no.such.key", "1"), ("fetch.wait.max.ms", "soon")] {
            let error = with(key, value).unwrap_err();
            assert!(matches!(error, KafkaConfigError::NotAccepted { .. }), "{error}");
        }
    }

    #[test]
    fn brokers_and_topics_are_checked() {
        let refused = |config: KafkaConfig| config.validated().unwrap_err();
        assert_eq!(refused(KafkaConfig::new(" , ", "clicks", "main")), KafkaConfigError::NoBrokers);
        for name in ["", "a b", "ä", ".."] {
            let error = refused(KafkaConfig::new("b:1", name, "main"));
            assert!(matches!(error, KafkaConfigError::TopicName { .. }), "{name}");
        }
        let mut config = KafkaConfig::new("b:1", "clicks", "main");
        config.dead_letter_topic = "clicks".to_owned();
        assert!(matches!(refused(config), KafkaConfigError::DeadLettersLoop { .. }));
    }
}
