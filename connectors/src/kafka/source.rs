//! A topic as a source: partitions assigned by the job, read from the offsets of its checkpoint, never skipping.
//!
//! ```text
//!                     ┌ partition 0 ▶ queue 0 ┐
//!   brokers ▶ fetches ┤ partition 3 ▶ queue 3 ├ poll(partition) ▶ visit(record)*   position = last offset + 1
//!                     └ main queue: errors, statistics, log ▶ served every 100 ms
//! ```
//!
//! - The start is the checkpoint's next offset, or the log's first one. Before the first read, and whenever a broker says
//!   that an offset is out of range, the topic's id and the log's bounds are asked for: a log that starts later is
//!   [`SourceError::Gone`], one that ends earlier is another log than the one that was read, and so is one of another id
//!   ([`SourceError::Replaced`], see `watch.rs`).
//! - A partition that comes up meanwhile is seen within `topic.metadata.refresh.interval.ms`, and read from offset 0 on.
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
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use weir_checkpoints::{Offset, PartitionId, Position};
use weir_dataflow::{Confirmation, Polled, Record, Source, SourceError};

use super::batch::{Event, PartitionQueue};
use super::factory::KafkaSourceFactory;
use super::health::{Health, is_passing};
use super::watch::TopicWatch;

/// The log's time of a record that has none: later than any event, and far enough from the type's end to count with.
pub const NO_LOG_TIME_MS: i64 = i64::MAX / 2;

/// The most records in a batch. More gain nothing, and a batch should stay in the cache.
const BATCH_RECORDS: usize = 512;
/// How often the main queue is served.
pub(super) const SERVE_INTERVAL: Duration = Duration::from_millis(100);
/// How many events of the main queue are handled at a time: more than can come in between.
pub(super) const SERVE_EVENTS: usize = 32;
/// How long after its last sign of life a partition still counts as read. The statistics come every second.
pub(super) const LIVE_FOR: Duration = Duration::from_secs(3);

/// Some partitions of a topic, read by one worker.
pub(super) struct KafkaSource {
    partitions: BTreeMap<PartitionId, Partition>,
    consumer: Arc<BaseConsumer<Health>>,
    factory: KafkaSourceFactory,
    watch: TopicWatch,
    /// What is kept with every position.
    cursor: Option<String>,
    served_at: Instant,
    /// Something was read since the topic was last confirmed.
    unconfirmed: bool,
}

pub(super) struct Partition {
    pub(super) id: i32,
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
        self.serve()?;
        let Some(reader) = self.partitions.get_mut(&partition) else {
            return Err(self.factory.invalid(format!("partition {partition} is not assigned here")));
        };
        let health = self.consumer.context();
        let before = reader.next;
        let read = reader.read(max, health, visit);
        self.unconfirmed |= reader.next != before;
        match read {
            Ok(0) if reader.caught_up(health) => Ok(Polled::CaughtUp),
            Ok(0) => Ok(Polled::Pending),
            Ok(visited) => Ok(Polled::Records(visited)),
            Err(error) => Err(self.explain(partition, error)),
        }
    }

    fn position(&self, partition: PartitionId) -> Position {
        let next_offset = self.partitions.get(&partition).map_or(Offset(0), |reader| Offset(reader.next));
        Position { next_offset, cursor: self.cursor.clone() }
    }

    /// Counts what the broker has appended, open transactions included, which cannot be read yet.
    fn lag(&self, partition: PartitionId) -> Option<u64> {
        let reader = self.partitions.get(&partition)?;
        let end = reader.queue.known_end()?;
        Some(unsigned(end).saturating_sub(reader.next))
    }

    fn partitions_now(&mut self) -> Result<Option<Vec<PartitionId>>, SourceError> {
        // A worker without partitions never polls.
        self.serve()?;
        Ok(Some(self.watch.partitions().to_vec()))
    }

    /// No bounds are asked for, which would hold up the worker: a log that starts later answers "out of range".
    fn add(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        let reader = Partition::open(&self.factory, &self.consumer, partition, 0)?;
        let mut added = TopicPartitionList::with_capacity(1);
        added
            .add_partition_offset(&self.factory.config.topic, reader.id, KafkaOffset::Offset(0))
            .and_then(|()| self.consumer.incremental_assign(&added))
            .map_err(|error| self.factory.invalid(format!("cannot add partition {partition}: {error}")))?;
        self.partitions.insert(partition, reader);
        Ok(())
    }

    fn confirm(&mut self) -> Option<Confirmation> {
        if !std::mem::take(&mut self.unconfirmed) {
            return None;
        }
        Some(Box::new(self.watch.confirmation()?))
    }
}

impl KafkaSource {
    pub(super) fn new(
        partitions: BTreeMap<PartitionId, Partition>,
        consumer: Arc<BaseConsumer<Health>>,
        factory: KafkaSourceFactory,
        watch: TopicWatch,
        cursor: Option<String>,
    ) -> Self {
        Self { partitions, consumer, factory, watch, cursor, served_at: Instant::now(), unconfirmed: false }
    }

    /// Handles what the client has to say, now and then: errors, statistics, log lines, the topic as it is.
    fn serve(&mut self) -> Result<(), SourceError> {
        if self.served_at.elapsed() < SERVE_INTERVAL {
            return Ok(());
        }
        for _ in 0..SERVE_EVENTS {
            let _handled_by_the_context = self.consumer.poll(Duration::ZERO);
        }
        self.served_at = Instant::now();
        let health = self.consumer.context();
        if let Some(reason) = health.fatal() {
            return Err(SourceError::Unreadable { location: self.factory.location(), reason });
        }
        self.watch.turn(health.take_topic_in_doubt())
    }

    /// What an error in a partition's queue means for the job.
    fn explain(&self, partition: PartitionId, error: QueueError) -> SourceError {
        let factory = &self.factory;
        let next = self.partitions.get(&partition).map_or(0, |reader| reader.next);
        let location = factory.location();
        let reason = format!("partition {partition} at offset {next}: {}", error.reason);
        let unreadable = SourceError::Unreadable { location, reason };
        match error.code {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                let checked = self.watch.look().and_then(|()| factory.bounds(&self.consumer, partition));
                let checked = checked.and_then(|bounds| bounds.check(&factory.config, partition, next));
                checked.err().unwrap_or(unreadable)
            }
            _ => unreadable,
        }
    }
}

impl Partition {
    /// Takes the partition's queue out of the client's. To be called before the partition is assigned.
    pub(super) fn open(
        factory: &KafkaSourceFactory,
        consumer: &Arc<BaseConsumer<Health>>,
        partition: PartitionId,
        next: u64,
    ) -> Result<Self, SourceError> {
        let id = kafka_id(partition).ok_or_else(|| factory.invalid(format!("Kafka has no partition {partition}")))?;
        let queue = PartitionQueue::open(consumer, &factory.config.topic, id, BATCH_RECORDS)
            .ok_or_else(|| factory.invalid(format!("the client has no queue for partition {partition}")))?;
        Ok(Self { id, queue, next, end: None })
    }

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
                if code.is_some_and(is_unknown) {
                    // It may be so new that this client does not know it yet. If it is gone, the topic's watch finds out.
                    health.doubt_topic();
                }
                if code.is_some_and(|code| is_passing(code) || is_unknown(code)) {
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

fn is_unknown(code: Code) -> bool {
    matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition)
}

pub(super) fn kafka_id(partition: PartitionId) -> Option<i32> {
    i32::try_from(partition.0).ok()
}

/// Kafka's offsets are signed; negative ones are never a record's.
pub(super) fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

pub(super) fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
