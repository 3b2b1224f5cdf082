//! Whether a topic could take clicks now: it is there, each partition has a leader, and enough replicas are in sync.
//!
//! Who leads and who is in sync is asked for each time. `min.insync.replicas` hardly ever changes and costs a client of
//! its own to ask for, so the answer is kept for a while; where the cluster does not tell, one replica is enough.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, Producer};

use super::KafkaConfig;
use super::description::{exists, settings};
use super::health::Health;
use crate::log::LogError;

/// How long `min.insync.replicas` is taken to be what it was.
const SETTINGS_AGE: Duration = Duration::from_secs(60);

/// Looks at one topic.
pub(super) struct Probe {
    config: KafkaConfig,
    place: Arc<str>,
    /// How many replicas must be in sync, and since when that is known.
    required: Mutex<Option<(usize, Instant)>>,
}

impl Probe {
    pub(super) fn new(config: KafkaConfig, place: Arc<str>) -> Self {
        Self { config, place, required: Mutex::default() }
    }

    pub(super) fn run(&self, producer: &BaseProducer<Health>, timeout: Duration) -> Result<(), LogError> {
        self.look(producer, timeout).map_err(|reason| LogError::Unavailable { place: self.place.to_string(), reason })
    }

    fn look(&self, producer: &BaseProducer<Health>, timeout: Duration) -> Result<(), String> {
        let asked_at = Instant::now();
        let name = self.config.topic.as_str();
        let unanswered = |error: KafkaError| match producer.context().last_error() {
            Some(last) => format!("{error}; last heard: {last}"),
            None => error.to_string(),
        };
        let metadata = producer.client().fetch_metadata(Some(name), timeout).map_err(unanswered)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        if !exists(topic)? {
            return Err("the topic does not exist; `weir topics create` makes it".to_owned());
        }
        let Some(topic) = topic else {
            return Ok(());
        };
        let required = self.required(timeout.saturating_sub(asked_at.elapsed()));
        match topic_fault(topic, required) {
            None => Ok(()),
            Some(fault) => Err(fault),
        }
    }

    fn required(&self, timeout: Duration) -> usize {
        let mut required = self.required.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, _)) = required.filter(|(_, at)| at.elapsed() < SETTINGS_AGE) {
            return known;
        }
        let asked = || -> Result<usize, String> {
            let admin: AdminClient<DefaultClientContext> =
                self.config.admin().create().map_err(|error| error.to_string())?;
            let settings = settings(&admin, &self.config.topic, timeout.max(Duration::from_millis(1)))?;
            Ok(settings.min_insync_replicas as usize)
        };
        match asked() {
            Ok(known) => {
                *required = Some((known, Instant::now()));
                known
            }
            Err(reason) => {
                tracing::debug!(log = &*self.place, "min.insync.replicas is not known: {reason}");
                required.map_or(1, |(known, _)| known)
            }
        }
    }
}

/// Why records to some partition would not be acknowledged.
fn topic_fault(topic: &MetadataTopic, required: usize) -> Option<String> {
    topic.partitions().iter().find_map(|partition| {
        let id = partition.id();
        if partition.leader() < 0 {
            return Some(format!("partition {id} has no leader"));
        }
        let in_sync = partition.isr().len();
        (in_sync < required).then(|| {
            format!("partition {id} has {in_sync} replicas in sync, and min.insync.replicas asks for {required}")
        })
    })
}
