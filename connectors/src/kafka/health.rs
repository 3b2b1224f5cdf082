//! What a client says of itself while it runs: errors, log lines, and which partitions are truly being read.
//!
//! librdkafka goes on by itself when a broker is lost, for as long as it takes, so its errors are of three kinds:
//!
//! | kind | for instance | what follows |
//! |---|---|---|
//! | passing | connection refused, all brokers down | one log line every few seconds |
//! | final | wrong password, no right to read | the job stops |
//! | hint | a log line of facility `ERROR` | the source asks whether its topic is still there |
//!
//! The end of a partition is reported once. Whether a partition that reached it is idle, or its broker is gone, is seen
//! from the statistics: a partition is live while its broker answers the fetches that are always under way. Without that, a
//! lost broker would look like a quiet one, the watermark would pass it, and its clicks would be late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use serde::Deserialize;

/// At most one line in this time about what librdkafka will get over by itself.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// The context of a client.
#[derive(Debug)]
pub(super) struct Health {
    topic: String,
    /// How long a broker may say nothing before its partitions no longer count as read.
    silence_us: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    fatal: Option<String>,
    last_error: Option<String>,
    topic_in_doubt: bool,
    live: BTreeSet<i32>,
    live_at: Option<Instant>,
    logged_at: Option<Instant>,
    not_logged: u64,
}

impl Health {
    /// For a client that reads, or writes, `topic`. `silence` must be longer than a fetch may wait at the broker.
    pub(super) fn new(topic: &str, silence: Duration) -> Self {
        let silence_us = i64::try_from(silence.as_micros()).unwrap_or(i64::MAX);
        Self { topic: topic.to_owned(), silence_us, state: Mutex::default() }
    }

    /// The error that no waiting will mend.
    pub(super) fn fatal(&self) -> Option<String> {
        self.state().fatal.clone()
    }

    /// The last error, for messages about what did not come to pass.
    pub(super) fn last_error(&self) -> Option<String> {
        self.state().last_error.clone()
    }

    /// Whether something was said since the last call that may mean that the topic is gone.
    pub(super) fn take_topic_in_doubt(&self) -> bool {
        std::mem::take(&mut self.state().topic_in_doubt)
    }

    /// Notes that the topic may be gone.
    pub(super) fn doubt_topic(&self) {
        self.state().topic_in_doubt = true;
    }

    /// When the partition was last known to be read from a broker that answers.
    pub(super) fn live_at(&self, partition: i32) -> Option<Instant> {
        let state = self.state();
        state.live_at.filter(|_| state.live.contains(&partition))
    }

    /// Logs a line about something that passes, unless one was logged a moment ago.
    pub(super) fn log_passing(&self, line: &str) {
        let mut state = self.state();
        if state.logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            state.not_logged += 1;
            return;
        }
        state.logged_at = Some(Instant::now());
        let not_logged = std::mem::take(&mut state.not_logged);
        drop(state);
        tracing::warn!(topic = self.topic, not_logged, "{line}; going on as soon as it is over");
    }

    /// A panic elsewhere leaves the state as good as it was: every field stands for itself.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Health {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // "topic does not exist" and the like of a partition are only logged by librdkafka.
        if facility == "ERROR" {
            self.doubt_topic();
        }
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info => tracing::debug!("librdkafka {facility}: {line}"),
            _ => self.log_passing(&format!("librdkafka {facility}: {line}")),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let line = if reason.is_empty() { error.to_string() } else { reason.to_owned() };
        let mut state = self.state();
        state.last_error = Some(line.clone());
        if code.is_some_and(is_final) {
            state.fatal.get_or_insert(line);
            return;
        }
        drop(state);
        self.log_passing(&line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let live = match serde_json::from_slice::<Statistics>(statistics) {
            Ok(parsed) => parsed.live_partitions(&self.topic, self.silence_us),
            Err(error) => return tracing::warn!("cannot read librdkafka's statistics: {error}"),
        };
        let mut state = self.state();
        state.live = live;
        state.live_at = Some(Instant::now());
    }
}

