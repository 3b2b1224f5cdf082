//! What the graph asks of a source: a log in partitions, read from any offset, again and again the same.

use weir_checkpoints::{Offset, PartitionId, Position};

/// Opens the log for the workers of a job.
pub trait SourceFactory: Send + Sync {
    /// What is read, as it is written into the tables' `topic` column: a topic, or a log's name.
    fn topic(&self) -> &str;

    /// What must be the same for stored offsets to mean anything: kind and topic or location. Where the log is
    /// reached (brokers, credentials) is no part of it.
    fn identity(&self) -> String;

    /// The partitions that there are now, ascending. Worker 0 asks at the start, and tells the others.
    fn partitions(&self) -> Result<Vec<PartitionId>, SourceError>;

    /// Opens some partitions, each at the position where an earlier attempt stopped, or at the log's start. A position at
    /// offset 0 is that of a partition that came up since: all of it must be there.
    fn open(&self, assigned: &[(PartitionId, Option<Position>)]) -> Result<Box<dyn Source>, SourceError>;
}

/// What must be asked before positions are committed: whether the log is still the one that they are positions of. It may
/// take its time, on a thread in the background; an error stops the job before anything is committed.
pub type Confirmation = Box<dyn FnOnce() -> Result<(), SourceError> + Send>;

/// Some partitions of a log, read by one worker.
///
/// A source never skips: where records are missing between the position asked for and the log's first record, it
/// fails with [`SourceError::Gone`].
pub trait Source {
    /// Visits up to `max` records of one partition, in the order of their offsets, and returns at once: it does not
    /// wait for records to come.
    fn poll(
        &mut self,
        partition: PartitionId,
        max: usize,
        visit: &mut dyn FnMut(Record<'_>),
    ) -> Result<Polled, SourceError>;

    /// Where the partition would be read on: behind the last record that was visited.
    fn position(&self, partition: PartitionId) -> Position;

    /// How far the log's end is beyond the position, in the unit of its offsets; `None` while that is not known.
    fn lag(&self, partition: PartitionId) -> Option<u64>;

    /// The partitions that the log has by now, as far as that is known, ascending; asked at the end of each epoch, and
    /// answered at once. `None` where the partitions are fixed while the log is read.
    fn partitions_now(&mut self) -> Result<Option<Vec<PartitionId>>, SourceError> {
        Ok(None)
    }

    /// Takes over a partition that came up while the log was read, from offset 0 on. Only called with what
    /// [`Self::partitions_now`] of some worker has named.
    fn add(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        let reason = format!("partition {partition} cannot be added while the log is read");
        Err(SourceError::Invalid { location: "the source".to_owned(), reason })
    }

    /// What must be asked before the present positions are committed; `None` where nothing needs to be.
    fn confirm(&mut self) -> Option<Confirmation> {
        None
    }
}

/// One record of the log.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// When the log took it, unix time in milliseconds.
    pub log_time_ms: i64,
    /// The label of the region that it came in, as the log has it. One that is no [name](crate::is_region_name) counts
    /// as none.
    pub region: Option<&'a str>,
    /// Its value; none for a tombstone.
    pub payload: Option<&'a [u8]>,
}

/// What a poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// This many records were visited; there may be more.
    Records(usize),
    /// There is nothing at hand, but the log goes on: it is being fetched.
    Pending,
    /// The log's present end is reached; more may be written.
    CaughtUp,
    /// The log is bounded and this partition of it is read to its end.
    Ended,
}

/// Why a source cannot go on. A job that meets one stops without committing anything further.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The next offset is no longer in the log.
    #[error(
        "{topic}/{partition}: offsets {expected} to {last_missing} are missing: the job must go on at {expected}, and the \
         log now starts at {first_available}. {} {unit} are lost at most. Nothing was skipped; restore the log, or start a \
         new job under another name from what is left",
        first_available.0.saturating_sub(expected.0)
    )]
    Gone {
        /// The topic or log.
        topic: String,
        /// The partition.
        partition: PartitionId,
        /// The next offset that the job must read.
        expected: Offset,
        /// The last offset before the log's first.
        last_missing: Offset,
        /// The log's first offset.
        first_available: Offset,
        /// What its offsets count.
        unit: &'static str,
    },
    /// The log has the name of the one that was read, and is another one.
    #[error(
        "{location}: {reason}. Offsets of one say nothing about the other, so nothing was skipped and nothing of it was \
         counted; start a new job under another name for what is there now"
    )]
    Replaced {
        /// Where.
        location: String,
        /// What was found.
        reason: String,
    },
    /// The log cannot be reached or read.
    #[error("cannot read {location}: {reason}")]
    Unreadable {
        /// Where: brokers and topic, or an URL.
        location: String,
        /// What the log said.
        reason: String,
    },
    /// The log is not what the job file says: no such topic, no such file, a folder that does not fit.
    #[error("{location}: {reason}")]
    Invalid {
        /// Where.
        location: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}
