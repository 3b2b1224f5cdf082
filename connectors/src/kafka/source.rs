//! A topic as a source: partitions assigned by the job, read from the offsets of its checkpoint, never skipping.
//!
//! ```text
//!                     ┌ partition 0 ▶ queue 0 ┐
//!   brokers ▶ fetches ┤ partition 3 ▶ queue 3 ├ poll(partition) ▶ visit(record)*   position = last offset + 1
//!                     └ main queue: errors, statistics, log ▶ served every 100 ms
//! ```
//!
//! - The start is the checkpoint's next offset, or the log's first one. Before the first read, and whenever a broker says
//!   that an offset is out of range, the log's bounds are asked for: a log that starts later is [`SourceError::Gone`], one
//!   that ends earlier is another log than the one that was read.
//! - Offsets may have holes, from compaction and from transactions: a hole inside the log is no loss. At the log's end
//!   the position moves over a hole to the end that was reported, after every record before it was visited.
//! - A lost broker is waited for ([`Polled::Pending`]), however long it takes; a topic that is gone, and a right or a
//!   password that is refused, are errors.
//! - [`Polled::CaughtUp`] means that the end was reported at the position, and that the broker still answers.
//! - The log's time of a record is Kafka's timestamp, made by the producer or by the broker as the topic says
//!   (`message.timestamp.type`). A record without one, from before Kafka 0.10 or by a producer that sent -1, has
//!   [`NO_LOG_TIME_MS`]: there is no clock to hold its event time against, so it is never called too far in the future.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use weir_checkpoints::{Offset, PartitionId, Position};
use weir_dataflow::{Polled, Record, Source, SourceError, SourceFactory};

use super::batch::{Event, PartitionQueue};
use super::health::{Health, is_passing};
use super::{KafkaConfig, KafkaConfigError};

/// The log's time of a record that has none: later than any event, and far enough from the type's end to count with.
pub const NO_LOG_TIME_MS: i64 = i64::MAX / 2;

/// The most records in a batch. More gain nothing, and a batch should stay in the cache.
const BATCH_RECORDS: usize = 512;
/// How long metadata and the log's bounds are waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the main queue is served.
const SERVE_INTERVAL: Duration = Duration::from_millis(100);
/// How many events of the main queue are handled at a time: more than can come in between.
const SERVE_EVENTS: usize = 32;
/// How often a topic in doubt is asked for.
const DOUBT_INTERVAL: Duration = Duration::from_secs(5);
/// How long after its last sign of life a partition still counts as read. The statistics come every second.
const LIVE_FOR: Duration = Duration::from_secs(3);

/// Opens a topic for the workers of a job.
#[derive(Debug, Clone)]
pub struct KafkaSourceFactory {
    config: KafkaConfig,
}

impl KafkaSourceFactory {
    /// A topic of a cluster. Nothing is asked of the cluster yet.
    pub fn new(config: KafkaConfig) -> Result<Self, KafkaConfigError> {
        config.validated().map(|config| Self { config })
    }

    fn location(&self) -> String {
        self.config.location(&self.config.topic)
    }

