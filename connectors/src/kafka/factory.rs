//! Opens a topic: looks at what is there, and compares it with where the job stands, before anything is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use weir_checkpoints::{PartitionId, Position};
use weir_dataflow::{Source, SourceError, SourceFactory};

use super::bounds::Bounds;
use super::health::{Health, is_passing};
use super::look::TopicNow;
use super::source::{KafkaSource, LIVE_FOR, Partition, SERVE_EVENTS, SERVE_INTERVAL, kafka_id, signed, unsigned};
use super::watch::{TopicWatch, first_look, made_again, no_such_topic};
use super::{KafkaConfig, KafkaConfigError};

/// How long metadata and the log's bounds are waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a partition that was named may be unknown to the broker that is asked next.
const UNKNOWN_FOR: Duration = Duration::from_secs(3);

/// What stands before a topic's id in a position's cursor.
const CURSOR: &str = "topic_id=";

/// Opens a topic for the workers of a job.
#[derive(Debug, Clone)]
pub struct KafkaSourceFactory {
    pub(super) config: KafkaConfig,
}

impl KafkaSourceFactory {
    /// A topic of a cluster. Nothing is asked of the cluster yet.
    pub fn new(config: KafkaConfig) -> Result<Self, KafkaConfigError> {
        config.validated().map(|config| Self { config })
    }

    pub(super) fn location(&self) -> String {
        self.config.location(&self.config.topic)
    }

    pub(super) fn invalid(&self, reason: String) -> SourceError {
        SourceError::Invalid { location: self.location(), reason }
    }

    fn client(&self, config: &ClientConfig) -> Result<BaseConsumer<Health>, SourceError> {
        // A fetch waits at the broker; only then is silence a sign.
        let fetch_wait = milliseconds(config, "fetch.wait.max.ms").unwrap_or(Duration::from_millis(500));
        let health = Health::new(&self.config.topic, LIVE_FOR + fetch_wait);
        config.create_with_context(health).map_err(|error| self.invalid(error.to_string()))
    }

    /// The error of a request that was not answered, with what the client said meanwhile.
    fn unanswered(&self, consumer: &BaseConsumer<Health>, asked: &str, error: &KafkaError) -> SourceError {
        for _ in 0..SERVE_EVENTS {
            let _served_by_the_context = consumer.poll(Duration::ZERO);
        }
        let health = consumer.context();
        let location = self.location();
        let reason = match health.fatal().or_else(|| health.last_error()) {
            Some(said) => format!("{asked} was not answered: {error} ({said})"),
            None => format!("{asked} was not answered: {error}"),
        };
        SourceError::Unreadable { location, reason }
    }

    /// The position to begin at, checked against the topic's id and the log's bounds.
    fn start(
        &self,
        consumer: &BaseConsumer<Health>,
        topic_id: Option<&str>,
        partition: PartitionId,
        stored: Option<&Position>,
    ) -> Result<u64, SourceError> {
        if let Some((read, found)) = stored.and_then(topic_id_of).zip(topic_id).filter(|(read, found)| read != found) {
            return Err(SourceError::Replaced { location: self.location(), reason: made_again(read, found) });
        }
        let bounds = self.bounds(consumer, partition)?;
        match stored {
            None => Ok(bounds.first),
            Some(position) => {
                let next = position.next_offset.0;
                bounds.check(&self.config, partition, next)?;
                Ok(next)
            }
        }
    }

    /// The topic as the cluster describes it. A cluster that gives records and does not describe its topics, or not now, is
    /// read all the same: the topic is taken for the one that the positions are in.
    fn look(
        &self,
        consumer: &Arc<BaseConsumer<Health>>,
        assigned: &[(PartitionId, Option<Position>)],
    ) -> Result<TopicNow, SourceError> {
        match first_look(consumer, &self.config, ANSWER_TIMEOUT) {
            Err(SourceError::Unreadable { reason, .. }) => {
                tracing::warn!(topic = self.config.topic, "{reason}; the topic is read all the same");
                let id = assigned.iter().find_map(|(_, stored)| topic_id_of(stored.as_ref()?)).map(str::to_owned);
                Ok(TopicNow { id, partitions: assigned.iter().map(|(partition, _)| *partition).collect() })
            }
            described => described,
        }
    }

