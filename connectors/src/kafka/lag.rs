//! How far a job is behind the ends of its topic: for ingest, which takes no more clicks than the job can follow.
//!
//! ```text
//!   partition 0   committed 120 ────────── end 150     30
//!   partition 1   nothing committed, start 7 ── end 9   2      lag: 32 records
//! ```
//!
//! What the job commits are the offsets of its checkpoints, so a job that keeps up has a lag of one checkpoint interval.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::description::exists;
use super::health::Health;
use super::{KafkaConfig, KafkaConfigError};

/// How many events of the client are handled before each question.
const SERVE_EVENTS: usize = 32;

/// How long it waits before it asks again for the end of a partition whose leader is not known.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// Asks for the lag of the group `weir-<job>`, with one client for all questions.
pub struct KafkaLag {
    config: KafkaConfig,
    consumer: BaseConsumer<Health>,
}

/// Why the lag is not known.
#[derive(Debug, thiserror::Error)]
pub enum LagError {
    /// The configuration is at fault.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// The cluster did not answer, or not with offsets.
    #[error("the lag of group {group} is not known: {reason}")]
    Unknown {
        /// The group.
        group: String,
        /// What happened.
        reason: String,
    },
}

impl KafkaLag {
    /// Nothing is asked of the cluster yet.
    pub fn new(config: KafkaConfig) -> Result<Self, LagError> {
        let config = config.validated()?;
        let mut client = config.group_member();
        // Ends are those of the log, transactions that are still open included.
        client.set("isolation.level", "read_uncommitted");
        let unknown = |error: KafkaError| LagError::Unknown { group: config.group.clone(), reason: error.to_string() };
        let consumer = client.create_with_context(Health::new(&config.topic, Duration::MAX)).map_err(unknown)?;
        Ok(Self { config, consumer })
    }

    /// The records that the group has not committed yet, over all partitions. A partition without a commit counts from
    /// the start of its log. Waits for the cluster, up to the timeout.
    pub fn records(&self, timeout: Duration) -> Result<u64, LagError> {
        for _ in 0..SERVE_EVENTS {
            let _handled_by_the_context = self.consumer.poll(Duration::ZERO);
        }
        self.ask(Instant::now() + timeout).map_err(|reason| {
            let reason = match self.consumer.context().last_error() {
                Some(last) if !reason.contains(&last) => format!("{reason}; last heard: {last}"),
                _ => reason,
            };
            LagError::Unknown { group: self.config.group.clone(), reason }
        })
    }

    fn ask(&self, deadline: Instant) -> Result<u64, String> {
        let partitions = self.partitions(deadline)?;
        let ends = self.bounds(&partitions, KafkaOffset::End, deadline)?;
        let committed = self.committed(&partitions, deadline)?;
        let uncommitted: Vec<i32> =
            partitions.iter().zip(&committed).filter(|(_, offset)| offset.is_none()).map(|(id, _)| *id).collect();
        let mut starts = self.bounds(&uncommitted, KafkaOffset::Beginning, deadline)?.into_iter();
        let positions = committed.into_iter().map(|offset| offset.or_else(|| starts.next()).unwrap_or(0));
        Ok(ends.into_iter().zip(positions).map(|(end, position)| end.saturating_sub(position)).sum())
    }

    fn partitions(&self, deadline: Instant) -> Result<Vec<i32>, String> {
        let name = self.config.topic.as_str();
        let metadata = self.consumer.fetch_metadata(Some(name), left(deadline)).map_err(words)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        if !exists(topic)? {
            return Err(format!("topic {name} does not exist"));
        }
        let ids = topic.iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
        Ok(ids.collect())
    }

    /// The first or the next offsets of partitions, in their order, with one request for each broker.
    fn bounds(&self, partitions: &[i32], which: KafkaOffset, deadline: Instant) -> Result<Vec<u64>, String> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        // The protocol asks for both as if they were times, -1 and -2.
        let asked = self.list(partitions, which)?;
        let answer = while_leaders_move(deadline, || {
            let answer = self.consumer.offsets_for_times(asked.clone(), left(deadline))?;
            answer.elements().iter().try_for_each(|element| element.error())?;
            Ok(answer)
        })
        .map_err(words)?;
        let offset = |id: &i32| match offset_of(&answer, &self.config.topic, *id)? {
            Some(offset) => Ok(offset),
            None => Err(format!("no broker says where partition {id} is")),
        };
        partitions.iter().map(offset).collect()
    }

    /// The committed offsets of partitions, in their order; none where there is none.
    fn committed(&self, partitions: &[i32], deadline: Instant) -> Result<Vec<Option<u64>>, String> {
        let asked = self.list(partitions, KafkaOffset::Invalid)?;
        let answer = self.consumer.committed_offsets(asked, left(deadline)).map_err(words)?;
        partitions.iter().map(|id| offset_of(&answer, &self.config.topic, *id)).collect()
    }

    fn list(&self, partitions: &[i32], offset: KafkaOffset) -> Result<TopicPartitionList, String> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for id in partitions {
            list.add_partition_offset(&self.config.topic, *id, offset).map_err(words)?;
        }
        Ok(list)
    }
}

fn offset_of(list: &TopicPartitionList, topic: &str, partition: i32) -> Result<Option<u64>, String> {
    let Some(element) = list.find_partition(topic, partition) else {
        return Ok(None);
    };
    element.error().map_err(words)?;
    match element.offset() {
        KafkaOffset::Offset(offset) => Ok(u64::try_from(offset).ok()),
        _ => Ok(None),
    }
}

/// Asks again where a partition has no leader for the moment, or another one than the client knows: of a topic that was just
/// made, or when a broker was lost.
fn while_leaders_move<T>(deadline: Instant, mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    loop {
        match ask() {
            Err(error)
                if matches!(
                    error.rdkafka_error_code(),
                    Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
                ) && Instant::now() + LEADER_PAUSE < deadline =>
            {
                std::thread::sleep(LEADER_PAUSE);
            }
            other => return other,
        }
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn words(error: KafkaError) -> String {
    error.to_string()
}