impl ConsumerContext for Health {}

/// For a producer whose reports are read elsewhere.
impl ProducerContext for Health {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, _opaque: ()) {}
}

/// Errors that waiting does not mend.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::Fatal
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}

/// Errors of a partition that leave its next record where it was: librdkafka fetches it again.
pub(super) fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NetworkException
            | Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::KafkaStorageError
            | Code::OffsetNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::ThrottlingQuotaExceeded
            | Code::Unknown
    )
}

/// The few of librdkafka's statistics that are needed.
#[derive(Deserialize)]
struct Statistics {
    brokers: BTreeMap<String, BrokerStatistics>,
    #[serde(default)]
    topics: BTreeMap<String, TopicStatistics>,
}

#[derive(Deserialize)]
struct BrokerStatistics {
    nodeid: i32,
    state: String,
    /// Microseconds since the broker last sent anything.
    #[serde(default)]
    rxidle: i64,
}

#[derive(Deserialize)]
struct TopicStatistics {
    #[serde(default)]
    partitions: BTreeMap<String, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    partition: i32,
    broker: i32,
    fetch_state: String,
}

impl Statistics {
    fn live_partitions(&self, topic: &str, silence_us: i64) -> BTreeSet<i32> {
        let answering: BTreeSet<i32> = self
            .brokers
            .values()
            .filter(|broker| broker.state == "UP" && (0..silence_us).contains(&broker.rxidle))
            .map(|broker| broker.nodeid)
            .collect();
        self.topics
            .get(topic)
            .into_iter()
            .flat_map(|topic| topic.partitions.values())
            .filter(|partition| partition.fetch_state == "active" && answering.contains(&partition.broker))
            .map(|partition| partition.partition)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_live_while_its_broker_answers() {
        let statistics = r#"{
            "brokers": {
                "a:1/1": {"nodeid": 1, "state": "UP", "rxidle": 40000},
                "b:1/2": {"nodeid": 2, "state": "UP", "rxidle": 9000000},
                "c:1/3": {"nodeid": 3, "state": "TRY_CONNECT", "rxidle": -1}
            },
            "topics": {"clicks": {"partitions": {
                "0": {"partition": 0, "broker": 1, "fetch_state": "active"},
                "1": {"partition": 1, "broker": 2, "fetch_state": "active"},
                "2": {"partition": 2, "broker": 3, "fetch_state": "active"},
                "3": {"partition": 3, "broker": 1, "fetch_state": "none"},
                "-1": {"partition": -1, "broker": -1, "fetch_state": "none"}
            }}}
        }"#;
        let health = Health::new("clicks", Duration::from_secs(3));
        health.stats_raw(statistics.as_bytes());
        let live: Vec<i32> = (-1..4).filter(|partition| health.live_at(*partition).is_some()).collect();
        assert_eq!(live, [0]);
    }

    #[test]
    fn a_lost_broker_passes_and_a_wrong_password_does_not() {
        let health = Health::new("clicks", Duration::from_secs(3));
        health.error(KafkaError::Global(Code::AllBrokersDown), "2/2 brokers are down");
        assert_eq!(health.fatal(), None);
        assert_eq!(health.last_error().as_deref(), Some("2/2 brokers are down"));
        health.error(KafkaError::Global(Code::Authentication), "SASL authentication error");
        health.error(KafkaError::Global(Code::AllBrokersDown), "2/2 brokers are down");
        assert_eq!(health.fatal().as_deref(), Some("SASL authentication error"));
    }

    #[test]
    fn lines_about_what_passes_are_counted_not_repeated() {
        let health = Health::new("clicks", Duration::from_secs(3));
        for _ in 0..10 {
            health.log_passing("connection refused");
        }
        assert_eq!(health.state().not_logged, 9);
    }
}
