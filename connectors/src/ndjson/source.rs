//! NDJSON logs as sources of the graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_checkpoints::{PartitionId, Position};
use weir_dataflow::{Polled, Record, Source, SourceError, SourceFactory};

use super::config::NdjsonConfig;
use super::log::Log;
use super::partition::Partition;

/// Opens an NDJSON log for the workers of a job.
#[derive(Debug)]
pub struct NdjsonSourceFactory {
    log: Log,
    url: String,
    topic: Arc<str>,
    follow: bool,
}

impl NdjsonSourceFactory {
    /// Fails where nothing is that could be a log.
    pub fn new(config: NdjsonConfig) -> Result<Self, SourceError> {
        let log = Log::open(&config.url, config.follow)?;
        let url = config.url.trim_end_matches('/').to_owned();
        let topic = url.rsplit('/').next().unwrap_or_default().into();
        Ok(Self { log, url, topic, follow: config.follow })
    }
}

impl SourceFactory for NdjsonSourceFactory {
    /// The last part of the URL.
    fn topic(&self) -> &str {
        &self.topic
    }

    fn identity(&self) -> String {
        format!("ndjson {}", self.url)
    }

    fn partitions(&self) -> Result<Vec<PartitionId>, SourceError> {
        Ok(self.log.partitions()?.into_keys().collect())
    }

    fn open(&self, assigned: &[(PartitionId, Option<Position>)]) -> Result<Box<dyn Source>, SourceError> {
        let mut folders = self.log.partitions()?;
        let mut partitions = BTreeMap::new();
        for (id, position) in assigned {
            let folder = folders.remove(id).ok_or_else(|| self.no_partition(*id))?;
            let topic = Arc::clone(&self.topic);
            partitions.insert(*id, Partition::open(*id, topic, folder, self.follow, position.as_ref())?);
        }
        Ok(Box::new(NdjsonSource { url: self.url.clone(), partitions }))
    }
}

impl NdjsonSourceFactory {
    fn no_partition(&self, id: PartitionId) -> SourceError {
        SourceError::Invalid {
            location: self.url.clone(),
            reason: format!("the folder of partition {id} is gone: restore it, or start a new job from what is left"),
        }
    }
}

/// Some partitions of an NDJSON log.
pub struct NdjsonSource {
    url: String,
    partitions: BTreeMap<PartitionId, Partition>,
}

impl Source for NdjsonSource {
    fn poll(
        &mut self,
        partition: PartitionId,
        max: usize,
        visit: &mut dyn FnMut(Record<'_>),
    ) -> Result<Polled, SourceError> {
        match self.partitions.get_mut(&partition) {
            Some(reader) => reader.poll(max, visit),
            None => Err(SourceError::Invalid {
                location: self.url.clone(),
                reason: format!("partition {partition} was not opened here"),
            }),
        }
    }

    /// The log's start for a partition that was not opened here.
    fn position(&self, partition: PartitionId) -> Position {
        self.partitions.get(&partition).map(Partition::position).unwrap_or_default()
    }

    fn lag(&self, partition: PartitionId) -> Option<u64> {
        self.partitions.get(&partition).and_then(Partition::lag)
    }
}
