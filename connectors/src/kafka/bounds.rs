//! What a partition's log holds, and whether a position is in it.

use weir_checkpoints::{Offset, PartitionId};
use weir_dataflow::SourceError;

use super::KafkaConfig;

/// Offsets `first..end`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) first: u64,
    pub(super) end: u64,
}

impl Bounds {
    /// Fails where the record at `next` is no longer there, and where the log has never been so long.
    pub(super) fn check(self, config: &KafkaConfig, partition: PartitionId, next: u64) -> Result<(), SourceError> {
        if self.first > next {
            return Err(SourceError::Gone {
                topic: config.topic.clone(),
                partition,
                expected: Offset(next),
                last_missing: Offset(self.first - 1),
                first_available: Offset(self.first),
                unit: "records",
            });
        }
        if next > self.end {
            let reason = format!(
                "partition {partition} ends at offset {}, but the job has read it up to {next}: the log was truncated, or \
                 the topic was deleted and made again. Nothing was skipped; restore the log, or start a new job under \
                 another name",
                self.end
            );
            return Err(SourceError::Invalid { location: config.location(&config.topic), reason });
        }
        Ok(())
    }
}
