//! The embedded log: clicks go into numbered partitions of an NDJSON log, and are settled once they are on disk.
//!
//! ```text
//!                       ┌─▶ lane 0: queue ─▶ thread: write all, sync once, mark, settle all ─▶ clicks/0/
//!   append ─▶ in turn ──┤
//!                       └─▶ lane 1: queue ─▶ thread: …                                      ─▶ clicks/1/
//! ```
//!
//! - Group commit: while a sync runs, the next groups gather, so the disk's pace costs time but no work a click.
//! - A group goes whole into one partition, the partitions take turns: the cheapest that keeps them equally full, and
//!   the job counts the same however clicks are partitioned. So the records of one group stay in order, one behind the
//!   other; between groups there is no order.
//! - A partition whose disk fails is down: what it had in hand fails, what waited goes to the others, and its thread
//!   opens it again every second. With all of them down every group is refused at once.
//! - Memory is bounded by [`NdjsonLogConfig::capacity_bytes`], and what the thread is writing counts. A group that is
//!   larger is taken when there is no other.

mod books;
mod commit;
mod config;
mod folders;
mod lane;
mod retention;
mod shared;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use url::Url;
use weir_checkpoints::{Offset, PartitionId};

use self::books::Books;
use self::commit::Committer;
pub use self::config::{NdjsonLogConfig, NdjsonLogError, Retention};
use self::lane::{Lane, locked};
pub use self::retention::Removed;
use self::shared::Shared;
use super::synced;
use super::writer::{NdjsonWriter, SegmentFormat, WriterConfig};
use crate::log::{Group, Log, LogError, LogLoad, Settle};

/// How long a log that is dropped waits for its disk.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

/// A log in numbered folders that this process writes.
pub struct NdjsonLog {
    folder: PathBuf,
    partitions: u32,
    retention: Retention,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl NdjsonLog {
    /// Opens a log, or makes it. All its partitions are there then, what a crash has left is mended, and no other
    /// process can write to it.
    pub fn open(config: NdjsonLogConfig) -> Result<Self, NdjsonLogError> {
        let NdjsonLogConfig { folder, partitions, segment_bytes, capacity_bytes, region, retention } = config;
        let at = |source| NdjsonLogError::Io { folder: folder.clone(), source };
        let partitions = folders::make(&folder, partitions)?;
        let books = Books::new(url_of(&folder).map_err(at)?, capacity_bytes);
        let config = WriterConfig { segment_bytes: segment_bytes.max(1), format: SegmentFormat::Plain, region };
        let writers = (0..partitions)
            .map(|number| NdjsonWriter::open(&folders::partition(&folder, number), config.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared::new(books, partitions));
        let log = Self { folder: folder.clone(), partitions, retention, shared, threads: Mutex::default() };
        for (number, writer) in (0..).zip(writers) {
            log.start(number, config.clone(), writer).map_err(at)?;
        }
        Ok(log)
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Deletes segments that are too old or too much, but none with an offset that is needed: `needed` is the next one
    /// of each partition, and a partition that is not named there needs everything. `None`: nobody needs anything.
    pub fn retain(&self, needed: Option<&BTreeMap<PartitionId, Offset>>) -> Result<Removed, LogError> {
        retention::apply(&self.folder, self.partitions, self.retention, needed)
            .map_err(|error| self.shared.books.unavailable(error))
    }

    /// Up to which offset each partition is on the disk.
    #[must_use]
    pub fn ends(&self) -> BTreeMap<PartitionId, Offset> {
        let end = |number| synced::read(&folders::partition(&self.folder, number)).map(Offset);
        (0..self.partitions).filter_map(|number| Some((PartitionId(number), end(number)?))).collect()
    }

    fn start(&self, number: u32, config: WriterConfig, writer: NdjsonWriter) -> io::Result<()> {
        let folder = folders::partition(&self.folder, number);
        let committer = Committer::new(Arc::clone(&self.shared), number as usize, folder, config);
        self.shared.enter();
        let thread = thread::Builder::new().name(format!("log-{number}")).spawn(move || committer.run(writer));
        match thread {
            Ok(thread) => locked(&self.threads).push(thread),
            Err(error) => {
                self.shared.leave();
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Log for NdjsonLog {
    fn place(&self) -> &str {
        self.shared.books.place()
    }

    fn append(&self, group: Group, settle: Settle) {
        self.shared.append(group, settle);
    }

    fn load(&self) -> LogLoad {
        self.shared.books.load()
    }

    /// It could if one partition could. A disk that has been silent for longer than the timeout could not.
    fn probe(&self, timeout: Duration) -> Result<(), LogError> {
        self.shared.trouble(timeout).map_or(Ok(()), Err)
    }

    fn close(&self, timeout: Duration) -> Result<(), LogError> {
        self.shared.lanes.iter().for_each(Lane::close);
        if self.shared.wait_for_the_end(timeout) {
            // They have nothing left to do.
            locked(&self.threads).drain(..).for_each(|thread| drop(thread.join()));
            return Ok(());
        }
        let reason = format!("the disk did not take everything within {:.1} s", timeout.as_secs_f64());
        let error = self.shared.books.unavailable(reason);
        for lane in &self.shared.lanes {
            self.shared.fail_waiting(lane.take_waiting(), &error);
            self.shared.fail_in_flight(lane.take_in_flight(), &error);
        }
        Err(error)
    }
}

impl Drop for NdjsonLog {
    /// What was appended is settled all the same.
    fn drop(&mut self) {
        if let Err(error) = self.close(DROP_TIMEOUT) {
            tracing::error!("{error}");
        }
    }
}

fn url_of(folder: &Path) -> io::Result<String> {
    let absolute = folder.canonicalize()?;
    Url::from_directory_path(absolute).map(String::from).map_err(|()| io::Error::other("its path is no URL"))
}
