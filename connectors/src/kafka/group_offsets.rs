//! The job's offsets, told to the consumer group `weir-<job>`: for lag monitors, and for nothing else.
//!
//! ```text
//!   commit(manifest) ──latest wins──▶ thread ──▶ group coordinator
//! ```
//!
//! The job itself never reads them, and never waits for them: a thread of its own asks the coordinator, which may take as
//! long as it likes. A commit that fails is logged and counted; the next checkpoint makes up for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use weir_checkpoints::{Manifest, PartitionCut, PartitionId};
use weir_dataflow::{Committer, Cut, Row, RowKind, Sink, SinkError, SinkFactory, Staged, Staging, WorkerContext};

use super::health::Health;
use super::{KafkaConfig, KafkaConfigError};

const NAME: &str = "kafka-group-offsets";

/// How often the client is given a moment for its events while there is nothing to commit.
const SERVE_INTERVAL: Duration = Duration::from_secs(1);
/// How many events of the client are handled at a time.
const SERVE_EVENTS: usize = 32;
/// How long the last commit may take when the job ends.
const LAST_COMMIT_WAIT: Duration = Duration::from_secs(10);

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
        let refused = |reason: String| SinkError::Refused { sink: NAME.to_owned(), reason };
        let consumer = self
            .config
            .group_member()
            .create_with_context(Health::new(&self.config.topic, Duration::MAX))
            .map_err(|error: KafkaError| refused(error.to_string()))?;
        let (offsets, asked) = channel();
        let (done, finished) = channel();
        let reporter = Reporter { consumer, topic: self.config.topic.clone(), counts: Arc::clone(&self.counts), asked };
        thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || {
                // It takes the client with it: one that is torn down while the process ends may crash in its libraries.
                reporter.run();
                // Nobody may be waiting any more.
                let _ = done.send(());
            })
            .map_err(|error| refused(error.to_string()))?;
        Ok(Box::new(OffsetCommitter { offsets: Some(offsets), finished }))
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

type Offsets = BTreeMap<PartitionId, u64>;

/// The job's end.
struct OffsetCommitter {
    offsets: Option<Sender<Offsets>>,
    finished: Receiver<()>,
}

impl Committer for OffsetCommitter {
    fn commit(&mut self, manifest: &Manifest) -> Result<(), SinkError> {
        let next_offset = |cut: &PartitionCut| cut.position.next_offset.0;
        let offsets = manifest.partitions.iter().map(|(id, cut)| (*id, next_offset(cut))).collect();
        if let Some(reporter) = &self.offsets {
            // It only ends before its sender does if it panicked, and a lag monitor is no reason to stop.
            let _ = reporter.send(offsets);
        }
        Ok(())
    }
}

impl Drop for OffsetCommitter {
    fn drop(&mut self) {
        self.offsets = None;
        // The last offsets are worth a moment, not more.
        let _ = self.finished.recv_timeout(LAST_COMMIT_WAIT);
    }
}

/// The thread's end.
struct Reporter {
    consumer: BaseConsumer<Health>,
    topic: String,
    counts: Arc<Counts>,
    asked: Receiver<Offsets>,
}

impl Reporter {
    fn run(self) {
        loop {
            match self.asked.recv_timeout(SERVE_INTERVAL) {
                Ok(offsets) => {
                    let newest = self.asked.try_iter().last().unwrap_or(offsets);
                    self.commit(&newest);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for _ in 0..SERVE_EVENTS {
                let _handled_by_the_context = self.consumer.poll(Duration::ZERO);
            }
        }
    }

    fn commit(&self, offsets: &Offsets) {
        if offsets.is_empty() {
            return;
        }
        let answer = kafka_list(&self.topic, offsets).and_then(|list| self.consumer.commit(&list, CommitMode::Sync));
        match answer {
            Ok(()) => self.counts.taken.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                self.consumer.context().log_passing(&format!("offsets not told to the consumer group: {error}"));
                self.counts.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

fn kafka_list(topic: &str, offsets: &Offsets) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        let id = i32::try_from(partition.0).unwrap_or(i32::MAX);
        let offset = i64::try_from(*offset).unwrap_or(i64::MAX);
        list.add_partition_offset(topic, id, KafkaOffset::Offset(offset))?;
    }
    Ok(list)
}

#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    failed: AtomicU64,
}
