//! How the embedded log is opened, and why it is not.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::ndjson::region::Region;
use crate::ndjson::writer::WriterError;

/// An embedded log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NdjsonLogConfig {
    /// The log's folder: its numbered folders are the partitions.
    pub folder: PathBuf,
    /// How many partitions there are to be at least. A log that has more keeps all of them.
    pub partitions: u32,
    /// A segment that has reached this size is finished, and another begins.
    pub segment_bytes: u64,
    /// How many bytes may wait to be settled.
    pub capacity_bytes: u64,
    /// Where the log is written: readers learn it.
    pub region: Option<Region>,
    /// What [`super::NdjsonLog::retain`] deletes.
    pub retention: Retention,
}

impl NdjsonLogConfig {
    /// Two partitions, segments of 256 MiB, 64 MiB of clicks on their way, everything is kept.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            partitions: 2,
            segment_bytes: 256 << 20,
            capacity_bytes: 64 << 20,
            region: None,
            retention: Retention::default(),
        }
    }
}

/// How much of a log is kept, beside what the job still needs. By default all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Segments that were last written longer ago are deleted.
    pub age: Option<Duration>,
    /// The oldest segments are deleted while all partitions together have more.
    pub bytes: Option<u64>,
}

/// Why an embedded log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum NdjsonLogError {
    /// No partition was asked for, and there is none.
    #[error("a log needs at least one partition: set `partitions`")]
    NoPartitions,
    /// The folder holds something else.
    #[error("{} cannot be a log of numbered partitions: {reason}", folder.display())]
    NotALog {
        /// The log's folder.
        folder: PathBuf,
        /// What is in it, and what to do.
        reason: String,
    },
    /// A partition cannot be written.
    #[error(transparent)]
    Partition(#[from] WriterError),
    /// The folder cannot be read, or a thread not started.
    #[error("cannot open the log in {}: {source}", folder.display())]
    Io {
        /// The log's folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
