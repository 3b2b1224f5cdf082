//! A partition's thread: writes what waits, syncs it once, and tells everybody.
//!
//! ```text
//!   up ──write or sync fails──▶ down ──opened again──▶ up
//!    └──────── closed, nothing waits ────────┴───────▶ end
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::lane::Lane;
use super::shared::Shared;
use crate::log::{Group, LogError, LogRecord, Settled};
use crate::ndjson::lines::MAX_LINE_BYTES;
use crate::ndjson::writer::{NdjsonWriter, WriterConfig, WriterError};

/// How often a partition that failed is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// A sync costs about 100 µs of CPU whatever it carries. So under load groups gather until this long after the last one
/// began, or until none came for a moment: then everybody waits for it.
const GATHER: Duration = Duration::from_millis(4);
const MOMENT: Duration = Duration::from_micros(500);

/// Room that is kept for the next batch.
const KEPT_GROUPS: usize = 4_096;

pub(super) struct Committer {
    shared: Arc<Shared>,
    lane: usize,
    folder: PathBuf,
    config: WriterConfig,
    log_time_ms: i64,
    /// The records of the batch, group by group.
    batch: Vec<Group>,
    /// The groups of the batch with records that were refused, by their index.
    refused: Vec<(usize, Settled)>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, lane: usize, folder: PathBuf, config: WriterConfig) -> Self {
        Self { shared, lane, folder, config, log_time_ms: 0, batch: Vec::new(), refused: Vec::new() }
    }

    /// Runs until the lane is closed.
    pub(super) fn run(mut self, writer: NdjsonWriter) {
        let shared = Arc::clone(&self.shared);
        let Some(lane) = shared.lanes.get(self.lane) else { return shared.leave() };
        let mut writer = Some(writer);
        let mut taken = Vec::new();
        loop {
            let Some(open) = &mut writer else {
                if lane.pause(OPEN_AGAIN) {
                    break;
                }
                writer = self.open_again(lane);
                continue;
            };
            if !lane.take(&mut taken, &mut self.batch) {
                break;
            }
            let started = Instant::now();
            match self.write(open) {
                Ok(()) => self.settle(lane),
                Err(error) => {
                    writer = None;
                    self.fail(lane, &error);
                }
            }
            if self.forget_batch() > 1 {
                gather(lane, started);
            }
            taken.shrink_to(KEPT_GROUPS);
        }
        if let Some(error) = writer.and_then(|writer| writer.close().err()) {
            tracing::warn!("{error}; all that was accepted had been synced before");
        }
        shared.leave();
    }

    /// Brings the batch onto the disk.
    fn write(&mut self, writer: &mut NdjsonWriter) -> Result<(), WriterError> {
        self.log_time_ms = self.log_time_ms.max(now_ms());
        for (index, group) in self.batch.iter().enumerate() {
            let mut settled = Settled::default();
            for (number, record) in (0..).zip(group.iter()) {
                let refused = match append(writer, self.log_time_ms, record) {
                    Ok(()) => continue,
                    Err(WriterError::BadLine) => self.shared.books.refused(WriterError::BadLine),
                    Err(error) => return Err(error),
                };
                settled.failed.push(number);
                settled.error.get_or_insert(refused);
            }
            if settled.error.is_some() {
                self.refused.push((index, settled));
            }
        }
        writer.sync()
    }

    /// Tells everybody whose group is on disk. Nobody is left if the log was closed meanwhile.
    fn settle(&mut self, lane: &Lane) {
        let in_flight = lane.take_in_flight();
        let (records, bytes) =
            in_flight.iter().fold((0, 0), |sum, group| (sum.0 + group.records as u64, sum.1 + group.bytes));
        // First, so that who appends again when told finds the room.
        self.shared.books.release(records, bytes);
        let mut refused = self.refused.drain(..).peekable();
        for (index, group) in in_flight.into_iter().enumerate() {
            let settled = refused.next_if(|refused| refused.0 == index).map(|refused| refused.1);
            (group.settle)(settled.unwrap_or_default());
        }
    }

    /// The batch may be written or not; what waits behind it is not, and goes elsewhere.
    fn fail(&self, lane: &Lane, error: &WriterError) {
        tracing::error!("{error}; trying again every second, and writing to the other partitions meanwhile");
        let waiting = lane.go_down(error.to_string());
        self.shared.fail_in_flight(lane.take_in_flight(), &self.unavailable(error));
        for group in waiting {
            self.shared.route(group);
        }
    }

    fn open_again(&self, lane: &Lane) -> Option<NdjsonWriter> {
        match NdjsonWriter::open(&self.folder, self.config.clone()) {
            Ok(writer) => {
                tracing::info!("{} can be written again", self.folder.display());
                lane.come_up();
                Some(writer)
            }
            Err(error) => {
                tracing::debug!("{error}");
                lane.go_down(error.to_string());
                None
            }
        }
    }

    /// How many groups the batch had.
    fn forget_batch(&mut self) -> usize {
        let groups = self.batch.len();
        self.batch.clear();
        self.batch.shrink_to(KEPT_GROUPS);
        self.refused.clear();
        groups
    }

    fn unavailable(&self, error: &WriterError) -> LogError {
        self.shared.books.unavailable(error)
    }
}

/// Lets groups gather, if the last batch began at this time.
fn gather(lane: &Lane, started: Instant) {
    let mut before = lane.waiting();
    while started.elapsed() < GATHER {
        thread::sleep(MOMENT);
        let now = lane.waiting();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Adds a record as a line, unless it would not come back as it is.
fn append(writer: &mut NdjsonWriter, log_time_ms: i64, record: LogRecord<'_>) -> Result<(), WriterError> {
    if record.value.ends_with(b"\r") || record.value.len() >= MAX_LINE_BYTES {
        return Err(WriterError::BadLine);
    }
    writer.append(log_time_ms, record.value).map(|_| ())
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
