//! One worker's end of a table: take rows, and decide at each stage whether they are worth a file.
//!
//! ```text
//!   open ─full─▶ fresh ─stage─┬─▶ held   (few rows, recent: packed and carried over)
//!                  │          └─▶ files  (all of held and fresh)
//!                  └─ too much for memory before the stage comes: encoded early, listed at the stage
//! ```

use std::sync::Arc;
use std::thread::JoinHandle;

use weir_checkpoints::{Attempt, Epoch, OutputPart, Store, WorkerIndex};
use weir_dataflow::{Carried, Cut, Row, Sink, SinkError, Staged, Staging, WorkerContext};

use super::chunk::{Chunk, Pool};
use super::files::{FileWriter, OpenFile};
use super::held::{Held, OffsetRanges, PACKED_FRACTION};
use super::table::Table;
use super::{Clock, DeltaConfig, failed, refused};

/// Rows of one worker and table in memory, unpacked, before they are encoded: at 100,000 clicks/s and worker, what
/// comes in six seconds.
const MAX_LOOSE_BYTES: usize = 256 << 20;

/// A table's sink on one worker.
pub(super) struct TableSink<C> {
    writer: Arc<FileWriter>,
    target: Target,
    limits: Limits,
    clock: Clock,
    /// The last epoch that the table has; what is staged must be newer.
    committed: Option<u64>,
    pool: Arc<Pool<C>>,
    open: C,
    /// Full chunks since the last stage.
    fresh: Vec<Arc<C>>,
    fresh_bytes: usize,
    held: Vec<Arc<Held<C>>>,
    /// Files that were begun before their stage.
    early: Early,
    /// When the oldest row that is in no file came.
    since_ms: Option<i64>,
    /// The offsets that were read since the last files.
    offsets: OffsetRanges,
}

/// Where files go, and what they are called.
#[derive(Clone)]
struct Target {
    table: Table,
    store: Arc<dyn Store>,
    worker: WorkerIndex,
    attempt: Attempt,
}

struct Limits {
    file_bytes: usize,
    interval_ms: i64,
    loose_bytes: usize,
}

#[derive(Default)]
struct Early {
    running: Option<JoinHandle<Result<Vec<OpenFile>, String>>>,
    finished: Vec<OpenFile>,
}

impl<C: Chunk> TableSink<C> {
    pub(super) fn new(table: Table, config: &DeltaConfig, store: &Arc<dyn Store>, worker: WorkerContext) -> Self {
        Self {
            writer: Arc::new(FileWriter::new(table, config.extra, &config.topic)),
            target: Target { table, store: store.clone(), worker: worker.worker, attempt: worker.attempt },
            limits: Limits {
                file_bytes: usize::try_from(config.target_file_bytes).unwrap_or(usize::MAX),
                interval_ms: config.roll_interval_ms,
                loose_bytes: MAX_LOOSE_BYTES,
            },
            clock: config.clock.clone(),
            committed: None,
            pool: Arc::new(Pool::new()),
            open: C::default(),
            fresh: Vec::new(),
            fresh_bytes: 0,
            held: Vec::new(),
            early: Early::default(),
            since_ms: None,
            offsets: OffsetRanges::default(),
        }
    }

    /// Refuses to stage what is not newer than `epoch`.
    pub(super) fn beyond(self, epoch: Option<u64>) -> Self {
        Self { committed: epoch, ..self }
    }