    pub(super) fn bounds(
        &self,
        consumer: &BaseConsumer<Health>,
        partition: PartitionId,
    ) -> Result<Bounds, SourceError> {
        let id = kafka_id(partition).ok_or_else(|| self.invalid(format!("Kafka has no partition {partition}")))?;
        let asked_at = Instant::now();
        loop {
            let error = match consumer.fetch_watermarks(&self.config.topic, id, ANSWER_TIMEOUT) {
                Ok((first, end)) => return Ok(Bounds { first: unsigned(first), end: unsigned(end) }),
                Err(error) => error,
            };
            let unknown = error.rdkafka_error_code().is_some_and(is_unknown);
            // A leader may just have been lost, and the next one not be known yet; or the partition is very new.
            let patience = if unknown { UNKNOWN_FOR } else { ANSWER_TIMEOUT };
            let unanswered = self.unanswered(consumer, "the request for the log's bounds", &error);
            if asked_at.elapsed() < patience && consumer.context().fatal().is_none() {
                std::thread::sleep(SERVE_INTERVAL);
            } else if unknown {
                return Err(self.invalid(format!("the topic has no partition {partition} any more")));
            } else {
                return Err(unanswered);
            }
        }
    }
}

impl SourceFactory for KafkaSourceFactory {
    fn topic(&self) -> &str {
        &self.config.topic
    }

    fn identity(&self) -> String {
        format!("kafka:{}", self.config.topic)
    }

    fn partitions(&self) -> Result<Vec<PartitionId>, SourceError> {
        let consumer = self.client(&self.config.consumer())?;
        let asked_at = Instant::now();
        loop {
            let metadata = match consumer.fetch_metadata(Some(&self.config.topic), ANSWER_TIMEOUT) {
                Ok(metadata) => metadata,
                // The broker that was asked may just have been lost.
                Err(_) if asked_at.elapsed() < ANSWER_TIMEOUT => {
                    std::thread::sleep(SERVE_INTERVAL);
                    continue;
                }
                Err(error) => return Err(self.unanswered(&consumer, "the request for metadata", &error)),
            };
            let topic = metadata.topics().iter().find(|topic| topic.name() == self.config.topic);
            let partitions = topic.map(|topic| topic.partitions()).unwrap_or_default();
            match topic.and_then(|topic| topic.error()) {
                None if !partitions.is_empty() => {
                    let mut ids: Vec<PartitionId> = partitions
                        .iter()
                        .filter_map(|partition| u32::try_from(partition.id()).ok())
                        .map(PartitionId)
                        .collect();
                    ids.sort_unstable();
                    return Ok(ids);
                }
                Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {
                    return Err(no_such_topic(&self.config));
                }
                Some(error) if asked_at.elapsed() > ANSWER_TIMEOUT || !is_passing(error.into()) => {
                    let reason = Code::from(error).to_string();
                    return Err(SourceError::Unreadable { location: self.location(), reason });
                }
                // A topic that was just made has no leaders yet.
                _ if asked_at.elapsed() < ANSWER_TIMEOUT => std::thread::sleep(SERVE_INTERVAL),
                _ => {
                    let reason = "the topic has no partitions".to_owned();
                    return Err(SourceError::Unreadable { location: self.location(), reason });
                }
            }
        }
    }

    fn open(&self, assigned: &[(PartitionId, Option<Position>)]) -> Result<Box<dyn Source>, SourceError> {
        let client = self.config.consumer();
        let consumer = Arc::new(self.client(&client)?);
        let topic = self.look(&consumer, assigned)?;
        let mut partitions = BTreeMap::new();
        let mut assignment = TopicPartitionList::with_capacity(assigned.len());
        for (partition, stored) in assigned {
            let next = self.start(&consumer, topic.id.as_deref(), *partition, stored.as_ref())?;
            let reader = Partition::open(self, &consumer, *partition, next)?;
            assignment
                .add_partition_offset(&self.config.topic, reader.id, KafkaOffset::Offset(signed(next)))
                .map_err(|error| self.invalid(error.to_string()))?;
            partitions.insert(*partition, reader);
        }
        consumer.assign(&assignment).map_err(|error| self.invalid(error.to_string()))?;
        let cursor = topic.id.as_ref().map(|id| format!("{CURSOR}{id}"));
        let refresh = milliseconds(&client, "topic.metadata.refresh.interval.ms");
        let watch = TopicWatch::new(&consumer, &self.config, refresh, topic);
        Ok(Box::new(KafkaSource::new(partitions, consumer, self.clone(), watch, cursor)))
    }
}

/// The id of the topic that a position is in. Positions of before ids were kept have none.
fn topic_id_of(position: &Position) -> Option<&str> {
    position.cursor.as_deref()?.strip_prefix(CURSOR)
}

/// A time among a client's settings; none where it is switched off.
fn milliseconds(config: &ClientConfig, key: &str) -> Option<Duration> {
    let value: i64 = config.get(key)?.parse().ok()?;
    u64::try_from(value).ok().filter(|value| *value > 0).map(Duration::from_millis)
}

fn is_unknown(code: Code) -> bool {
    matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition)
}
