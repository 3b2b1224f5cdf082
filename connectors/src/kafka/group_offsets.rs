//! The job's offsets, told to the consumer group `weir-<job>`: for lag monitors, and for nothing else.
//!
//! The job itself never reads them. A commit that fails is logged and counted; the next checkpoint makes up for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientContext, Offset as KafkaOffset, TopicPartitionList};
use weir_checkpoints::{Manifest, PartitionCut, PartitionId};
use weir_dataflow::{Committer, Cut, Row, RowKind, Sink, SinkError, SinkFactory, Staged, Staging, WorkerContext};

use super::health::Health;
use super::{KafkaConfig, KafkaConfigError};

const NAME: &str = "kafka-group-offsets";

/// How long the answer to a commit is waited for. It is not lost after that: the next commit counts it.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// Reports a job's offsets to its consumer group.
#[derive(Debug, Clone)]
pub struct KafkaGroupOffsets {
    config: KafkaConfig,
    counts: Arc<Counts>,
}

impl KafkaGroupOffsets {
    /// The group of a configuration.
    pub fn new(config: KafkaConfig) -> Result<Self, KafkaConfigError> {
        Ok(Self { config: config.validated()?, counts: Arc::default() })
    }

    /// Commits that failed so far.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    /// Commits that the group's coordinator took so far.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.counts.taken.load(Ordering::Relaxed)
    }
}

impl SinkFactory for KafkaGroupOffsets {
    fn name(&self) -> &str {
        NAME
    }

    fn accepts(&self, _kind: RowKind) -> bool {
        false
    }

    fn open(&self, _worker: WorkerContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(NoRows))
    }

    fn committer(&self) -> Result<Box<dyn Committer>, SinkError> {
        let health = Health::new(&self.config.topic, Duration::MAX);
        let context = Answers { health, counts: Arc::clone(&self.counts) };
        let consumer = self
            .config
            .group_member()
            .create_with_context(context)
            .map_err(|error: KafkaError| SinkError::Refused { sink: NAME.to_owned(), reason: error.to_string() })?;
        Ok(Box::new(OffsetCommitter { consumer, topic: self.config.topic.clone(), counts: Arc::clone(&self.counts) }))
    }
}

struct NoRows;

impl Sink for NoRows {
    fn write(&mut self, _row: Row<'_>) -> Result<(), SinkError> {
        Ok(())
    }

    fn stage(&mut self, _cut: &Cut) -> Result<Staging, SinkError> {
        Ok(Box::new(|| Ok(Staged::default())))
    }

    fn restore(&mut self, _carried: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

struct OffsetCommitter {
    consumer: BaseConsumer<Answers>,
    topic: String,
    counts: Arc<Counts>,
}

impl Committer for OffsetCommitter {
    fn commit(&mut self, manifest: &Manifest) -> Result<(), SinkError> {
        if manifest.partitions.is_empty() {
            return Ok(());
        }
        let answered = self.counts.answered();
        let asked = offsets(&self.topic, &manifest.partitions)
            .and_then(|offsets| self.consumer.commit(&offsets, CommitMode::Async));
        match asked {
            Ok(()) => self.wait_for_answer(answered),
            Err(error) => self.counts.count(&Err(error), self.consumer.context()),
        }
        Ok(())
    }
}

impl OffsetCommitter {
    fn wait_for_answer(&self, answered_before: u64) {
        let asked_at = Instant::now();
        while self.counts.answered() == answered_before && asked_at.elapsed() < ANSWER_WAIT {
            let _handled_by_the_context = self.consumer.poll(Duration::from_millis(10));
        }
    }
}

fn offsets(topic: &str, partitions: &BTreeMap<PartitionId, PartitionCut>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (partition, cut) in partitions {
        let id = i32::try_from(partition.0).unwrap_or(i32::MAX);
        let offset = i64::try_from(cut.position.next_offset.0).unwrap_or(i64::MAX);
        list.add_partition_offset(topic, id, KafkaOffset::Offset(offset))?;
    }
    Ok(list)
}

#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    fn answered(&self) -> u64 {
        self.taken.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    fn count(&self, answer: &KafkaResult<()>, context: &Answers) {
        match answer {
            Ok(()) => self.taken.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                context.health.log_passing(&format!("offsets not committed to the consumer group: {error}"));
                self.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// Takes the answers to commits.
struct Answers {
    health: Health,
    counts: Arc<Counts>,
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.health.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.error(error, reason);
    }
}

impl ConsumerContext for Answers {
    fn commit_callback(&self, answer: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.counts.count(&answer, self);
    }
}