    fn table(&self) -> &'static str {
        self.target.table.name()
    }

    /// Closes the open chunk.
    fn freeze(&mut self) {
        if self.open.rows() == 0 {
            return;
        }
        let next = self.pool.take().unwrap_or_else(|| self.open.sized_like());
        let full = std::mem::replace(&mut self.open, next);
        self.fresh_bytes += full.bytes();
        self.fresh.push(Arc::new(full));
    }

    /// Starts to encode all rows at hand, on a thread of its own. Where the one before is not done yet, the worker
    /// waits for it: rows come faster than they can be written.
    fn encode_early(&mut self) -> Result<(), SinkError> {
        self.early.wait().map_err(|reason| failed(self.table(), "encode rows", reason))?;
        let rows = self.take_rows();
        let (writer, pool) = (self.writer.clone(), self.pool.clone());
        let encode = move || {
            let mut files = Vec::new();
            let chunks = rows.into_chunks()?;
            writer.write(&chunks, |file| {
                files.push(file);
                Ok(())
            })?;
            pool.give(chunks);
            Ok(files)
        };
        let thread = std::thread::Builder::new().name(format!("{} files", self.table()));
        self.early.running = Some(thread.spawn(encode).map_err(|error| failed(self.table(), "start a thread", error))?);
        Ok(())
    }

    fn take_rows(&mut self) -> AllRows<C> {
        self.freeze();
        self.fresh_bytes = 0;
        self.since_ms = None;
        AllRows { held: std::mem::take(&mut self.held), fresh: std::mem::take(&mut self.fresh) }
    }

    fn is_due(&self, last: bool) -> bool {
        let old = self.since_ms.is_some_and(|since_ms| (self.clock)() - since_ms >= self.limits.interval_ms);
        let held_file_bytes: usize = self.held.iter().map(|held| held.estimated_file_bytes()).sum();
        let held_bytes: usize = self.held.iter().map(|held| held.bytes).sum();
        let large = held_file_bytes + self.fresh_bytes / PACKED_FRACTION >= self.limits.file_bytes
            || held_bytes + self.fresh_bytes >= self.limits.loose_bytes;
        last || old || large || !self.early.is_empty()
    }

    fn write_files(&mut self, epoch: Epoch) -> Staging {
        let early = std::mem::take(&mut self.early);
        let rows = self.take_rows();
        let (writer, pool) = (self.writer.clone(), self.pool.clone());
        let mut files = Files {
            target: self.target.clone(),
            epoch,
            offsets: std::mem::take(&mut self.offsets),
            outputs: Vec::new(),
        };
        Box::new(move || {
            let table = files.target.table.name();
            files.write(&writer, &pool, early, rows).map_err(|reason| failed(table, "write a file", reason))?;
            Ok(Staged { outputs: files.outputs, carried: Carried::Nothing })
        })
    }

    fn hold_back(&mut self) -> Staging {
        let held = Arc::new(Held::loose(std::mem::take(&mut self.fresh)));
        self.fresh_bytes = 0;
        self.held.push(held.clone());
        let table = self.table();
        let since_ms = self.since_ms.unwrap_or_else(|| (self.clock)());
        let offsets = self.offsets.clone();
        Box::new(move || {
            let packed = held.pack(table, since_ms, offsets).map_err(|reason| failed(table, "pack rows", reason))?;
            Ok(Staged { outputs: Vec::new(), carried: Carried::More(packed) })
        })
    }

    /// Epochs only grow, so a table that is ahead was written by a job with other checkpoints. Its next commits would
    /// pass for repetitions, and their rows would be lost.
    fn check_epoch(&self, epoch: Epoch) -> Result<(), SinkError> {
        match self.committed {
            Some(committed) if committed >= epoch.0 => Err(refused(
                self.table(),
                format!(
                    "the table has epoch {committed} of this job already, and the job is at epoch {epoch}: its \
                     checkpoints are not those that the table was written with; bring them back, give the job another \
                     name, or move the table away"
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

impl<C: Chunk> Sink for TableSink<C> {
    #[inline]
    fn write(&mut self, row: Row<'_>) -> Result<(), SinkError> {
        self.open.push(&row)?;
        if self.since_ms.is_none() {
            self.since_ms = Some((self.clock)());
        }
        if self.open.is_full() {
            self.freeze();
            if self.fresh_bytes >= self.limits.loose_bytes {
                self.encode_early()?;
            }
        }
        Ok(())
    }

    fn stage(&mut self, cut: &Cut) -> Result<Staging, SinkError> {
        self.check_epoch(cut.epoch)?;
        for &(partition, first, next) in &cut.offsets {
            self.offsets.add(partition, first, next);
        }
        self.freeze();
        if self.fresh.is_empty() && self.held.is_empty() && self.early.is_empty() {
            return Ok(Box::new(|| Ok(Staged::default())));
        }
        if self.is_due(cut.last) {
            return Ok(self.write_files(cut.epoch));
        }
        if self.fresh.is_empty() {
            return Ok(Box::new(|| Ok(Staged { outputs: Vec::new(), carried: Carried::Same })));
        }
        Ok(self.hold_back())
    }

    fn restore(&mut self, carried: &[u8]) -> Result<(), SinkError> {
        let (held, header) = Held::restored(self.table(), carried)
            .map_err(|reason| refused(self.table(), format!("rows of an earlier attempt cannot be read: {reason}")))?;
        self.since_ms = Some(self.since_ms.map_or(header.since_ms, |since_ms| since_ms.min(header.since_ms)));
        self.offsets.merge(&header.offsets);
        self.held.push(Arc::new(held));
        Ok(())
    }
}

/// The rows of a stage that become files.
struct AllRows<C> {
    held: Vec<Arc<Held<C>>>,
    fresh: Vec<Arc<C>>,
}

impl<C: Chunk> AllRows<C> {
    fn into_chunks(self) -> Result<Vec<Arc<C>>, String> {
        let mut chunks = Vec::new();
        for held in self.held {
            chunks.extend(held.chunks()?);
        }
        chunks.extend(self.fresh);
        Ok(chunks)
    }
}

impl Early {
    fn is_empty(&self) -> bool {
        self.running.is_none() && self.finished.is_empty()
    }

    fn wait(&mut self) -> Result<(), String> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let files = running.join().map_err(|_| "the thread that encodes files panicked".to_owned())??;
        self.finished.extend(files);
        Ok(())
    }
}

/// The files of a stage.
struct Files {
    target: Target,
    epoch: Epoch,
    offsets: OffsetRanges,
    outputs: Vec<OutputPart>,
}

impl Files {
    fn write<C: Chunk>(
        &mut self,
        writer: &FileWriter,
        pool: &Pool<C>,
        mut early: Early,
        rows: AllRows<C>,
    ) -> Result<(), String> {
        early.wait()?;
        for file in early.finished {
            self.add(file)?;
        }
        let chunks = rows.into_chunks()?;
        writer.write(&chunks, |file| self.add(file))?;
        pool.give(chunks);
        Ok(())
    }

    fn add(&mut self, file: OpenFile) -> Result<(), String> {
        let values = self.target.table.partition_values(file.partition);
        let name = self.target.name(&values, self.epoch, self.outputs.len());
        let entries = [
            ("weir.epoch", self.epoch.to_string()),
            ("weir.offsets", serde_json::to_string(&self.offsets).map_err(|error| error.to_string())?),
            ("weir.version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        let stored = file.store(self.target.table, self.target.store.as_ref(), &name, &entries)?;
        let details = serde_json::to_value(stored.details).map_err(|error| error.to_string())?;
        let (rows, size_bytes) = (stored.rows, stored.size_bytes);
        let sink = self.target.table.name().to_owned();
        self.outputs.push(OutputPart { sink, name, rows, size_bytes, details });
        Ok(())
    }
}

impl Target {
    fn name(&self, values: &[(&str, String)], epoch: Epoch, number: usize) -> String {
        let mut name = self.table.name().to_owned();
        for (column, value) in values {
            name.push_str(&format!("/{column}={value}"));
        }
        let (attempt, worker) = (self.attempt, self.worker);
        name.push_str(&format!("/part-{:020}-{attempt}-{worker}-{number}.zstd.parquet", epoch.0));
        name
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use weir_checkpoints::{Offset, PartitionId};
    use weir_dataflow::{Click, ClickRow};

    use super::*;
    use crate::delta::chunk::CHUNK_ROWS;
    use crate::delta::clicks::ClickChunk;
    use crate::memory::MemoryStore;

    type RawSink = TableSink<ClickChunk>;

    fn open(now_ms: i64) -> RawSink {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let config = DeltaConfig { clock: Arc::new(move || now_ms), ..DeltaConfig::new("job", "clicks") };
        let worker = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) };
        RawSink::new(Table::Raw, &config, &store, worker)
    }

    fn write(sink: &mut RawSink, rows: std::ops::Range<u64>) {
        for offset in rows {
            let click = Click {
                ad_id: "ad-1",
                user_id: "user-1",
                timestamp: 1_736_952_000,
                click_id: None,
                ip_address: None,
                user_agent: None,
            };
            let (partition, offset, epoch) = (PartitionId(0), Offset(offset), Epoch(1));
            sink.write(Row::Archive(ClickRow { click, extra: None, region: None, partition, offset, epoch })).unwrap();
        }
    }

    fn stage(sink: &mut RawSink, epoch: u64) -> Staged {
        sink.stage(&Cut { epoch: Epoch(epoch), last: false, offsets: Vec::new() }).unwrap()().unwrap()
    }

    fn rows_in(staged: &Staged) -> u64 {
        staged.outputs.iter().map(|output| output.rows).sum()
    }

    #[test]
    fn too_many_rows_for_memory_are_encoded_before_their_stage() {
        let mut sink = open(0);
        write(&mut sink, 0..10);
        assert!(matches!(stage(&mut sink, 1).carried, Carried::More(_)));
        sink.limits.loose_bytes = 1;
        let rows = 3 * CHUNK_ROWS as u64;
        write(&mut sink, 10..rows + 10);
        assert!(!sink.early.is_empty());
        sink.limits.loose_bytes = MAX_LOOSE_BYTES;
        write(&mut sink, rows + 10..rows + 15);
        let staged = stage(&mut sink, 2);
        assert_eq!(rows_in(&staged), rows + 15);
        assert!(matches!(staged.carried, Carried::Nothing));
        assert!(staged.outputs.len() > 1);
        assert_eq!(rows_in(&stage(&mut sink, 3)), 0);
    }

    #[test]
    fn rows_are_held_back_until_the_oldest_is_old_enough() {
        let mut sink = open(1_000);
        write(&mut sink, 0..3);
        let Carried::More(carried) = stage(&mut sink, 1).carried else { panic!("three rows are not worth a file") };
        assert!(matches!(stage(&mut sink, 2).carried, Carried::Same));
        let check = |now_ms: i64, expect: u64| {
            let mut restarted = open(now_ms);
            restarted.restore(&carried).unwrap();
            write(&mut restarted, 3..4);
            assert_eq!(rows_in(&stage(&mut restarted, 3)), expect);
        };
        check(300_999, 0);
        check(301_000, 4);
    }
}