    fn client(&self, config: &ClientConfig) -> Result<BaseConsumer<Health>, SourceError> {
        // A fetch waits at the broker; only then is silence a sign.
        let fetch_wait_ms = config.get("fetch.wait.max.ms").and_then(|text| text.parse().ok()).unwrap_or(500);
        let health = Health::new(&self.config.topic, LIVE_FOR + Duration::from_millis(fetch_wait_ms));
        config
            .create_with_context(health)
            .map_err(|error| SourceError::Invalid { location: self.location(), reason: error.to_string() })
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

    /// The position to begin at, checked against the log's bounds.
    fn start(
        &self,
        consumer: &BaseConsumer<Health>,
        partition: PartitionId,
        stored: Option<&Position>,
    ) -> Result<u64, SourceError> {
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

    fn bounds(&self, consumer: &BaseConsumer<Health>, partition: PartitionId) -> Result<Bounds, SourceError> {
        let id = kafka_id(partition, &self.location())?;
        match consumer.fetch_watermarks(&self.config.topic, id, ANSWER_TIMEOUT) {
            Ok((first, end)) => Ok(Bounds { first: unsigned(first), end: unsigned(end) }),
            Err(error) if error.rdkafka_error_code().is_some_and(is_unknown) => Err(SourceError::Invalid {
                location: self.location(),
                reason: format!("the topic has no partition {partition} any more"),
            }),
            Err(error) => Err(self.unanswered(consumer, "the request for the log's bounds", &error)),
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
            let metadata = consumer
                .fetch_metadata(Some(&self.config.topic), ANSWER_TIMEOUT)
                .map_err(|error| self.unanswered(&consumer, "the request for metadata", &error))?;
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
        let location = self.location();
        let consumer = Arc::new(self.client(&self.config.consumer())?);
        let mut partitions = BTreeMap::new();
        let mut assignment = TopicPartitionList::with_capacity(assigned.len());
        for (partition, stored) in assigned {
            let id = kafka_id(*partition, &location)?;
            let next = self.start(&consumer, *partition, stored.as_ref())?;
            let queue = PartitionQueue::open(&consumer, &self.config.topic, id, BATCH_RECORDS)
                .ok_or_else(|| invalid(&location, format!("the client has no queue for partition {partition}")))?;
            assignment
                .add_partition_offset(&self.config.topic, id, KafkaOffset::Offset(signed(next)))
                .map_err(|error| invalid(&location, error.to_string()))?;
            partitions.insert(*partition, Partition { id, queue, next, end: None });
        }
        consumer.assign(&assignment).map_err(|error| invalid(&location, error.to_string()))?;
        let now = Instant::now();
        Ok(Box::new(KafkaSource { partitions, consumer, factory: self.clone(), served_at: now, doubted_at: None }))
    }
}

/// Some partitions of a topic, read by one worker.
struct KafkaSource {
    partitions: BTreeMap<PartitionId, Partition>,
    consumer: Arc<BaseConsumer<Health>>,
    factory: KafkaSourceFactory,
    served_at: Instant,
    doubted_at: Option<Instant>,
}

struct Partition {
    id: i32,
    queue: PartitionQueue<Health>,
    /// The offset behind the last record visited.
    next: u64,
    /// The end that was reported last, and when.
    end: Option<(u64, Instant)>,
}

/// An error in a partition's queue.
struct QueueError {
    code: Option<Code>,
    reason: String,
}

impl Source for KafkaSource {
    fn poll(
        &mut self,
        partition: PartitionId,
        max: usize,
        visit: &mut dyn FnMut(Record<'_>),
    ) -> Result<Polled, SourceError> {
        if self.served_at.elapsed() >= SERVE_INTERVAL {
            self.serve()?;
        }
        let Some(reader) = self.partitions.get_mut(&partition) else {
            return Err(invalid(&self.factory.location(), format!("partition {partition} is not assigned here")));
        };
        let health = self.consumer.context();
        match reader.read(max, health, visit) {
            Ok(0) if reader.caught_up(health) => Ok(Polled::CaughtUp),
            Ok(0) => Ok(Polled::Pending),
            Ok(visited) => Ok(Polled::Records(visited)),
            Err(error) => Err(self.explain(partition, error)),
        }
    }

    fn position(&self, partition: PartitionId) -> Position {
        let next_offset = self.partitions.get(&partition).map_or(Offset(0), |reader| Offset(reader.next));
        Position { next_offset, cursor: None }
    }

    /// Counts what the broker has appended, open transactions included, which cannot be read yet.
    fn lag(&self, partition: PartitionId) -> Option<u64> {
        let reader = self.partitions.get(&partition)?;
        let end = reader.queue.known_end()?;
        Some(unsigned(end).saturating_sub(reader.next))
    }
}

impl KafkaSource {
    /// Handles what the client has to say: errors, statistics, log lines.
    fn serve(&mut self) -> Result<(), SourceError> {
        for _ in 0..SERVE_EVENTS {
            let _handled_by_the_context = self.consumer.poll(Duration::ZERO);
        }
        self.served_at = Instant::now();
        let health = self.consumer.context();
        if let Some(reason) = health.fatal() {
            return Err(SourceError::Unreadable { location: self.factory.location(), reason });
        }
        let asked_lately = self.doubted_at.is_some_and(|at| at.elapsed() < DOUBT_INTERVAL);
        if !asked_lately && health.take_topic_in_doubt() {
            self.doubted_at = Some(Instant::now());
            return self.check_topic();
        }
        Ok(())
    }

    /// Fails if the cluster answers that the topic is not there; a cluster that does not answer is waited for.
    fn check_topic(&self) -> Result<(), SourceError> {
        let config = &self.factory.config;
        let Ok(metadata) = self.consumer.fetch_metadata(Some(&config.topic), SERVE_INTERVAL * 10) else {
            return Ok(());
        };
        let unknown = metadata
            .topics()
            .iter()
            .any(|topic| topic.error() == Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART));
        if unknown { Err(no_such_topic(config)) } else { Ok(()) }
    }

    /// What an error in a partition's queue means for the job.
    fn explain(&self, partition: PartitionId, error: QueueError) -> SourceError {
        let factory = &self.factory;
        let next = self.partitions.get(&partition).map_or(0, |reader| reader.next);
        let location = factory.location();
        let reason = format!("partition {partition} at offset {next}: {}", error.reason);
        match error.code {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                let checked = factory
                    .bounds(&self.consumer, partition)
                    .and_then(|bounds| bounds.check(&factory.config, partition, next));
                match checked {
                    Err(missing) => missing,
                    Ok(()) => SourceError::Unreadable { location, reason },
                }
            }
            Some(code) if is_unknown(code) => no_such_topic(&factory.config),
            _ => SourceError::Unreadable { location, reason },
        }
    }
}

impl Partition {
    /// Visits what is in the queue and says how many records that were. Nothing behind an error is visited, unless it is
    /// one that passes.
    fn read(&mut self, max: usize, health: &Health, visit: &mut dyn FnMut(Record<'_>)) -> Result<usize, QueueError> {
        let mut visited = 0;
        let mut failure = None;
        let next = &mut self.next;
        let end = &mut self.end;
        let partition = self.id;
        self.queue.visit(max, &mut |event| match event {
            Event::Message { offset, timestamp_ms, region, payload } => {
                let offset = unsigned(offset);
                // What lies before the position was visited before.
                if offset >= *next {
                    let log_time_ms = if timestamp_ms < 0 { NO_LOG_TIME_MS } else { timestamp_ms };
                    *next = offset + 1;
                    visited += 1;
                    visit(Record { offset: Offset(offset), log_time_ms, region, payload });
                }
                ControlFlow::Continue(())
            }
            Event::End { offset } => {
                *next = (*next).max(unsigned(offset));
                *end = Some((*next, Instant::now()));
                ControlFlow::Continue(())
            }
            Event::Error { code, reason } => {
                let reason = String::from_utf8_lossy(reason).into_owned();
                if code.is_some_and(is_passing) {
                    health.log_passing(&format!("partition {partition}: {reason}"));
                    return ControlFlow::Continue(());
                }
                failure = Some(QueueError { code, reason });
                ControlFlow::Break(())
            }
        });
        match failure {
            None => Ok(visited),
            Some(error) => Err(error),
        }
    }

    /// Whether the log's end is here and whoever keeps the log still answers.
    fn caught_up(&self, health: &Health) -> bool {
        let Some((_, reported_at)) = self.end.filter(|(end, _)| *end == self.next) else {
            return false;
        };
        let lively = |at: Instant| at.elapsed() < LIVE_FOR;
        lively(reported_at) || health.live_at(self.id).is_some_and(lively)
    }
}

/// What is in a partition's log: offsets `first..end`.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    first: u64,
    end: u64,
}

impl Bounds {
    fn check(self, config: &KafkaConfig, partition: PartitionId, next: u64) -> Result<(), SourceError> {
        if self.first > next {
            return Err(SourceError::Gone {
                topic: config.topic.clone(),
                partition,
                expected: Offset(next),
                last_missing: Offset(self.first - 1),
                first_available: Offset(self.first),
            });
        }
        if next > self.end {
            let reason = format!(
                "partition {partition} ends at offset {}, but the job has read it up to {next}: the log was truncated, or \
                 the topic was deleted and made again. Restore the log, or start a new job",
                self.end
            );
            return Err(invalid(&config.location(&config.topic), reason));
        }
        Ok(())
    }
}

fn no_such_topic(config: &KafkaConfig) -> SourceError {
    let reason = format!(
        "the topic does not exist; create it, for instance with \
         `kafka-topics.sh --bootstrap-server {} --create --topic {} --partitions 8`",
        config.brokers, config.topic
    );
    invalid(&config.location(&config.topic), reason)
}

fn invalid(location: &str, reason: String) -> SourceError {
    SourceError::Invalid { location: location.to_owned(), reason }
}

fn is_unknown(code: Code) -> bool {
    matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition)
}

fn kafka_id(partition: PartitionId, location: &str) -> Result<i32, SourceError> {
    i32::try_from(partition.0).map_err(|_| invalid(location, format!("Kafka has no partition {partition}")))
}

/// Kafka's offsets are signed; negative ones are never a record's.
fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
